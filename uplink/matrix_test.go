package uplink_test

import (
	"context"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Each test here is a row of the failure matrix, with its number in the name. What the name says happens, and in
// the end every event is on the server once, in order, with its own payload, unless the row says otherwise.

func TestDeliversInOrder(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeBatch, uplink.ModeWindow, uplink.ModeSingle} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			cfg := b.config()
			cfg.Mode = mode
			b.produce(300)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.produce(7)
			r.drained(b.src)
			if v := b.exact(); v.messages != 614 {
				t.Errorf("%d messages, not 614", v.messages)
			}
			want := map[string]string{uplink.ModeAuto: uplink.ModeBatch}[mode]
			if want == "" {
				want = mode
			}
			if s := r.Status(context.Background()); s.Mode != want || s.Delivered != 614 || s.Resent != 0 || s.Pending != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func Test01NeverConnected(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.proxy.set(func() { b.proxy.refuse = true })
	b.produce(50)
	r := run(t, b.config(), b.src, nil)
	eventually(t, "many tries", func() bool { return b.proxy.connects() > 20 })
	r.mu.Lock()
	lines := len(r.seen)
	r.mu.Unlock()
	if lines > 1 {
		t.Errorf("%d lines about being offline, not 1", lines)
	}
	b.proxy.set(func() { b.proxy.refuse = false })
	r.drained(b.src)
	b.exact()
}

func Test02ResetInMidWindow(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			cfg := b.config()
			cfg.Mode = mode
			cuts := 0
			b.proxy.set(func() {
				b.proxy.up.after = func(total int) bool {
					// Inside of the first windows, ever later.
					if cuts < 6 && total > 3000+cuts*9000 {
						cuts++
						return true
					}
					return false
				}
			})
			b.produce(400)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.exact()
		})
	}
}

func Test03ReceiptSwallowedThenCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := run(t, b.config(), b.src, nil)
	b.produce(1)
	r.drained(b.src)
	b.proxy.set(func() { b.proxy.down.swallow = true })
	b.src.boxes[0].produce(20)
	admin := b.admin()
	eventually(t, "the server has them", func() bool { return streamSeq(t, admin) == 22 })
	b.proxy.cut()
	b.proxy.set(func() { b.proxy.down.swallow = false })
	r.drained(b.src)
	if v := b.exact(); v.messages != 22 {
		t.Errorf("%d messages", v.messages)
	}
	if seq := streamSeq(t, admin); seq != 22 {
		t.Errorf("something was published again: the stream is at %d, not 22", seq)
	}
}

func Test05HalfOpenIdle(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Hub.PingInterval = 50 * time.Millisecond
	r := run(t, cfg, b.src, nil)
	b.produce(1)
	r.drained(b.src)
	before := b.proxy.connects()
	b.proxy.set(func() { b.proxy.up.hold, b.proxy.down.hold = true, true })
	eventually(t, "a new connect", func() bool { return b.proxy.connects() > before })
	b.proxy.set(func() { b.proxy.up.hold, b.proxy.down.hold = false, false })
	b.proxy.cut()
	b.produce(5)
	r.drained(b.src)
	b.exact()
}
