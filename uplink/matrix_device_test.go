package uplink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// Rows of the failure matrix about the device.

func Test23CardRestored(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		name := "before it produces more"
		if after {
			name = "after it produced past the server"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			box := b.src.boxes[0]
			r := run(t, b.config(), b.src, nil)
			box.produce(20)
			r.drained(b.src)
			box.saveDelivered()
			image := box.snapshot()
			box.produce(30)
			r.drained(b.src)
			r.stop()
			box.restore(image)
			if after {
				box.produce(60)
			}
			r = run(t, b.config(), b.src, nil)
			box.produce(25)
			r.drained(b.src)
			v := check(b.truth, readStream(t, b.admin()))
			// Numbers start again behind the image, so that order holds within an epoch.
			if v.lost+v.dup+v.wrong > 0 {
				t.Errorf("%+v", v)
			}
			if r.reports(uplink.AlarmRolledBack) == 0 {
				t.Error("no alarm")
			}
		})
	}
}

func Test24TwoDevicesWithOneName(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	part := partName{"alpha", 0}
	one, two := newSource(b.truth, part), newSource(b.truth, part)
	r1, r2 := run(t, b.config(), one, nil), run(t, b.config(), two, nil)
	stopped := func(r *running) bool { return r.Status(t.Context()).State == uplink.StateStopped }
	eventually(t, "one of them stops", func() bool {
		one.boxes[0].produce(1)
		two.boxes[0].produce(1)
		return stopped(r1) || stopped(r2)
	})
	r, src := r1, one
	if stopped(r2) {
		r, src = r2, two
	}
	if s := r.Status(t.Context()); s.Class != uplink.AlarmIdentity || r.reports(uplink.AlarmIdentity) != 1 {
		t.Errorf("status %+v", s)
	}
	box := src.boxes[0]
	if have, err := box.Read(t.Context(), box.delivered(), 1, 1<<20, false); err != nil || box.head() > box.delivered() && len(have) == 0 {
		t.Errorf("events are not kept: %v", err)
	}
	r1.stop()
	r2.stop()
	// With the other one gone it goes on when told to.
	again := run(t, b.config(), src, nil)
	if err := again.Resume(); err != nil {
		t.Error(err)
	}
	again.drained(src)
	v := check(b.truth, readStream(t, b.admin()))
	if v.dup+v.wrong > 0 {
		t.Errorf("%+v", v)
	}
}

func Test25KilledBetweenReceiptAndNote(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	for range 4 {
		r := run(t, b.config(), b.src, nil)
		b.produce(30)
		r.drained(b.src)
		r.stop()
		for _, box := range b.src.boxes {
			box.restart() // Nothing of what was delivered had been written down.
		}
	}
	r := run(t, b.config(), b.src, nil)
	b.produce(1)
	r.drained(b.src)
	if v := b.exact(); v.messages != 242 {
		t.Errorf("%d messages, not 242", v.messages)
	}
}

func Test26OnlyWhatIsOnFlash(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	box := b.src.boxes[0]
	box.mu.Lock()
	box.seal, box.synced = true, 10
	box.mu.Unlock()
	box.produce(30)
	r := run(t, b.config(), b.src, nil)
	eventually(t, "what is on flash is delivered", func() bool { return box.delivered() == 10 })
	r.stop()
	if all := readStream(t, b.admin()); len(all) != 10 {
		t.Errorf("%d events on the server, of which only 10 are on flash", len(all))
	}
}

func Test27OutboxFullDropsOldest(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	box := b.src.boxes[0]
	r := run(t, b.config(), b.src, nil)
	box.produce(10)
	r.drained(b.src)
	b.proxy.set(func() { b.proxy.refuse = true })
	b.proxy.cut()
	box.produce(100)
	box.drop(50) // Ten delivered ones, forty that are not.
	box.drop(11) // The gap and ten more.
	box.produce(20)
	b.proxy.set(func() { b.proxy.refuse = false })
	r.drained(b.src)
	v := b.exact()
	if s := r.Status(t.Context()); v.gapped != 50 || s.Lost != 50 || s.Gaps != 1 {
		t.Errorf("%d in gaps, %d lost in %d gaps; not 50 in one", v.gapped, s.Lost, s.Gaps)
	}
	if r.reports(uplink.AlarmGap) != 1 {
		t.Error("no alarm")
	}
}

func Test29OutboxFailsForAWhile(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	box := b.src.boxes[0]
	b.produce(50)
	box.mu.Lock()
	box.fail = errors.New("no space left on device")
	box.mu.Unlock()
	r := run(t, b.config(), b.src, nil)
	eventually(t, "the other partition drains", func() bool { return b.src.boxes[1].delivered() == 50 })
	eventually(t, "it is known", func() bool { return r.reports("outbox") > 0 })
	box.mu.Lock()
	box.fail = nil
	box.mu.Unlock()
	r.drained(b.src)
	b.exact()
}

