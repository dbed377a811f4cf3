package queue_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// reboot restarts the service in another boot, with a clock that is right or
// does as if.
func (w *world) reboot(boot string) {
	w.t.Helper()
	w.stop()
	w.clock.Reboot(boot)
	w.storage.SetBoot(boot)
	w.start()
}

// Leases that end together, by a reboot or since they were given together, leave
// the order of their items as it was.
func TestOrderOfItemsWhoseLeasesEndTogether(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		var order []string
		for i := range 40 {
			order = append(order, fmt.Sprintf("item %02d", i))
		}
		w.produce(q, order...)
		w.lease(q, len(order), order...)
		w.reboot("boot-2")
		q = w.queue("q")
		w.pass(time.Second)
		w.lease(q, len(order), order...)
		w.pass(2 * time.Minute) // Longer than the leases.
		w.lease(q, len(order), order...)
	})
}

// Items that were produced after the clock was set back expire before those of
// before; a reboot must not forget that.
func TestExpiryAfterClockWasSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.ExpireTimeout = 10 * time.Minute })
		w.clock.Step(5 * time.Hour)
		w.produce(q, "first")
		w.pass(5 * time.Minute)
		w.produce(q, "ahead")
		w.clock.Step(-5 * time.Hour)
		w.produce(q, "right")
		w.pass(5*time.Minute + 2*time.Second) // Looking for "first" meets "ahead".
		w.counts(q, 2, 0, 0)
		w.reboot("boot-2")
		q = w.queue("q")
		w.counts(q, 2, 0, 0)
		w.pass(6 * time.Minute)
		w.lease(q, 5, "ahead")
	})
}

// A span whose items are in no order of expiry is looked at soon after a reboot
// too, although the time since boot began anew.
func TestExpiryInASpanWithoutOrderAfterReboot(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.ExpireTimeout = 3 * time.Hour })
		w.produce(q, "long")
		if err := w.svc.Update(w.ctx(), queue.Info{Name: "q", ExpireTimeout: time.Hour}); err != nil {
			t.Fatal(err)
		}
		w.produce(q, "short")
		w.pass(59 * time.Minute)
		if err := w.svc.Update(w.ctx(), queue.Info{Name: "q", ExpireTimeout: 30 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		w.produce(q, "shorter")
		w.pass(2 * time.Minute)
		w.counts(q, 2, 0, 0)
		w.reboot("boot-2")
		q = w.queue("q")
		w.pass(30 * time.Minute)
		w.lease(q, 5, "long")
	})
}

// A board without a clock of its own writes items in 1970; after a reboot with a
// clock that is right they are not half a century old.
func TestItemsOfAnUntrustedClockOutliveAReboot(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		right := w.clock.Now()
		w.clock.SetWall(time.Unix(100, 0))
		w.clock.SetTrusted(false)
		w.produce(q, "a", "b")
		w.pass(time.Minute)
		w.clock.SetWall(right)
		w.clock.SetTrusted(true)
		w.pass(time.Minute)
		w.counts(q, 2, 0, 0)
		w.reboot("boot-2")
		q = w.queue("q")
		w.pass(time.Minute)
		w.counts(q, 2, 0, 0)
		w.retry(q, queue.RetryItem{}, w.lease(q, 1, "a")...)
		w.pass(55 * time.Minute)
		w.counts(q, 2, 0, 0)
		w.pass(5 * time.Minute) // Their life began anew with the boot, and ends.
		w.counts(q, 0, 0, 0)
	})
}

// An item that goes to the tail while nobody believes the clock has its times by
// two clocks: what it has left to live is counted by the later one alone.
func TestItemMovedUnderAnUntrustedClockOutlivesAReboot(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		right := w.clock.Now()
		w.produce(q, "a")
		w.lease(q, 1, "a")
		w.clock.SetWall(time.Unix(100, 0))
		w.clock.SetTrusted(false)
		w.reboot("boot-2") // The lease ends with the boot.
		q = w.queue("q")
		w.pass(20 * time.Minute)
		w.counts(q, 1, 0, 0)
		w.clock.SetWall(right)
		w.clock.SetTrusted(true)
		w.reboot("boot-3")
		q = w.queue("q")
		w.pass(59 * time.Minute)
		w.counts(q, 1, 0, 0)
		w.pass(2 * time.Minute)
		w.counts(q, 0, 0, 0)
	})
}

// What was found not to have expired in one boot is looked for in the next.
func TestItemsOfAnUntrustedClockExpireTwoBootsLater(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		right := w.clock.Now()
		w.clock.SetWall(time.Unix(100, 0))
		w.clock.SetTrusted(false)
		w.produce(q, "a", "b")
		w.clock.SetWall(right)
		w.clock.SetTrusted(true)
		for _, boot := range []string{"boot-2", "boot-3"} {
			w.reboot(boot)
			q = w.queue("q")
			w.pass(30 * time.Minute)
			w.counts(q, 2, 0, 0)
		}
		w.pass(31 * time.Minute)
		w.counts(q, 0, 0, 0)
	})
}

// settingClock is set by somebody while the engine is at reading it.
type settingClock struct {
	*queuetest.Clock
	left atomic.Int64 // reads until it is set; not at all below 1
	set  func()
}

func (c *settingClock) read() {
	if c.left.Add(-1) == 0 {
		c.set()
	}
}

func (c *settingClock) Now() time.Time {
	defer c.read()
	return c.Clock.Now()
}

func (c *settingClock) Trusted() bool {
	defer c.read()
	return c.Clock.Trusted()
}

// The word of a clock that is set, or found to be wrong, between two reads of it
// is not taken for that of the other: nothing is due that nobody trusts.
func TestClockIsSetWhileItIsRead(t *testing.T) {
	ahead := 1000 * 24 * time.Hour
	for _, toRight := range []bool{true, false} {
		for reads := 1; reads <= 20; reads++ {
			inWorld(t, func(w *world) {
				c := &settingClock{Clock: w.clock}
				w.stop()
				w.asked = c
				w.start()
				q := w.create("q")
				right := w.clock.Now()
				due := right.Add(ahead / 2)
				if toRight {
					w.clock.Set(right.Add(ahead), false)
					due = w.clock.Now().Add(5 * time.Second)
				}
				w.produceItems(q, queue.Item{Payload: []byte("later"), EnqueueAt: due})
				w.pass(20 * time.Second)
				w.counts(q, 0, 0, 1)
				c.set = func() {
					if toRight {
						w.clock.Set(right.Add(20*time.Second), true)
					} else {
						w.clock.Set(right.Add(ahead), false)
					}
				}
				c.left.Store(int64(reads))
				for range 10 { // Each has the engine look at the clock.
					w.produce(q, "now")
					w.lease(q, 1, "now")
				}
				if c.left.Load() > 0 {
					t.Fatal("the clock was not set")
				}
				w.pass(time.Minute - time.Second)
				w.counts(q, 0, 10, 1)
			})
		}
	}
}
