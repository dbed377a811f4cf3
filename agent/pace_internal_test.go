package agent

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// The heap may grow to the floor, and to three times what is alive above it.
func TestPercentFor(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, roots int64 // MiB
		want        int
	}{
		{0, 0, 400}, // Go has the heap grow to 16 MiB then.
		{1, 0, 400},
		{3, 0, 400},
		{3, 1, 325}, // The percentage is of the roots, too.
		{4, 0, 300},
		{5, 0, 220},
		{6, 0, usualPercent},
		{100, 1, usualPercent},
	} {
		if got := percentFor(c.live*mib, c.roots*mib, 16*mib); got != c.want {
			t.Errorf("with %d MiB alive and %d MiB of roots: %d percent, want %d", c.live, c.roots, got, c.want)
		}
	}
}

// goal is what the heap may grow to before garbage is collected, in bytes.
func goal() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// An agent's heap grows to the floor, no more, when little is alive; when it ends, what was
// set when it began is in effect.
func TestPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(usualPercent))
	ctx, stop := context.WithCancel(t.Context())
	m := memoryShares{floor: 64 << 20}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.pace(ctx)
	}()
	isWithin := func(least, most int64) bool { g := goal(); return g >= least && g <= most }
	settle := func(least, most int64) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !isWithin(least, most); {
			if time.Now().After(end) {
				t.Fatalf("the heap may grow to %d bytes, want %d to %d", goal(), least, most)
			}
			runtime.GC()
		}
	}
	settle(m.floor*7/8, m.floor*9/8)
	held := make([]byte, 40<<20)
	for i := range held {
		held[i] = 1
	}
	settle(3*40<<20, 3*60<<20)
	runtime.KeepAlive(held)
	settle(m.floor*7/8, m.floor*9/8)
	stop()
	<-done
	if percent := debug.SetGCPercent(usualPercent); percent != usualPercent {
		t.Errorf("%d percent are left", percent)
	}
}
