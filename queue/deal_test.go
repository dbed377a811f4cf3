package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// waiters starts lease requests of these batch sizes, one after the other, and
// returns a function that waits for them and says how many items each got.
func (w *world) waiters(q *queue.Queue, batches ...int) func() []int {
	got := make([]int, len(batches))
	var wg sync.WaitGroup
	for i, n := range batches {
		wg.Go(func() {
			r, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: fmt.Sprint("w", i), BatchSize: n, RequestTimeout: time.Minute / 2})
			if err == nil {
				got[i] = len(r.Items)
			}
		})
		synctest.Wait()
	}
	return func() []int { wg.Wait(); return got }
}

func TestDealsInTurn(t *testing.T) {
	for _, c := range []struct {
		items, parts  int
		batches, want []int
	}{
		{23, 1, []int{20, 6, 1}, []int{16, 6, 1}},
		{22, 1, []int{5, 10, 20}, []int{5, 9, 8}},
		{100, 1, []int{5, 10, 20}, []int{5, 10, 20}},
		{2, 1, []int{1, 1, 1}, []int{1, 1, 0}},
		{10, 5, []int{10, 10, 10, 10, 10}, []int{2, 2, 2, 2, 2}},
	} {
		t.Run(fmt.Sprint(c.items, c.batches), func(t *testing.T) {
			inWorld(t, func(w *world) {
				q := w.create("q", func(i *queue.Info) { i.RequestedPartitions = c.parts })
				wait := w.waiters(q, c.batches...)
				s, err := q.Stats(w.ctx())
				if err != nil || s.LeaseWaiting != len(c.batches) {
					t.Fatalf("stats %+v, %v; want %d waiting", s, err, len(c.batches))
				}
				w.produce(q, make([]string, c.items)...)
				if got := wait(); !slices.Equal(got, c.want) {
					t.Fatalf("dealt %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestWaiterIsWoken(t *testing.T) {
	for name, ready := range map[string]func(w *world, q *queue.Queue){
		"retry": func(w *world, q *queue.Queue) {
			w.produce(q, "x")
			it := w.lease(q, 1, "x")
			time.AfterFunc(time.Second, func() { w.retry(q, queue.RetryItem{}, it...) })
		},
		"import": func(w *world, q *queue.Queue) {
			time.AfterFunc(time.Second, func() {
				_, err := q.Import(w.ctx(), &queue.ImportRequest{Items: []queue.Item{
					{Payload: []byte("x"), ExpireDeadline: w.clock.Now().Add(time.Hour)}}})
				if err != nil {
					w.t.Error(err)
				}
			})
		},
		"resume": func(w *world, q *queue.Queue) {
			w.produce(q, "x")
			if err := q.Pause(w.ctx()); err != nil {
				w.t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() {
				if err := q.Resume(w.ctx()); err != nil {
					w.t.Error(err)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				q := w.create("q")
				ready(w, q)
				start := time.Now()
				if got := w.tryLease(q, 1, time.Minute); len(got) != 1 {
					t.Fatalf("leased %d items", len(got))
				}
				if d := time.Since(start); d != time.Second {
					t.Fatalf("woken after %v", d)
				}
			})
		})
	}
}

func TestDuplicateClientID(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		wait := w.waiters(q, 1)
		_, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "w0", BatchSize: 1, RequestTimeout: time.Second})
		wantErr(t, err, queue.ErrDuplicate, "duplicate client id; a client cannot make multiple leased requests to the same queue")
		w.produce(q, "a")
		if got := wait(); got[0] != 1 {
			t.Fatalf("the first request got %d items", got[0])
		}
		w.produce(q, "b")
		if got := w.waiters(q, 1)(); got[0] != 1 {
			t.Fatal("the id cannot be used again after the answer")
		}
	})
}

func TestPartitionChoice(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.RequestedPartitions = 2 })
		for range 5 {
			w.produce(q, make([]string, 10)...)
		}
		s, err := q.Stats(w.ctx())
		if err != nil || s.Partitions[0].Ready != 30 || s.Partitions[1].Ready != 20 {
			t.Fatalf("stats %+v, %v; want 30 and 20 items", s.Partitions, err)
		}
		r, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "c", BatchSize: 15, RequestTimeout: time.Second})
		if err != nil || r.Partition != 0 || len(r.Items) != 15 {
			t.Fatalf("leased %d of %d, %v; want 15 of partition 0", len(r.Items), r.Partition, err)
		}
		r, err = q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "c", BatchSize: 15, RequestTimeout: time.Second})
		if err != nil || r.Partition != 1 || len(r.Items) != 15 {
			t.Fatalf("leased %d of %d, %v; want 15 of partition 1", len(r.Items), r.Partition, err)
		}
	})
}

func TestShutdownAnswersWaiters(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		errs := make(chan error, 1)
		go func() {
			_, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "c", BatchSize: 1, RequestTimeout: time.Minute})
			errs <- err
		}()
		synctest.Wait()
		w.stop()
		wantErr(t, <-errs, queue.ErrClosed, "queue is shutting down")
		_, err := w.svc.Queue("q")
		wantErr(t, err, queue.ErrClosed, "service is shutting down")
		w.start()
	})
}

