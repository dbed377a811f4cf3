package uplink_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Rows of the failure matrix about the network, and about servers of other versions.

func Test06HalfOpenWithFullBuffers(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.proxy.set(func() { b.proxy.small = true })
	cfg := b.config()
	cfg.Hub.WriteTimeout = time.Second
	cfg.Timing.Reply = time.Hour // Only the write can notice.
	cfg.BatchBytes = 1 << 20
	cfg.MaxPayload = 1 << 20
	r := run(t, cfg, b.src, nil)
	b.produce(1)
	r.drained(b.src)
	b.proxy.set(func() { b.proxy.up.stop = true })
	before := b.proxy.connects()
	box := b.src.boxes[0]
	box.size = 900_000 // More than the buffers of the kernel on both sides take.
	box.produce(3)
	eventually(t, "a new connect", func() bool { return b.proxy.connects() > before })
	b.proxy.set(func() { b.proxy.up.stop, b.proxy.small = false, false })
	b.proxy.cut()
	r.drained(b.src)
	b.exact()
}

func Test07ZombieBytes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow, uplink.ModeSingle} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			// The fences alone have to do.
			b := newBench(t, map[string]any{"duplicate_window": (100 * time.Millisecond).Nanoseconds()})
			cfg := b.config()
			cfg.Mode = mode
			r := run(t, cfg, b.src, nil)
			b.produce(60)
			r.drained(b.src)
			for range 3 {
				b.proxy.set(func() { b.proxy.up.hold = true })
				b.src.boxes[0].produce(20)
				eventually(t, "bytes are held", func() bool { return b.proxy.heldBytes() > 500 })
				b.proxy.cut()
				b.proxy.set(func() { b.proxy.up.hold = false })
				r.drained(b.src)
				<-time.After(250 * time.Millisecond) // Until the server has forgotten the identities.
				b.proxy.deliver()
				b.produce(3)
				r.drained(b.src)
			}
			b.exact()
		})
	}
}

func Test08SlowLink(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Timing.Reply, cfg.Timing.Lookup = 6*time.Second, 6*time.Second // And what the bytes take.
	cfg.BatchBytes = 64 << 10
	b.proxy.set(func() {
		for _, f := range []*faults{&b.proxy.up, &b.proxy.down} {
			f.rate, f.latency = 2000, time.Second
		}
	})
	b.produce(6)
	r := run(t, cfg, b.src, nil)
	r.drained(b.src)
	if n := b.proxy.connects(); n != 1 {
		t.Errorf("%d connections; a slow link was taken for a dead one", n)
	}
	if s := r.Status(t.Context()); s.Conflicts > 0 || s.LastError != "" {
		t.Errorf("trouble: %+v", s)
	}
	b.exact()
}

// stale makes answers of a read-back tell of the event before the last one, as a replica that lags does.
var seqLine = regexp.MustCompile(`(Nats-Sequence: |Nats-Msg-Id: dev/[a-z]+/[0-9]/[0-9a-f]{16}/)([0-9]+)\r\n`)

func Test21LaggingReplica(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := run(t, b.config(), b.src, nil)
	box := b.src.boxes[0]
	box.produce(25)
	r.drained(b.src)
	var lies atomic.Int32
	lies.Store(3)
	b.proxy.set(func() {
		b.proxy.down.change = func(data []byte) []byte {
			if lies.Load() <= 0 || !bytes.Contains(data, []byte("Nats-Sequence: ")) {
				return data
			}
			lies.Add(-1)
			return seqLine.ReplaceAllFunc(data, func(line []byte) []byte {
				m := seqLine.FindSubmatch(line)
				n, _ := strconv.Atoi(string(m[2]))
				return fmt.Appendf(nil, "%s%0*d\r\n", m[1], len(m[2]), n-1)
			})
		}
	})
	b.proxy.cut()
	box.produce(20)
	r.drained(b.src)
	if lies.Load() > 0 {
		t.Errorf("%d answers were not asked for", lies.Load())
	}
	if r.reports(uplink.AlarmRegressed) > 0 {
		t.Error("a lagging replica was taken for a server that lost events")
	}
	b.exact()
}

func Test31LinkFlaps(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 31))
			b := newBench(t, nil)
			cfg := b.config()
			cfg.Mode = mode
			// No connection carries more than a few events.
			b.proxy.set(func() {
				b.proxy.up.after = func(total int) bool {
					return total > 2500+rng.IntN(3000)
				}
			})
			box := b.src.boxes[0]
			box.produce(120)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.exact()
		})
	}
}

// old makes a server look as one that knows no batches: it does not find their headers.
func old(data []byte) []byte {
	return bytes.ReplaceAll(data, []byte("Nats-Batch-"), []byte("Xats-Batch-"))
}

func Test33OlderServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.proxy.set(func() { b.proxy.up.change = old })
	r := run(t, b.config(), b.src, nil)
	b.produce(100)
	r.drained(b.src)
	if s := r.Status(t.Context()); s.Mode != uplink.ModeWindow {
		t.Errorf("mode %s", s.Mode)
	}
	// The next connection is to a newer one, the one after that to an older one again.
	b.proxy.set(func() { b.proxy.up.change = nil })
	b.proxy.cut()
	b.produce(100)
	r.drained(b.src)
	if s := r.Status(t.Context()); s.Mode != uplink.ModeBatch {
		t.Errorf("mode %s", s.Mode)
	}
	b.proxy.set(func() { b.proxy.up.change = old })
	b.proxy.cut()
	b.produce(100)
	r.drained(b.src)
	b.exact()
}

func Test33BatchesOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{"allow_atomic": false})
	r := run(t, b.config(), b.src, nil)
	b.produce(100)
	r.drained(b.src)
	// Switched on, and off again in the middle of a connection.
	updateStream(t, b.admin(), map[string]any{"allow_atomic": true})
	b.proxy.cut()
	b.produce(100)
	r.drained(b.src)
	if s := r.Status(t.Context()); s.Mode != uplink.ModeBatch {
		t.Errorf("mode %s", s.Mode)
	}
	updateStream(t, b.admin(), map[string]any{"allow_atomic": false})
	b.produce(100)
	r.drained(b.src)
	b.exact()
}

func TestStreamWithoutDirectGets(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{"allow_direct": false})
	r := run(t, b.config(), b.src, nil)
	b.produce(10)
	r.drained(b.src)
	b.proxy.cut()
	b.produce(10)
	r.drained(b.src)
	b.exact()
}
