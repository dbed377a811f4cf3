package crashtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/queue"
)

// TestEventsNotice changes what was delivered on purpose: a check that cannot fail
// checks nothing.
func TestEventsNotice(t *testing.T) {
	r := newRounds(t)
	h := newHub(t, hubUp, 1)
	must(t, h.forward(r))
	must(t, r.Setup(t.Context()))
	var events []crashtest.Event
	var ledgers crashtest.Ledgers
	at, next := 0, 0
	for range 50 { // Until there are events that can be changed.
		use(t, r)
		must(t, r.Drain(t.Context()))
		var err error
		ledgers, err = r.Flush(t.Context())
		must(t, err)
		events, err = h.events()
		must(t, err)
		r.Book.CheckEvents(events, ledgers)
		if problems := r.Book.Problems(); len(problems) > 0 {
			t.Fatalf("before anything was changed: %s", strings.Join(problems, "\n"))
		}
		if at, next = twoCompleted(events); next > 0 {
			break
		}
	}
	if next == 0 {
		t.Fatalf("there are no two events in a row of one partition and two starts among %d", len(events))
	}
	last := lastOf(events, events[at])
	for name, test := range map[string]struct {
		harm func(e []crashtest.Event) []crashtest.Event
		want string
	}{
		"lost":           {func(e []crashtest.Event) []crashtest.Event { return slices.Delete(e, at, at+1) }, "follows event"},
		"the last lost":  {func(e []crashtest.Event) []crashtest.Event { return slices.Delete(e, last, last+1) }, "the ledger counts"},
		"twice":          {func(e []crashtest.Event) []crashtest.Event { return slices.Insert(e, at, e[at]) }, "is the second"},
		"swapped":        {func(e []crashtest.Event) []crashtest.Event { e[at], e[next] = e[next], e[at]; return e }, "follows event"},
		"of nothing":     {func(e []crashtest.Event) []crashtest.Event { e[at].Reference = ""; return e }, "names no item"},
		"not completed":  {func(e []crashtest.Event) []crashtest.Event { e[at].Reference = "item-4000000000"; return e }, "which it was not"},
		"of another":     {func(e []crashtest.Event) []crashtest.Event { e[at].Reference = e[next].Reference; return e }, "is the second"},
		"without item":   {func(e []crashtest.Event) []crashtest.Event { e[at].ItemLost = true; return e }, "its item is lost"},
		"of a dead item": {func(e []crashtest.Event) []crashtest.Event { e[at].Type = queue.EventDead; return e }, "the ledger counts"},
		"old epoch":      {func(e []crashtest.Event) []crashtest.Event { e[last].Epoch = e[at].Epoch; return e }, "epoch"},
		"one epoch": {func(e []crashtest.Event) []crashtest.Event {
			for i := range e {
				e[i].Epoch = 1
			}
			return e
		}, "has the epoch of start"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.Book.Problems())
			r.Book.CheckEvents(test.harm(slices.Clone(events)), ledgers)
			problems := strings.Join(r.Book.Problems()[before:], "\n")
			if !strings.Contains(problems, test.want) {
				t.Errorf("nobody noticed; want %q in:\n%s", test.want, problems)
			}
		})
	}
}

// twoCompleted returns two events in a row of one partition whose events are of
// more than one epoch, both of completed items; 0 and 0 if there are none.
func twoCompleted(events []crashtest.Event) (first, second int) {
	for i := range events {
		a := &events[i]
		if a.Type != queue.EventCompleted || strings.HasPrefix(a.Queue, "passing") || events[lastOf(events, *a)].Epoch == a.Epoch {
			continue
		}
		for j := i + 1; j < len(events); j++ {
			b := &events[j]
			if b.Queue == a.Queue && b.Partition == a.Partition {
				if b.Type == queue.EventCompleted {
					return i, j
				}
				break
			}
		}
	}
	return 0, 0
}

// lastOf returns the last event of the partition of e.
func lastOf(events []crashtest.Event, e crashtest.Event) int {
	last := 0
	for i := range events {
		if events[i].Queue == e.Queue && events[i].Partition == e.Partition {
			last = i
		}
	}
	return last
}