func TestMaxLeased(t *testing.T) {
	inWorld(t, func(w *world) {
		w.limits.MaxLeased = 3
		w.restart()
		q := w.create("q")
		w.produce(q, "a", "b", "c", "d")
		items := w.lease(q, 10, "a", "b", "c")
		w.lease(q, 1)
		time.AfterFunc(time.Second, func() { w.complete(q, items[0]) })
		if got := w.tryLease(q, 1, time.Minute); len(got) != 1 {
			t.Fatal("a completed lease made no room for another")
		}
	})
}

func TestDeliveryIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.limits.DeliverBytes, w.limits.MaxLeaseBytes = 1<<20, 1<<20
		w.restart()
		q := w.create("q")
		for range 8 {
			w.produce(q, string(make([]byte, 300<<10)))
		}
		lease := func(id string) *queue.LeaseResult {
			r, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: id, BatchSize: 10, RequestTimeout: 5 * time.Second})
			if err != nil {
				return nil
			}
			return r
		}
		a, b := lease("a"), lease("b")
		if len(a.Items) != 1 || len(b.Items) != 1 {
			t.Fatalf("leased %d and %d items, want 1 and 1: half of what is left", len(a.Items), len(b.Items))
		}
		c, out := lease("c"), lease("out of turn")
		if c == nil || out == nil || len(out.Items) != 1 {
			t.Fatalf("of two more, one of them beyond the bound, not both got an item")
		}
		for i, next := range []*queue.LeaseResult{a, out} {
			if d := lease("d"); d != nil {
				t.Fatalf("%d: a lease got %d items although nothing was released", i, len(d.Items))
			}
			time.AfterFunc(time.Second, next.Release)
			start := time.Now()
			if d := lease("d"); d == nil || time.Since(start) > 2*time.Second {
				t.Fatalf("%d: after a release a lease waited for %v", i, time.Since(start))
			}
		}
	})
}

// readStorage counts the large items that are read.
type readStorage struct {
	queue.Storage
	large atomic.Int64
}

type readStore struct {
	queue.PartitionStore
	of *readStorage
}

func (s *readStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	ps, err := s.Storage.OpenPartition(key)
	return &readStore{ps, s}, err
}

func (s *readStore) Read(from uint64, maxItems int, maxBytes int64) (queue.Chunks, uint64, error) {
	chunks, next, err := s.PartitionStore.Read(from, maxItems, maxBytes)
	for it := range chunks.All() {
		if len(it.Payload) > 1<<20 {
			s.of.large.Add(1)
		}
	}
	return chunks, next, err
}

// Items that are larger than all that may be delivered go out one at a time,
// however many queues have some, and hardly any is read before its turn; small
// items of other queues go on meanwhile.
func TestLargeItemsAreLeasedOneAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stop()
		reads := &readStorage{Storage: w.storage}
		w.over = reads
		w.limits.DeliverBytes, w.limits.MaxLeaseBytes = 1<<20, 1<<20
		w.limits.ReadAhead, w.limits.ReadAheadTotal = 256<<10, 1<<20
		w.start()
		const queues, each = 5, 4
		out := make(chan *queue.LeaseResult, queues*each)
		var wg sync.WaitGroup
		for i := range queues {
			q := w.create(fmt.Sprint("large", i))
			for range each {
				w.produce(q, string(make([]byte, 3<<20)))
			}
			wg.Go(func() {
				for range each {
					r, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "c", BatchSize: 10, RequestTimeout: 10 * time.Minute})
					if err != nil {
						t.Error(err)
						return
					}
					out <- r
				}
			})
		}
		small := w.create("small")
		for n := range queues * each {
			w.pass(10 * time.Second)
			r := <-out
			if len(r.Items) != 1 || len(out) > 0 {
				t.Fatalf("%d items in one lease and %d leases more are out at the same time", len(r.Items), len(out))
			}
			w.produce(small, fmt.Sprint(n))
			w.complete(small, w.lease(small, 1, fmt.Sprint(n))...)
			r.Release()
		}
		wg.Wait()
		if n := reads.large.Load(); n > queues*each {
			t.Errorf("%d large items were read to lease %d", n, queues*each)
		}
	})
}

// oneRoom has room for one large item when it is open.
type oneRoom struct {
	t      *testing.T
	closed atomic.Bool
	taken  atomic.Int64
}

func (r *oneRoom) TakeLarge(n int64) bool {
	if r.closed.Load() {
		return false
	}
	if !r.taken.CompareAndSwap(0, n) {
		r.t.Errorf("room was taken twice")
	}
	return true
}

func (r *oneRoom) GiveLarge(n int64) {
	if !r.taken.CompareAndSwap(n, 0) {
		r.t.Errorf("%d bytes of room were given back, %d were taken", n, r.taken.Load())
	}
}

