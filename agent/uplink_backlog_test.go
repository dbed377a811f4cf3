package agent_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// backlog is an engine on flash, and a source of its events.
type backlog struct {
	*queue.Service
	close func() error
}

// Outboxes implements uplink.Source.
func (b *backlog) Outboxes() []uplink.Outbox {
	var list []uplink.Outbox
	for _, o := range b.Service.Outboxes() {
		list = append(list, o)
	}
	return list
}

func openBacklog(t *testing.T, dir string) *backlog {
	t.Helper()
	clock := queue.SystemClock(nil)
	meta, err := badgerstore.OpenMeta(badgerstore.Options{Dir: filepath.Join(dir, "queues"), Boot: clock.Boot()})
	if err != nil {
		t.Fatal(err)
	}
	items, err := badgerstore.New(badgerstore.Options{Dir: filepath.Join(dir, "items"), Boot: clock.Boot()})
	if err != nil {
		t.Fatal(err)
	}
	svc, err := queue.Open(t.Context(), queue.Config{
		Meta: meta, Storages: []queue.NamedStorage{{Name: "items", Storage: items, Affinity: 1}}, Clock: clock,
		Outbox: &queue.OutboxOptions{MaxBytes: 1 << 30},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &backlog{Service: svc, close: func() error {
		return errors.Join(svc.Shutdown(context.Background()), items.Close(), meta.Close())
	}}
}

// fill has n items completed.
func (b *backlog) fill(t *testing.T, n int) {
	t.Helper()
	info := queue.Info{Name: "q", LeaseTimeout: time.Hour, ExpireTimeout: 1000 * time.Hour, RequestedPartitions: 1}
	if err := b.Create(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	q, err := b.Queue("q")
	if err != nil {
		t.Fatal(err)
	}
	const batch = 1000
	req := &queue.ProduceRequest{RequestTimeout: time.Minute, Items: make([]queue.Item, batch)}
	done := &queue.CompleteRequest{RequestTimeout: time.Minute}
	for i := 0; i < n; i += batch {
		for j := range req.Items {
			req.Items[j] = queue.Item{Payload: fmt.Appendf(nil, "reading %d", i+j)}
		}
		if err := q.Produce(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		r, err := q.Lease(t.Context(), &queue.LeaseRequest{ClientID: "c", BatchSize: batch, RequestTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		done.IDs = done.IDs[:0]
		for k := range r.Items {
			done.IDs = append(done.IDs, r.Items[k].ID.String())
		}
		if err := q.Complete(t.Context(), done); err != nil {
			t.Fatal(err)
		}
	}
}

// heap is what the heap holds, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Test30RestartWithABacklog is a row of the uplink's failure matrix: a device that comes back with a million events
// to be delivered starts at once, and takes no more memory for them.
func Test30RestartWithABacklog(t *testing.T) {
	events := 1_000_000
	if testing.Short() {
		events = 50_000
	}
	url, _ := hubServer(t)
	dir := t.TempDir()
	b := openBacklog(t, dir)
	b.fill(t, events)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	before, begin := heap(), time.Now()
	b = openBacklog(t, dir)
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	opened := time.Since(begin)
	u, err := uplink.New(uplink.Config{
		Hub: hub.Options{URLs: []string{url}, Device: "dev"}, Stream: "QUERATOR", Prefix: "querator",
		Timing: uplink.Timing{Spread: time.Millisecond},
	}, b, nil, uplink.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if s := u.Status(t.Context()); s.Pending != uint64(events) {
		t.Fatalf("%d events wait, not %d", s.Pending, events)
	}
	grown := heap() - before
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for u.Status(t.Context()).Delivered == 0 {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("no event is delivered")
		}
	}
	first := time.Since(begin)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("%d events: open after %s, the first delivered after %s, %d bytes more in the heap", events, opened, first, grown)
	if opened > 2*time.Second {
		t.Errorf("it took %s to open", opened)
	}
	if grown > 4<<20 {
		t.Errorf("%d bytes of the heap for %d events", grown, events)
	}
}