func Test32ThunderingHerd(t *testing.T) {
	t.Parallel()
	const devices, outage = 200, 10 * time.Minute
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	perSecond := map[int]int{}
	for range devices {
		var at time.Duration
		next := uplink.NewBackoffForTest(rng.Int64N)
		for at < outage {
			at += next()
		}
		perSecond[int(at/time.Second)]++
	}
	for second, n := range perSecond {
		if n > devices/10 {
			t.Errorf("%d of %d devices come back in second %d", n, devices, second)
		}
	}
}

// Test32SpreadAfterAnOutage: with a long backlog nothing is sent for a random time after a connect, unless somebody waits.
func Test32SpreadAfterAnOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Timing.Spread = 1000 * time.Hour
	b.src.boxes[0].produce(10_001)
	r := run(t, cfg, b.src, nil)
	eventually(t, "it is connected", func() bool { return r.Status(t.Context()).State == uplink.StateConnected })
	<-time.After(100 * time.Millisecond)
	if n := r.Status(t.Context()).Delivered; n > 0 {
		t.Errorf("%d events were sent at once after a connect", n)
	}
	if left := r.Flush(t.Context()); left > 0 {
		t.Errorf("%d events are left after a flush", left)
	}
	b.exact()
}

func Test35LoneEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Linger = 100 * time.Millisecond
	r := run(t, cfg, b.src, nil)
	eventually(t, "connected", func() bool { return r.Status(t.Context()).State == uplink.StateConnected })
	begin := time.Now()
	b.src.boxes[0].produce(1)
	r.drained(b.src)
	if d := time.Since(begin); d < cfg.Linger/2 {
		t.Errorf("it did not wait for others: %s", d)
	}
	b.exact()
}

func Test36StopWithAWindowOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Timing.Drain = 50 * time.Millisecond
	cfg.Timing.Reply = time.Hour
	r := run(t, cfg, b.src, nil)
	b.produce(1)
	r.drained(b.src)
	b.proxy.set(func() { b.proxy.down.hold = true })
	b.src.boxes[0].produce(20)
	admin := b.admin()
	eventually(t, "the window is out", func() bool { return streamSeq(t, admin) == 22 })
	begin := time.Now()
	r.stop()
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("the end took %s", d)
	}
	b.proxy.set(func() { b.proxy.down.hold = false })
	b.proxy.cut()
	for _, box := range b.src.boxes {
		box.restart()
	}
	r = run(t, b.config(), b.src, nil)
	b.produce(1)
	r.drained(b.src)
	if v := b.exact(); v.messages != 24 {
		t.Errorf("%d messages, not 24", v.messages)
	}
}

func TestPauseHoldsOverRestarts(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.StateFile = t.TempDir() + "/uplink.json"
	r := run(t, cfg, b.src, nil)
	b.produce(1)
	r.drained(b.src)
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	paused := func() bool { return r.Status(t.Context()).State == uplink.StatePaused }
	eventually(t, "it pauses", paused)
	r.stop()
	b.produce(5)
	r = run(t, cfg, b.src, nil)
	eventually(t, "it still pauses", paused)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if left := r.Flush(ctx); left != 10 {
		t.Errorf("%d left, not 10: a flush does not overrule a pause", left)
	}
	if err := r.Resume(); err != nil {
		t.Fatal(err)
	}
	r.drained(b.src)
	b.exact()
}

func TestFlushDoesNotLinger(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Linger = time.Hour
	r := run(t, cfg, b.src, nil)
	b.produce(5)
	if left := r.Flush(t.Context()); left != 0 {
		t.Errorf("%d left", left)
	}
	b.exact()
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	sub, err := b.admin().SubscribeSync("querator-hb.*")
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.config()
	cfg.Heartbeat = 20 * time.Millisecond
	run(t, cfg, b.src, nil)
	for range 3 {
		m, err := sub.NextMsg(30 * time.Second)
		if err != nil || m.Subject != "querator-hb.dev" {
			t.Fatalf("%v %v", m, err)
		}
	}
}

func TestOtherFormats(t *testing.T) {
	t.Parallel()
	for _, format := range []string{event.FormatStructured, event.FormatPacked} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			cfg := b.config()
			cfg.Format = format
			b.produce(120)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.proxy.cut()
			b.produce(3)
			r.drained(b.src)
			checkFormat(t, b, format)
		})
	}
}
