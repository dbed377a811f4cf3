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
	// quick returns the wall clock and the monotonic one, in nanoseconds; false if they
	// cannot be told apart.
	quick func() (wall, mono int64, ok bool)
	// exact returns CLOCK_BOOTTIME in nanoseconds; false if there is none.
	exact func() (int64, bool)
	// direct: exact takes no longer than quick, so that it is asked each time.
	direct bool
	last   atomic.Pointer[bootOffset]
	told   atomic.Int64 // the greatest of what exact has told by itself
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
	if b.direct {
		return b.ask()
	}
	wall, mono, ok := b.quick()
	if o := b.last.Load(); ok && o != nil && o.close && abs(wall-mono-o.skew) <= sameSkew {
		return time.Duration(max(mono+o.ahead, b.told.Load()))
	}
	return b.measure()
}

// ask returns what CLOCK_BOOTTIME is.
func (b *bootTime) ask() time.Duration {
	boot, ok := b.exact()
	if !ok {
		_, mono, _ := b.quick()
		return time.Duration(mono)
	}
	for {
		told := b.told.Load()
		if boot <= told || b.told.CompareAndSwap(told, boot) {
			return time.Duration(max(boot, told))
		}
	}
}

// measure asks for the time and remembers how far the clocks are apart.
func (b *bootTime) measure() time.Duration {
	for {
		old := b.last.Load()
		// The skew is that of before. A suspend that comes before the end of this shows
		// in the next reading.
		wall, before, first := b.quick()
		boot, ok := b.exact()
		_, mono, then := b.quick()
		if !ok || !first || !then {
			return b.ask()
		}
		o := &bootOffset{ahead: boot - mono, skew: wall - before, close: mono-before <= closeReading}
		if old != nil {
			o.ahead = max(o.ahead, old.ahead) // It cannot get less; it was read in more time.
		}
		if b.last.CompareAndSwap(old, o) {
			return time.Duration(max(mono+o.ahead, b.told.Load()))
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }

// clockBoottime is CLOCK_BOOTTIME of clock_gettime(2).
const clockBoottime = 7

func newBootTime() *bootTime {
	b := &bootTime{quick: quickClocks(time.Now), exact: systemBootTime}
	b.direct = !b.isQuicker()
	return b
}

// quickClocks returns a function that reads the two clocks by one that reads Go's.
func quickClocks(now func() time.Time) func() (wall, mono int64, ok bool) {
	start := now()
	hasMono := func(t time.Time) bool { return t != t.Round(0) }
	// Beyond the year 2157 Go's times have no monotonic clock in them (package time), and
	// what is between two is by the wall clock.
	began := hasMono(start)
	return func() (wall, mono int64, ok bool) {
		t := now()
		return t.UnixNano(), int64(t.Sub(start)), began && hasMono(t)
	}
}

func systemBootTime() (int64, bool) {
	var ts syscall.Timespec
	// The call does not block, so that the scheduler need not know of it.
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano(), errno == 0
}

// isQuicker reports whether quick is quicker than exact. It is not where the kernel lends
// no clock to programs, as on the first Raspberry Pi and the Zero: there each of the two
// clocks takes a system call.
func (b *bootTime) isQuicker() bool {
	best := func(read func()) time.Duration {
		least := time.Hour
		for range 5 {
			begin := time.Now()
			for range 10 {
				read()
			}
			least = min(least, time.Since(begin))
		}
		return least
	}
	return best(func() { b.quick() }) < best(func() { b.exact() })
}
