package uplink_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// fast are timings for tests: a network that answers in milliseconds.
func fast() uplink.Timing {
	return uplink.Timing{
		BackoffMin: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond, Stable: time.Second,
		HoldMin: 10 * time.Millisecond, HoldMax: 100 * time.Millisecond, Reply: 5 * time.Second, Lookup: 5 * time.Second,
		FenceMin: 5 * time.Millisecond, FenceMax: 50 * time.Millisecond, Spread: time.Millisecond,
		Drain: 2 * time.Second, Wake: time.Millisecond, Log: time.Hour,
	}
}

func configFor(url string) uplink.Config {
	return uplink.Config{
		Hub:    hub.Options{URLs: []string{url}, Device: "dev", Name: "test"},
		Stream: "QUERATOR", Prefix: "querator", Payload: event.PayloadFull, Linger: time.Millisecond, Timing: fast(),
	}
}

// running is an uplink at work.
type running struct {
	*uplink.Uplink
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	seen   []uplink.Report
}

// run starts an uplink, which is stopped when the test ends.
func run(t testing.TB, cfg uplink.Config, src uplink.Source, trusted func() bool) *running {
	t.Helper()
	r := &running{t: t, done: make(chan struct{})}
	u, err := uplink.New(cfg, src, trusted, uplink.Events{Report: func(rep uplink.Report) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, rep)
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.Uplink = u
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		if err := u.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	t.Cleanup(r.stop)
	return r
}

// stop ends it in order.
func (r *running) stop() {
	r.cancel()
	<-r.done
}

func (r *running) reports(kind string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, rep := range r.seen {
		if rep.Kind == kind {
			n++
		}
	}
	return n
}

func (r *running) class() string { return r.Status(context.Background()).Class }

// drained waits until every event is delivered.
func (r *running) drained(src *source) {
	r.t.Helper()
	defer func() {
		if r.t.Failed() {
			r.t.Logf("status: %+v", r.Status(context.Background()))
			for _, rep := range r.seen {
				r.t.Logf("report: %+v", rep)
			}
		}
	}()
	eventually(r.t, "all events are delivered", src.drained)
}

// bench is the usual set-up: a server, a proxy in front of it, a source with two partitions.
type bench struct {
	*stand
	proxy *proxy
	truth *truth
	src   *source
}

func newBench(t testing.TB, stream map[string]any) *bench {
	b := &bench{stand: newStand(t, nil), truth: newTruth()}
	createStream(t, b.admin(), stream)
	b.proxy = newProxy(t, b.addr())
	b.src = newSource(b.truth, partName{"alpha", 0}, partName{"beta", 3})
	return b
}

func (b *bench) config() uplink.Config { return configFor(b.proxy.url()) }

func (b *bench) produce(n int) {
	for _, box := range b.src.boxes {
		box.produce(n)
	}
}

func (b *bench) exact() verdict {
	b.t.Helper()
	return mustBeExact(b.t, b.truth, b.admin())
}
