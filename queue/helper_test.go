package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// world is a service over stores in memory that survive its end, with a clock
// that the test owns. It lives in a synctest bubble.
type world struct {
	t       *testing.T
	meta    *memstore.Meta
	storage *memstore.Storage
	over    queue.Storage // takes the place of storage if it is not nil
	clock   *queuetest.Clock
	asked   queue.Clock // takes the place of clock if it is not nil
	limits  queue.Limits
	large   queue.LargeRoom
	svc     *queue.Service
}

// inWorld runs fn in a bubble with a running service.
func inWorld(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, meta: memstore.NewMeta(), clock: queuetest.NewClock(time.Now())}
		w.storage = memstore.New(memstore.Options{MaxBytes: 256 << 20, Boot: w.clock.Boot()})
		w.start()
		defer w.stop()
		fn(w)
		// What fn started in the background ends before the test's context does.
		synctest.Wait()
	})
}

func (w *world) start() {
	w.t.Helper()
	var storage queue.Storage = w.storage
	if w.over != nil {
		storage = w.over
	}
	var clock queue.Clock = w.clock
	if w.asked != nil {
		clock = w.asked
	}
	svc, err := queue.Open(w.ctx(), queue.Config{
		Meta: w.meta, Clock: clock, Limits: w.limits, Large: w.large,
		Storages: []queue.NamedStorage{{Name: "mem", Storage: storage, Affinity: 1}},
		Events: queue.Events{PartitionFailed: func(q string, p int, err error) {
			w.t.Errorf("partition %s/%d failed: %v", q, p, err)
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.svc = svc
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.svc.Shutdown(w.ctx()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// pass lets time go by, in the bubble.
func (w *world) pass(d time.Duration) { time.Sleep(d) }

func (w *world) ctx() context.Context { return w.t.Context() }

// create makes a queue with a lease timeout of one minute and an expire timeout
// of one hour, changed by opts.
func (w *world) create(name string, opts ...func(*queue.Info)) *queue.Queue {
	w.t.Helper()
	info := queue.Info{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, RequestedPartitions: 1}
	for _, o := range opts {
		o(&info)
	}
	if err := w.svc.Create(w.ctx(), info); err != nil {
		w.t.Fatal(err)
	}
	return w.queue(name)
}

func (w *world) queue(name string) *queue.Queue {
	w.t.Helper()
	q, err := w.svc.Queue(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// produce adds items with these payloads.
func (w *world) produce(q *queue.Queue, payloads ...string) {
	w.t.Helper()
	items := make([]queue.Item, len(payloads))
	for i, p := range payloads {
		items[i].Payload = []byte(p)
	}
	w.produceItems(q, items...)
}

func (w *world) produceItems(q *queue.Queue, items ...queue.Item) {
	w.t.Helper()
	err := q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Second, Items: items})
	if err != nil {
		w.t.Fatal(err)
	}
}

// tryLease leases up to n items, waiting no more than wait; none is no error.
func (w *world) tryLease(q *queue.Queue, n int, wait time.Duration) []queue.Item {
	w.t.Helper()
	r, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: fmt.Sprint("c", time.Now().UnixNano(), n), BatchSize: n, RequestTimeout: wait})
	if errors.Is(err, queue.ErrEmpty) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Items
}

// lease leases up to n items that must be there, with these payloads.
func (w *world) lease(q *queue.Queue, n int, want ...string) []queue.Item {
	w.t.Helper()
	items := w.tryLease(q, n, 20*time.Millisecond)
	if got := payloads(items); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Fatalf("leased %q, want %q", got, want)
	}
	return items
}

func (w *world) complete(q *queue.Queue, items ...queue.Item) {
	w.t.Helper()
	err := q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Second, IDs: ids(items)})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) retry(q *queue.Queue, how queue.RetryItem, items ...queue.Item) {
	w.t.Helper()
	r := &queue.RetryRequest{}
	for i := range items {
		how.ID = items[i].ID.String()
		r.Items = append(r.Items, how)
	}
	if err := q.Retry(w.ctx(), r); err != nil {
		w.t.Fatal(err)
	}
}

// counts asserts the sums over partitions of ready, leased and scheduled items,
// and that the ledger adds up.
func (w *world) counts(q *queue.Queue, ready, leased, scheduled int64) queue.Ledger {
	w.t.Helper()
	synctest.Wait() // A move ends after the item can be leased.
	s, err := q.Stats(w.ctx())
	if err != nil {
		w.t.Fatal(err)
	}
	var r, l, d, held int64
	var ledger queue.Ledger
	for i := range s.Partitions {
		p := &s.Partitions[i]
		if p.Failure != nil {
			w.t.Fatal(p.Failure)
		}
		r, l, d = r+p.Ready, l+p.Leased, d+p.Scheduled
		held += p.Ready + p.Leased + p.Scheduled + p.Moving
		ledger.Add(&p.Ledger)
	}
	if r != ready || l != leased || d != scheduled {
		w.t.Fatalf("queue %s holds %d ready, %d leased, %d scheduled items; want %d, %d, %d",
			q.Info().Name, r, l, d, ready, leased, scheduled)
	}
	for _, a := range q.Audit(w.ctx()) {
		if a.Failure != nil || len(a.Differences) > 0 {
			w.t.Fatalf("audit of %s: %+v", a.Queue, a)
		}
	}
	if int64(ledger.In()-ledger.Out()) != held {
		w.t.Fatalf("queue %s: ledger %+v does not add up to %d held", q.Info().Name, ledger, held)
	}
	return ledger
}

func payloads(items []queue.Item) []string {
	out := []string{}
	for i := range items {
		out = append(out, string(items[i].Payload))
	}
	return out
}

func ids(items []queue.Item) []string {
	out := []string{}
	for i := range items {
		out = append(out, items[i].ID.String())
	}
	return out
}

// wantErr asserts the kind and the exact text of an error.
func wantErr(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || err.Error() != text {
		t.Fatalf("error %v, want %q of kind %v", err, text, kind)
	}
}
