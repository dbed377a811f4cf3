package agent

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// usualPercent is how much may be allocated before garbage is collected, in percent
// of what is alive: the heap may be three times that.
const usualPercent = 200

// mostPercent bounds what is allowed when next to nothing is alive. The floor bounds it
// sooner; this is for a floor by a limit of gigabytes.
const mostPercent = 10_000

// pace lets the heap grow to the floor before garbage is collected, however little is
// alive. Two MiB are alive in a busy agent with small items: collecting at three times
// that took a fifth of its processor time. It looks again after each collection, so that
// what is alive is never taken for less than it was a collection ago; the limit of the
// heap holds meanwhile. It returns when ctx ends.
func (m *memoryShares) pace(ctx context.Context) {
	percent := usualPercent
	collected := make(chan struct{}, 1)
	for {
		tellCollected(collected)
		select {
		case <-ctx.Done():
			debug.SetGCPercent(usualPercent)
			return
		case <-collected:
		}
		// Setting it stops the world for a moment, which a small change is not worth.
		if want := percentFor(liveHeap(), m.floor); want < percent || want > percent+percent/8 {
			percent = want
			debug.SetGCPercent(percent)
		}
	}
}

// percentFor returns in percent of what is alive how much may be allocated until the
// heap has reached the floor, and three times what is alive at least.
func percentFor(live, floor int64) int {
	live = max(live, 1)
	return int(min(max(usualPercent, (floor-live)*100/live), mostPercent))
}

// tellCollected has the next collection of garbage send to c, which has room for one.
func tellCollected(c chan struct{}) {
	// With a pointer in it, it does not share its memory with other small objects, which
	// may be alive for longer.
	type garbage struct{ _ *garbage }
	runtime.AddCleanup(&garbage{}, func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}, c)
}

// liveHeap returns how many bytes the last collection found alive.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(s[0].Value.Uint64())
}
