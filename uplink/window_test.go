package uplink_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// TestWindowBesideOthers has somebody else publish into the stream all the time, and the stream full now and then in
// the middle of a window: what is refused is not overtaken by what is not, though the server forgets identities at
// once.
func TestWindowBesideOthers(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	stream := map[string]any{
		"subjects": []string{"querator.>", "others.>"}, "duplicate_window": (100 * time.Millisecond).Nanoseconds(),
	}
	b := newBench(t, stream)
	ctx, cancel := context.WithCancel(t.Context())
	other := b.admin()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n++ {
			m := nats.NewMsg("others.x")
			m.Header.Set(nats.MsgIdHdr, fmt.Sprint("others-", n))
			_, _ = other.RequestMsg(m, time.Second) // It may be refused, since the stream is full.
		}
	}()
	cfg := b.config()
	cfg.Mode = uplink.ModeWindow
	r := run(t, cfg, b.src, nil)
	admin := b.admin()
	for range 15 {
		b.produce(100)
		full := streamSeq(t, admin) + 10 + rng.Uint64N(60)
		stream["max_msgs"] = full
		updateStream(t, admin, stream)
		eventually(t, "it is full", func() bool { return streamSeq(t, admin) >= full })
		b.produce(20)
		stream["max_msgs"] = -1
		updateStream(t, admin, stream)
	}
	cancel()
	<-done
	r.drained(b.src)
	if v := b.exact(); v.messages != 3600 {
		t.Errorf("%d messages, not 3600", v.messages)
	}
}

// TestWindowAlone has nobody else publish, so that windows keep their size.
func TestWindowAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Mode = uplink.ModeWindow
	b.produce(2000)
	r := run(t, cfg, b.src, nil)
	r.drained(b.src)
	b.exact()
	if s := r.Status(t.Context()); s.Mode != uplink.ModeWindow || s.Conflicts != 0 || s.Delivered != 4000 {
		t.Errorf("status %+v", s)
	}
}
