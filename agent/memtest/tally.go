package memtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// Tally counts what the agent answered. It is safe for use by any goroutine.
type Tally struct {
	mu       sync.Mutex
	counts   map[string]*count
	refused  map[string]int
	failures []string
}

// count is how often something was done, and how long it took.
type count struct {
	calls, items int64
	took         []time.Duration // at most maxTimes of them, the others at random places
	seen         int
}

// maxTimes bounds the durations that are kept of each kind of call.
const maxTimes = 20000

// maxFailures bounds the texts of failures that are kept.
const maxFailures = 20

// statusRefused is the one code that a refusal may have.
const statusRefused = 454

// NewTally returns an empty one.
func NewTally() *Tally {
	return &Tally{counts: make(map[string]*count), refused: make(map[string]int)}
}

// Done counts a call that worked.
func (t *Tally) Done(what string, items int, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[what]
	if c == nil {
		c = &count{}
		t.counts[what] = c
	}
	c.calls++
	c.items += int64(items)
	if len(c.took) < maxTimes {
		c.took = append(c.took, took)
	} else {
		c.took[c.seen*7919%maxTimes] = took
	}
	c.seen++
}

// Refused counts an error: a refusal by its reason, anything else as a failure.
// It reports whether it was a refusal.
func (t *Tally) Refused(what string, err error) bool {
	var e *client.Error
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.As(err, &e) && e.Code == statusRefused {
		t.refused[what+": "+reason(e.Message)]++
		return true
	}
	if len(t.failures) < maxFailures {
		t.failures = append(t.failures, what+": "+err.Error())
	}
	return false
}

// reason is a message without its numbers, so that alike ones are counted as
// one.
func reason(message string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '#'
		}
		return r
	}, message)
}

// Failures returns what was neither an answer nor a refusal; the first of them.
func (t *Tally) Failures() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.failures)
}

// Calls returns how many calls of a kind worked.
func (t *Tally) Calls(what string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.counts[what]; c != nil {
		return c.calls
	}
	return 0
}

// Report says in lines what was done in a time.
func (t *Tally) Report(over time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, what := range sorted(t.counts) {
		c := t.counts[what]
		slices.Sort(c.took)
		at := func(q float64) time.Duration {
			return c.took[int(q*float64(len(c.took)-1))].Round(100 * time.Microsecond)
		}
		fmt.Fprintf(&b, "%-18s %8d calls %9d items %8.0f items/s   p50 %-9s p99 %-9s most %s\n", what, c.calls, c.items,
			float64(c.items)/over.Seconds(), at(0.5), at(0.99), at(1))
	}
	for _, what := range sorted(t.refused) {
		fmt.Fprintf(&b, "refused %6d times: %s\n", t.refused[what], what)
	}
	for _, f := range t.failures {
		fmt.Fprintf(&b, "FAILED %s\n", f)
	}
	return b.String()
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
