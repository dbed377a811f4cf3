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
// that took a fifth of its processor time. It looks again after each collection. When much
// more is alive then than at the one before, the heap may have been allowed five times
// of it for as long as it took to look (mostFloor), within its limit.
//
// It returns when ctx ends, with what apply has set in effect. What it sets is the
// process's: of several agents in one, as in tests, each sets it for itself.
func (m *memoryShares) pace(ctx context.Context) {
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
		c := lastCollection()
		if want := percentFor(c.live, c.roots, m.floor); abs(want-c.percent) > c.percent/8 {
			debug.SetGCPercent(want)
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

// collection is what the collector says of its last run.
type collection struct {
	live, roots int64 // bytes that it found alive, and that it looked through beside them
	percent     int   // what may be allocated until the next
}

func lastCollection() collection {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/gc/gogc:percent"},
	}
	metrics.Read(s)
	value := func(i int) int64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return int64(s[i].Value.Uint64())
	}
	return collection{live: value(0), roots: value(1) + value(2), percent: int(value(3))}
}

func abs(n int) int { return max(n, -n) }
