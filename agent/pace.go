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

// leastHeap is what Go lets the heap grow to whatever is alive, times the percentage:
// 4 MiB with 100 (runtime, gcController.heapMinimum).
const leastHeap = 4 << 20

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
		live, roots := lastCollection()
		if want := percentFor(live, roots, m.floor); want < percent || want > percent+percent/8 {
			percent = want
			debug.SetGCPercent(percent)
		}
	}
}

// percentFor returns how much may be allocated until the heap has reached the floor, and
// three times what is alive at least, in percent of what the collector takes for alive:
// the heap that was, and the roots that it had to look through, stacks and globals.
func percentFor(live, roots, floor int64) int {
	most := floor * 100 / leastHeap
	return int(max(usualPercent, min((floor-live)*100/max(live+roots, 1), most)))
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

// lastCollection returns how many bytes the last collection found alive, and how many it
// looked through beside them.
func lastCollection() (live, roots int64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(s)
	value := func(i int) int64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return int64(s[i].Value.Uint64())
	}
	return value(0), value(1) + value(2)
}
