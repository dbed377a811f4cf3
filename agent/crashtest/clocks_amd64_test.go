package crashtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// never is what a board without a clock of its own takes for the time at boot.
func never() time.Time { return time.Unix(3, 0) }

// Steps of 20 years, both ways, while the agent runs and while it does not: leases
// neither end nor last, items do not expire, the order stays, and so does what is
// known of the source ids.
func TestStepsOfTheClock(t *testing.T) {
	now := time.Now()
	b := newBoard(t, "", now)
	b.createQueues()
	b.produce("q", "held")
	held := b.lease("q", longLease, 1, "held")
	var order []string
	for i, by := range []time.Duration{years(20), -years(20), years(20), 0} {
		b.step(now.Add(by))
		if i == 2 {
			b.kill(0)
		}
		b.produce("q", append(order, "held")...) // They are there, and are skipped.
		order = append(order, fmt.Sprint("a", i), fmt.Sprint("b", i))
		b.produce("q", order[len(order)-2:]...)
		b.holds("q", len(order)+1, 1, 0)

		name := fmt.Sprint("short ", i)
		b.produce("other", name)
		b.lease("other", time.Second, 1, name)
		b.complete(b.lease("other", longLease, 2, name)) // When the second is over.
	}
	b.complete(held)
	b.complete(b.lease("q", longLease, 1, order...))
	b.holds("q", 0, 0, 0)
	b.audit()
}

// A restart in the same boot keeps leases to the second, whatever the time of day
// has become and however long the machine was suspended.
func TestRestartInTheSameBoot(t *testing.T) {
	now := time.Now()
	b := newBoard(t, "", now)
	b.createQueues()
	b.produce("q", "a")
	before := time.Now()
	b.lease("q", longLease, 1, "a")
	after := time.Now()
	for i, by := range []time.Duration{years(20), -years(20)} {
		b.clock.Set(now.Add(by))
		b.kill(25 * time.Minute)
		from := longLease - time.Duration(i+1)*25*time.Minute
		most := from - time.Since(after)
		left := b.holds("q", 1, 1, 0).AverageLeaseLeft
		least := from - time.Since(before)
		if left < least-time.Second || left > most+time.Second {
			t.Errorf("after a suspend the lease has %s left, want %s to %s", left, least, most)
		}
	}
	b.kill(10*time.Minute + time.Second)
	b.lease("q", longLease, 2, "a")
	b.audit()
}

// A reboot ends all leases, since their holders are dead; that the board has
// forgotten the time changes nothing.
func TestRebootWithLeasesOut(t *testing.T) {
	b := newBoard(t, "", time.Now())
	b.createQueues()
	b.produce("q", "a", "b", "c")
	b.lease("q", longLease, 1, "a", "b")
	b.Kill()
	for n, now := range []time.Time{never(), time.Now().Add(years(-20)), time.Now(), never()} {
		b.boot(now)
		b.produce("q", "a", "b") // They are there.
		if n == 0 {
			b.complete(b.lease("q", longLease, 1, "c")) // It was never leased, so it is before them.
		}
		b.lease("q", longLease, n+2, "a", "b")
		b.holds("q", 2, 2, 0)
		b.Kill()
	}
	b.boot(never())
	b.audit()
}

// A board that has forgotten the time keeps what is scheduled until it is told, and
// what it took before is not half a century old then.
func TestBootWithoutAClock(t *testing.T) {
	now := time.Now()
	b := newBoard(t, "", never())
	b.createQueues()
	b.trusted(false)
	b.produce("q", "ready")
	later := client.ProduceItem{Payload: []byte("later"), EnqueueAt: now.Add(time.Hour)}
	must(t, b.Client.Produce(t.Context(), "other", later))
	b.heldForClock(1)
	b.holds("other", 0, 0, 1)

	b.step(now)
	b.trusted(true)
	b.heldForClock(0)
	b.holds("other", 0, 0, 1)
	b.step(now.Add(2 * time.Hour))
	b.lease("other", longLease, 1, "later")
	b.holds("q", 1, 0, 0)

	later.EnqueueAt = now.Add(24 * time.Hour)
	must(t, b.Client.Produce(t.Context(), "other", later))
	b.end()
	b.boot(now) // Earlier than it has been.
	b.trusted(false)
	b.heldForClock(1)
	b.holds("q", 1, 0, 0)
	b.step(now.Add(3 * time.Hour))
	b.trusted(true)
	b.holds("q", 1, 0, 0)
	b.audit()
}

// A clock that was ahead by 20 years once is found out when NTP has set it right:
// from then on, and after the next boot without NTP, the right time is believed.
func TestClockThatWasAhead(t *testing.T) {
	now := time.Now()
	b := newBoard(t, "", now.Add(years(20)))
	b.trusted(true)
	b.end()
	b.boot(now)
	b.trusted(false)
	must(t, b.agent.Boot.Synchronise())
	b.trusted(true)
	b.end()
	b.boot(now.Add(time.Hour))
	b.trusted(true)
	b.step(now.Add(-time.Hour)) // Earlier than it was when the agent ran last.
	b.trusted(false)
}

// heldForClock waits until so many items wait for a clock that can be trusted.
func (b *board) heldForClock(want int64) {
	b.t.Helper()
	waitFor(b.t, fmt.Sprint(want, " items wait for the clock"), func() bool {
		s, err := b.Client.Status(b.t.Context())
		must(b.t, err)
		var held int64
		for _, q := range s.Queues {
			for i := range q.Partitions {
				held += q.Partitions[i].HeldForClock
			}
		}
		return held == want
	})
}

// With trust = "ntp" only NTP is believed.
func TestTrustInNTP(t *testing.T) {
	b := newBoard(t, "[clock]\ntrust = \"ntp\"\n", time.Now())
	b.createQueues()
	b.trusted(false)
	at := time.Now().Add(-time.Minute)
	must(t, b.Client.Produce(t.Context(), "q", client.ProduceItem{Payload: []byte("at once"), EnqueueAt: at}))
	must(t, b.Client.Produce(t.Context(), "other", client.ProduceItem{Payload: []byte("soon"), EnqueueAt: time.Now().Add(time.Second)}))
	b.lease("q", longLease, 1, "at once")
	b.heldForClock(1)
	must(t, b.agent.Boot.Synchronise())
	b.lease("other", longLease, 1, "soon")
	b.trusted(true)
	b.audit()
}
