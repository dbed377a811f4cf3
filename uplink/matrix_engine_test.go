package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/uplink"
)

// engine is a source with the engine itself behind it, and one queue, q.
type engine struct {
	*queue.Service
	t     testing.TB
	queue *queue.Queue
	n     int
}

func newEngine(t testing.TB, o queue.OutboxOptions) *engine {
	t.Helper()
	svc, err := queue.Open(t.Context(), queue.Config{
		Meta: memstore.NewMeta(), Outbox: &o,
		Storages: []queue.NamedStorage{{Name: "main", Storage: memstore.New(memstore.Options{}), Affinity: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Shutdown(context.Background()) })
	info := queue.Info{Name: "q", LeaseTimeout: time.Hour, ExpireTimeout: 1000 * time.Hour, RequestedPartitions: 1}
	if err := svc.Create(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	q, err := svc.Queue("q")
	if err != nil {
		t.Fatal(err)
	}
	return &engine{Service: svc, t: t, queue: q}
}

// Outboxes implements uplink.Source.
func (e *engine) Outboxes() []uplink.Outbox {
	var list []uplink.Outbox
	for _, o := range e.Service.Outboxes() {
		list = append(list, o)
	}
	return list
}

// lease produces n items and leases them.
func (e *engine) lease(n int) (ids []string) {
	e.t.Helper()
	req := &queue.ProduceRequest{RequestTimeout: time.Minute}
	for range n {
		e.n++
		payload := fmt.Appendf(make([]byte, 0, 4000), "item %d ", e.n)
		for len(payload) < 4000 {
			payload = append(payload, 'x')
		}
		req.Items = append(req.Items, queue.Item{Payload: payload})
	}
	if err := e.queue.Produce(e.t.Context(), req); err != nil {
		e.t.Fatal(err)
	}
	r, err := e.queue.Lease(e.t.Context(), &queue.LeaseRequest{ClientID: "c", BatchSize: n, RequestTimeout: time.Minute})
	if err != nil {
		e.t.Fatal(err)
	}
	for i := range r.Items {
		ids = append(ids, r.Items[i].ID.String())
	}
	return ids
}

func (e *engine) complete(ids []string) error {
	return e.queue.Complete(e.t.Context(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids})
}

// Test28OutboxFullBlocks has completes refused while the link is down: nothing of them is done, the items stay leased
// by who has them, and once the link is back they are completed as if nothing had been.
func Test28OutboxFullBlocks(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.proxy.set(func() { b.proxy.refuse = true })
	e := newEngine(t, queue.OutboxOptions{MaxBytes: 1 << 20, Block: true})
	r := run(t, b.config(), e, nil)
	var ids []string
	var err error
	for err == nil && e.n < 2000 {
		ids = e.lease(10)
		err = e.complete(ids)
	}
	if !errors.Is(err, queue.ErrFull) {
		t.Fatalf("%d items of 4 kB were completed: %v", e.n, err)
	}
	stats, err := e.queue.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Status(t.Context()); s.Blocked != 1 || s.Pending != uint64(e.n-10) || stats.Partitions[0].Leased != 10 {
		t.Errorf("%d items, %d leased: %+v", e.n, stats.Partitions[0].Leased, s)
	}
	b.proxy.set(func() { b.proxy.refuse = false })
	eventually(t, "they can be completed", func() bool {
		err := e.complete(ids)
		if err != nil && !errors.Is(err, queue.ErrFull) {
			t.Fatal(err)
		}
		return err == nil
	})
	eventually(t, "all events are delivered", func() bool { return r.Status(t.Context()).Pending == 0 })
	all := readStream(t, b.admin())
	if len(all) != e.n {
		t.Fatalf("%d events of %d items", len(all), e.n)
	}
	for i, s := range all {
		var n int
		if _, err := fmt.Sscanf(s.payload, "item %d ", &n); err != nil || n != i+1 || s.seq != uint64(i+1) {
			t.Fatalf("event %d is of item %d", s.seq, n)
		}
	}
}
