package uplink

import "time"

// NewBackoffForTest returns the waits between connects, with a source of chance that can be replayed.
func NewBackoffForTest(random func(int64) int64) func() time.Duration {
	t := Timing{}.withDefaults()
	b := newBackoff(t.BackoffMin, t.BackoffMax)
	b.random = random
	return b.next
}
