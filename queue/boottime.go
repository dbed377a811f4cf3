package queue

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// bootTime tells the time since the kernel started, suspend counted, for next to nothing.
// CLOCK_BOOTTIME tells it, but Go asks for that by a system call, which takes as long as
// a third of a small commit on some machines. The clocks that Go reads without one are
// CLOCK_MONOTONIC, which stands still in suspend, and CLOCK_REALTIME. In suspend the
// kernel moves CLOCK_BOOTTIME and CLOCK_REALTIME on by the same, at once
// (timekeeping_inject_sleeptime), and slewing a clock slews all three. So as long as the
// wall clock has not moved against the monotonic one, by a suspend or since it was set,
// CLOCK_BOOTTIME is as far ahead of that as it was; else it is asked again. It is safe for
// use by any goroutine.
type bootTime struct {
	// quick returns the wall clock and the monotonic one, in nanoseconds.
	quick func() (wall, mono int64)
	// exact returns CLOCK_BOOTTIME in nanoseconds; false if there is none.
	exact func() (int64, bool)
	last  atomic.Pointer[bootOffset]
}

// bootOffset is how far the clocks were apart, in nanoseconds.
type bootOffset struct {
	ahead int64 // CLOCK_BOOTTIME before CLOCK_MONOTONIC; never more than it was
	skew  int64 // the wall clock before CLOCK_MONOTONIC, and when it was read before that
	close bool  // the clocks were read within closeReading
}

const (
	// closeReading is within what time the clocks are read for what they show to be
	// remembered: by so much the time is behind at most.
	closeReading = int64(50 * time.Microsecond)
	// sameSkew is how much the wall clock and the monotonic one, which are read one after
	// the other, may seem to have moved against each other although they have not.
	sameSkew = int64(20 * time.Microsecond)
)

// now returns the time since the kernel started. It never goes back.
func (b *bootTime) now() time.Duration {
	wall, mono := b.quick()
	if o := b.last.Load(); o != nil && o.close && abs(wall-mono-o.skew) <= sameSkew {
		return time.Duration(mono + o.ahead)
	}
	return b.measure()
}

// measure asks for the time and remembers how far the clocks are apart.
func (b *bootTime) measure() time.Duration {
	for {
		old := b.last.Load()
		// The skew is that of before. A suspend that comes before the end of this shows
		// in the next reading.
		wall, before := b.quick()
		boot, ok := b.exact()
		_, mono := b.quick()
		if !ok {
			return time.Duration(mono)
		}
		o := &bootOffset{ahead: boot - mono, skew: wall - before, close: mono-before <= closeReading}
		if old != nil {
			o.ahead = max(o.ahead, old.ahead) // It cannot get less; it was read in more time.
		}
		if b.last.CompareAndSwap(old, o) {
			return time.Duration(mono + o.ahead)
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }

// clockBoottime is CLOCK_BOOTTIME of clock_gettime(2).
const clockBoottime = 7

func newBootTime() *bootTime {
	start := time.Now()
	return &bootTime{
		quick: func() (wall, mono int64) {
			t := time.Now()
			return t.UnixNano(), int64(t.Sub(start))
		},
		exact: func() (int64, bool) {
			var ts syscall.Timespec
			// The call does not block, so that the scheduler need not know of it.
			_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
			return ts.Nano(), errno == 0
		},
	}
}