// A large item is not even read while there is no room for it elsewhere; small items
// of other queues go on, and it is leased as soon as there is.
func TestLargeItemWaitsForRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stop()
		reads, room := &readStorage{Storage: w.storage}, &oneRoom{t: t}
		w.over, w.large = reads, room
		w.limits.DeliverBytes, w.limits.MaxLeaseBytes = 1<<20, 1<<20
		w.limits.ReadAhead, w.limits.ReadAheadTotal = 256<<10, 1<<20
		w.start()
		large, small := w.create("large"), w.create("small")
		const size = 3 << 20
		w.produce(large, string(make([]byte, size)))
		room.closed.Store(true)
		done := make(chan *queue.LeaseResult, 1)
		go func() {
			r, err := large.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "c", BatchSize: 10, RequestTimeout: time.Minute})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		w.pass(10 * time.Second)
		w.produce(small, "a")
		w.complete(small, w.lease(small, 1, "a")...)
		if n := reads.large.Load(); n > 0 || len(done) > 0 {
			t.Fatalf("%d large items were read and %d leased without room", n, len(done))
		}
		room.closed.Store(false)
		w.pass(time.Second)
		select {
		case r := <-done:
			if n := room.taken.Load(); r == nil || n < size {
				t.Fatalf("the lease %v took room for %d bytes", r, n)
			}
			r.Release()
		default:
			t.Fatal("with room nothing was leased")
		}
		if n := room.taken.Load(); n != 0 {
			t.Errorf("%d bytes of room were not given back", n)
		}
	})
}

// A turn that nobody makes use of comes back, whatever becomes of the lease.
func TestTurnComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.limits.DeliverBytes, w.limits.ReadAhead, w.limits.ReadAheadTotal = 1<<20, 256<<10, 1<<20
		w.restart()
		large := string(make([]byte, 3<<20))
		a, b := w.create("a"), w.create("b")
		w.produce(a, large)
		w.produce(b, large)
		lease := func(q *queue.Queue, within time.Duration) *queue.LeaseResult {
			ctx, cancel := context.WithTimeout(w.ctx(), within) // As if the client went away.
			defer cancel()
			r, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: 1, RequestTimeout: time.Minute / 2})
			if err != nil {
				return nil
			}
			return r
		}
		held := lease(b, time.Second)
		if held == nil || lease(a, time.Second) != nil {
			t.Fatal("the first lease got nothing, or the second something")
		}
		held.Release()
		for range 3 {
			r := lease(a, time.Second)
			if r == nil {
				t.Fatal("there was no turn")
			}
			r.Release()
			w.retry(a, queue.RetryItem{}, r.Items...)
		}
		w.produce(b, large)
		if err := w.svc.Delete(w.ctx(), "a"); err != nil {
			t.Fatal(err)
		}
		if lease(b, time.Second) == nil {
			t.Fatal("there was no turn after a queue was deleted")
		}
	})
}

// Leases of all queues share memory: when one has it all, every other may still
// lease a few, and gets more as soon as some are completed.
func TestLeasesShareMemory(t *testing.T) {
	inWorld(t, func(w *world) {
		w.limits.StateBytes = 50 * 200
		w.restart()
		a, b := w.create("a"), w.create("b")
		for _, q := range []*queue.Queue{a, b} {
			for i := range 100 {
				w.produce(q, fmt.Sprint(i))
			}
		}
		many := w.tryLease(a, 100, time.Second)
		if len(many) != 50 {
			t.Fatalf("%d items were leased, there is room for 50", len(many))
		}
		few := len(w.tryLease(b, 100, time.Second))
		if few < 1 || few > 20 {
			t.Fatalf("%d items were leased although there is no room", few)
		}
		if n := len(w.tryLease(b, 100, time.Second)); n != 0 {
			t.Fatalf("%d more items were leased although there is no room", n)
		}
		time.AfterFunc(time.Second, func() { w.complete(a, many...) })
		begin := time.Now()
		if n := len(w.tryLease(b, 100, time.Minute)); n == 0 || time.Since(begin) > 1100*time.Millisecond {
			t.Fatalf("%d items were leased after %s; there was room after a second", n, time.Since(begin))
		}
		_, err := w.use(a, 1)
		if err != nil {
			t.Fatal(err)
		}
	})
}

// Scheduled items share it too, and more are refused.
func TestScheduledItemsShareMemory(t *testing.T) {
	inWorld(t, func(w *world) {
		w.limits.StateBytes = 50 * 120
		w.restart()
		a, b := w.create("a"), w.create("b")
		schedule := func(q *queue.Queue, n int) error {
			items := make([]queue.Item, n)
			for i := range items {
				items[i] = queue.Item{Payload: []byte("x"), EnqueueAt: w.clock.Now().Add(time.Hour)}
			}
			return q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items})
		}
		if err := schedule(a, 50); err != nil {
			t.Fatal(err)
		}
		wantErr(t, schedule(a, 1), queue.ErrFull, "too many scheduled items; try again when some are due")
		if err := schedule(b, 16); err != nil {
			t.Errorf("a few of another queue were refused: %v", err)
		}
		wantErr(t, schedule(b, 1), queue.ErrFull, "too many scheduled items; try again when some are due")
	})
}
