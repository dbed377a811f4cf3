package queue

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// kernel is a machine's three clocks. Every reading of one takes a while.
type kernel struct {
	wall, mono, boot atomic.Int64
	// between, if set, is called before CLOCK_BOOTTIME is read and after.
	between func()
	asked   atomic.Int64 // how often CLOCK_BOOTTIME was read
	beyond  atomic.Bool  // the wall clock is beyond what Go has a monotonic clock for
	slow    func() int64 // if set, how long reading CLOCK_BOOTTIME takes
}

func newKernel() *kernel {
	k := &kernel{}
	k.wall.Store(1_790_000_000_000_000_000)
	k.mono.Store(int64(time.Hour))
	k.boot.Store(int64(3 * time.Hour))
	return k
}

func (k *kernel) pass(d time.Duration) {
	k.boot.Add(int64(d))
	k.wall.Add(int64(d))
	k.mono.Add(int64(d))
}

func (k *kernel) suspend(d time.Duration) {
	k.boot.Add(int64(d))
	k.wall.Add(int64(d))
}

func (k *kernel) step(d time.Duration) { k.wall.Add(int64(d)) }

func (k *kernel) clock() *bootTime {
	return &bootTime{
		quick: func() (int64, int64, bool) {
			wall := k.wall.Load()
			k.pass(50)
			return wall, k.mono.Load(), !k.beyond.Load()
		},
		exact: func() (int64, bool) {
			k.asked.Add(1)
			if k.between != nil {
				k.between()
			}
			boot := k.boot.Load()
			if k.slow != nil {
				k.pass(time.Duration(k.slow()))
			}
			k.pass(300)
			if k.between != nil {
				k.between()
			}
			return boot, true
		},
	}
}

// The time since boot is right within 50 us whatever is done to the clocks, never goes
// back, and is hardly ever asked for by a system call.
func TestBootTime(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		k := newKernel()
		b := k.clock()
		events, last := int64(1), time.Duration(0)
		far := int64(0) // so often it may have been asked since there was no other clock
		k.slow = func() int64 { return rng.Int64N(45_000) }
		event := func() {
			switch rng.IntN(5) {
			case 0:
				k.suspend(time.Duration(rng.Int64N(int64(100 * time.Hour))))
			case 1:
				k.step(time.Duration(rng.Int64N(int64(100*time.Hour))) - 50*time.Hour)
			case 2:
				d := time.Duration(rng.Int64N(int64(time.Hour)))
				k.suspend(d)
				k.step(time.Millisecond - d) // It was set right, nearly.
			case 3:
				k.step(time.Millisecond)
				k.beyond.Store(!k.beyond.Load())
			default:
				k.pass(time.Duration(rng.Int64N(int64(time.Second)))) // Somebody else has the processor.
			}
			events++
		}
		k.between = func() {
			if rng.IntN(5) == 0 {
				event()
			}
		}
		for range 500 {
			if rng.IntN(20) == 0 {
				event()
			}
			if rng.IntN(2) == 0 {
				k.pass(time.Duration(rng.Int64N(int64(time.Second))))
			}
			beyond := k.beyond.Load()
			known := b.last.Load()
			before := k.boot.Load()
			got := b.now()
			if got < last {
				t.Fatalf("seed %d: the time goes back from %s to %s", seed, last, got)
			}
			last = got
			if beyond || k.beyond.Load() {
				far += 2
			}
			// What happens while it is asked may show only the next time.
			if b.last.Load() == known && (int64(got) < before-closeReading || int64(got) > k.boot.Load()) {
				t.Fatalf("seed %d: it is %s, and %s is told", seed, time.Duration(before), got)
			}
		}
		if asked := k.asked.Load() - far; asked > 3*events {
			t.Errorf("seed %d: asked %d times for %d events", seed, asked, events)
		}
	}
}

// Whoever reads a time after another reads none before it, whatever goroutine it is.
func TestBootTimeInOrder(t *testing.T) {
	k := newKernel()
	b := k.clock()
	var took atomic.Int64
	k.slow = func() int64 { return took.Add(17_011) % 45_000 }
	var last atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20_000 {
				least := last.Load()
				got := int64(b.now())
				if got < least {
					t.Errorf("%d is told after %d", got, least)
					return
				}
				for n := last.Load(); n < got && !last.CompareAndSwap(n, got); n = last.Load() {
				}
			}
		})
	}
	for range 200 {
		k.suspend(time.Second)
		k.step(-time.Minute)
		k.pass(time.Microsecond)
		k.beyond.Store(!k.beyond.Load())
	}
	all.Wait()
}

// A wall clock that is far in the future, for which Go has no monotonic clock, changes
// nothing, whether it is so from the beginning or for a while.
func TestBootTimeInTheFarFuture(t *testing.T) {
	far := 140 * 365 * 24 * time.Hour
	for _, begins := range []bool{false, true} {
		shown := time.Duration(0)
		if begins {
			shown = far
		}
		b := &bootTime{exact: systemBootTime, quick: quickClocks(func() time.Time {
			if shown == 0 {
				return time.Now()
			}
			return time.Now().Round(0).Add(shown)
		})}
		for _, shown = range []time.Duration{shown, 0, far, far + time.Hour, far - time.Hour, 0, time.Hour, 0} {
			for range 3 {
				least, _ := b.exact()
				got := int64(b.now())
				if most, _ := b.exact(); got < least-int64(time.Millisecond) || got > most {
					t.Fatalf("with a wall clock %s ahead it is %d to %d, and %d is told", shown, least, most, got)
				}
			}
		}
	}
}

// The machine's own clock is CLOCK_BOOTTIME within a millisecond, and can do without.
func TestSystemBootTime(t *testing.T) {
	b := newBootTime()
	for range 1000 {
		least, ok := b.exact()
		if !ok {
			t.Fatal("CLOCK_BOOTTIME cannot be read")
		}
		got := int64(b.now())
		if most, _ := b.exact(); got < least-int64(time.Millisecond) || got > most {
			t.Fatalf("it is %d to %d, and %d is told", least, most, got)
		}
	}
	b = &bootTime{quick: b.quick, exact: func() (int64, bool) { return 0, false }}
	if first, then := b.now(), b.now(); first < 0 || then < first {
		t.Errorf("without CLOCK_BOOTTIME %s and then %s is told", first, then)
	}
}
