package agent

import (
	"fmt"
	"sync"
	"time"
)

// repeats bounds how often the same thing is logged: once in a while for each
// key, with what came together since the last time. Its methods are safe for use
// by any goroutine.
type repeats struct {
	every time.Duration

	mu   sync.Mutex
	rows map[string]*repeatRow // at most maxRepeatRows
}

type repeatRow struct {
	n    int
	last time.Time
}

// maxRepeatRows bounds the memory; beyond it all is forgotten, and logged once
// more than it should be.
const maxRepeatRows = 1000

func newRepeats(every time.Duration) *repeats {
	return &repeats{every: every, rows: make(map[string]*repeatRow)}
}

// add counts n for a key. If it is due, sum is what was counted since it was due
// before.
func (r *repeats) add(key string, n int) (sum int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.rows[key]
	if row == nil {
		if len(r.rows) >= maxRepeatRows {
			clear(r.rows)
		}
		row = &repeatRow{}
		r.rows[key] = row
	}
	row.n += n
	if !row.last.IsZero() && time.Since(row.last) < r.every {
		return 0, false
	}
	sum, row.n, row.last = row.n, 0, time.Now()
	return sum, true
}

// repeatKey is the key of what happens to a partition for a reason.
func repeatKey(queue string, partition int, why string) string {
	return fmt.Sprintf("%s\x00%d\x00%s", queue, partition, why)
}
