package api_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/agent/metrics"
	"github.com/kapetan-io/querator-edge/queue"
)

// What is wrong is told to those who may read what it is about; the state itself to whoever may connect. Metrics
// name no queue that one may not read.
func TestNamesAreForThoseWhoMayRead(t *testing.T) {
	guard := access.New(access.Options{
		Identify: func(net.Conn) (listen.Cred, error) { return listen.Cred{UID: stranger, GID: stranger}, nil },
	})
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) {
		o.Guard = guard
		o.Problems = func(context.Context) []api.Problem {
			return []api.Problem{{About: "storage 'secret-disk'", Text: "full"}, {About: "q", Text: "of mine", Queue: "mine"}}
		}
		o.Collect = func(_ context.Context, page *metrics.Page, shows func(string) bool) {
			for _, name := range []string{"mine", "other"} {
				if shows(name) {
					page.Set(metrics.QueueAge, 1, name)
				}
			}
		}
	})
	for _, test := range []struct {
		rules                string
		storage, mine, other bool // what health and the metrics name
	}{
		{"", true, true, true}, // Without rules whoever can connect may do everything.
		{allow(`"mine"`, "read"), false, true, false},
		{allow(`"mine"`, "produce"), false, false, false},
		{"[[access]]\nqueues = [\"other\"]\ndeny = [\"read\"]\n" + allow(`"*"`, "read"), true, true, false},
	} {
		guard.Reload(rulesOf(t, test.rules))
		rec := w.callAs(t, http.MethodGet, "/health", "", nil)
		text := rec.Body.String()
		if rec.Code != 200 || strings.Contains(text, "secret-disk") != test.storage || strings.Contains(text, "of mine") != test.mine {
			t.Errorf("with %q: %d %s", test.rules, rec.Code, text)
		}
		if hidden := !test.storage || !test.mine; strings.Contains(text, "there is more") != hidden {
			t.Errorf("with %q it is not said that there is more, or it is: %s", test.rules, text)
		}
		rec = w.callAs(t, http.MethodGet, "/metrics", "", nil)
		if !test.storage {
			if rec.Code != http.StatusForbidden {
				t.Errorf("with %q: metrics answer %d", test.rules, rec.Code)
			}
			continue
		}
		if text = rec.Body.String(); !strings.Contains(text, `"mine"`) || strings.Contains(text, `"other"`) != test.other {
			t.Errorf("with %q: %s", test.rules, text)
		}
	}
	if n := guard.Refusals(access.Read); n != 2 {
		t.Errorf("%d refusals are counted, want the two of the metrics", n)
	}
}
