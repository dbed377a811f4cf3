package agent

// An internal test: what the events of the engine make of the log.

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
)

func TestRepeatsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config.Default()
		cfg.LogFormat = config.FormatJSON
		var out bytes.Buffer
		a := &Agent{log: newLog(&cfg, &out, false, false, new(logLevel))}
		events := a.engineEvents()
		lines := func() string {
			defer out.Reset()
			return out.String()
		}
		for range 100 {
			events.Dropped("q", 0, 3, "expired")
			events.Dropped("q", 1, 1, "full")
			events.MoveStuck("q", 0, "gone", 7)
		}
		got := lines()
		for _, want := range []string{
			`"items":3,"why":"expired"`, "the queue has no dead queue", `"partition":1,"items":1,"why":"full"`, "the queue is full",
			`"dead-queue":"gone","items":7`, "create it",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("there is no %s in\n%s", want, got)
			}
		}
		if n := strings.Count(got, "\n"); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, got)
		}
		// The next line has what was not told.
		time.Sleep(time.Minute)
		events.Dropped("q", 0, 3, "expired")
		events.MoveStuck("q", 0, "gone", 7)
		if got := lines(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"items":300`) {
			t.Errorf("after a minute: %s", got)
		}
		time.Sleep(time.Hour)
		events.MoveStuck("q", 0, "gone", 8)
		if got := lines(); !strings.Contains(got, `"items":8`) {
			t.Errorf("after an hour: %s", got)
		}
	})
}

func TestRepeatsForget(t *testing.T) {
	r := newRepeats(time.Hour)
	for i := range 3 * maxRepeatRows {
		if _, due := r.add(repeatKey("q", i, ""), 1); !due {
			t.Errorf("the first of partition %d is not due", i)
		}
		if len(r.rows) > maxRepeatRows {
			t.Fatalf("%d rows", len(r.rows))
		}
	}
}
