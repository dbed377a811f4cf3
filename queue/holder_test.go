package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// leaseFor leases n items, which must be there, for a holder.
func (w *world) leaseFor(q *queue.Queue, holder uint64, n int) []queue.Item {
	w.t.Helper()
	r, err := q.Lease(w.ctx(), &queue.LeaseRequest{
		ClientID: fmt.Sprint("holder", holder), BatchSize: n, RequestTimeout: 20 * time.Millisecond, Holder: holder,
	})
	if err != nil || len(r.Items) != n {
		w.t.Fatalf("leased %+v, %v; want %d items", r, err, n)
	}
	return r.Items
}

// ended ends leases and waits until that is done.
func (w *world) ended(holders ...uint64) {
	w.svc.ReleaseHolders(holders...)
	synctest.Wait()
}

func TestLeasesEndWithTheirHolder(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b", "c", "d", "e")
		w.leaseFor(q, 1, 2)
		others := w.leaseFor(q, 2, 1)
		nobodys := w.lease(q, 1, "d")
		before := time.Now()
		w.ended(1, 3, 0)
		if got := w.counts(q, 3, 2, 0); got.Lapsed != 2 {
			t.Errorf("ledger: %+v", got)
		}
		// Behind what was there, in their order, with the attempt counted.
		again := w.lease(q, 3, "e", "a", "b")
		if again[1].Attempts != 2 || again[2].Attempts != 2 {
			t.Errorf("offered again: %+v", again)
		}
		if passed := time.Since(before); passed > 20*time.Millisecond {
			t.Errorf("it took %s", passed)
		}
		w.complete(q, others...)
		w.complete(q, nobodys...)
		w.complete(q, again...)
		w.counts(q, 0, 0, 0)
	})
}

// Who waits gets the items of a holder that ends.
func TestEndOfAHolderWakesThoseWhoWait(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a")
		w.leaseFor(q, 1, 1)
		got := make(chan []queue.Item)
		go func() { got <- w.tryLease(q, 1, 10*time.Second) }()
		synctest.Wait()
		w.ended(1)
		if items := <-got; len(items) != 1 || items[0].Attempts != 2 {
			t.Errorf("got %+v", items)
		}
	})
}

// A request of the holder that waits gets nothing any more, although it waits for longer than others.
func TestEndOfAHolderEndsItsRequests(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a")
		w.leaseFor(q, 1, 1)
		lost := make(chan error)
		go func() {
			_, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "own", BatchSize: 1, RequestTimeout: time.Minute, Holder: 1})
			lost <- err
		}()
		synctest.Wait()
		got := make(chan []queue.Item)
		go func() { got <- w.tryLease(q, 1, 10*time.Second) }()
		synctest.Wait()
		w.svc.ReleaseHolders(1)
		wantErr(t, <-lost, queue.ErrEmpty, "request timeout; no items are in the queue, try again")
		if items := <-got; len(items) != 1 || items[0].Attempts != 2 {
			t.Errorf("got %+v", items)
		}
	})
}

func TestIDsOfReleasedLeasesNameNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b")
		items := w.leaseFor(q, 1, 2)
		w.ended(1)
		id := items[0].ID.String()
		text := "invalid storage id; '" + id + "' does not exist"
		wantErr(t, q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Second, IDs: ids(items)}), queue.ErrNotFound, text)
		_, err := q.Extend(w.ctx(), &queue.ExtendRequest{IDs: ids(items)})
		wantErr(t, err, queue.ErrNotFound, text)
		wantErr(t, q.Retry(w.ctx(), &queue.RetryRequest{Items: []queue.RetryItem{{ID: id}}}), queue.ErrNotFound, text)
		w.counts(q, 2, 0, 0)
	})
}

// The last attempt of an item whose holder crashes is its last.
func TestEndOfAHolderUsesUpAttempts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.MaxAttempts, i.DeadQueue = 2, "dead" })
		w.produce(q, "a")
		w.leaseFor(q, 1, 1)
		w.ended(1)
		w.leaseFor(q, 2, 1)
		w.ended(2)
		w.pass(time.Second) // The move goes through two partitions.
		w.counts(q, 0, 0, 0)
		w.lease(w.queue("dead"), 1, "a")
	})
}

// Whoever extends a lease for itself holds it.
func TestExtendChangesTheHolder(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b")
		items := append(w.leaseFor(q, 1, 1), w.leaseFor(q, 1, 1)...)
		extend := func(holder uint64, item queue.Item) {
			t.Helper()
			if _, err := q.Extend(w.ctx(), &queue.ExtendRequest{IDs: ids([]queue.Item{item}), Holder: holder}); err != nil {
				t.Fatal(err)
			}
		}
		extend(2, items[0])
		extend(0, items[1])
		w.ended(1)
		w.counts(q, 1, 1, 0)
		w.ended(2)
		w.counts(q, 2, 0, 0)
	})
}

// After a restart nobody knows the holders: such leases end at their deadline, or with whoever extends them.
func TestHoldersAreForgottenByARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b")
		items := append(w.leaseFor(q, 1, 1), w.leaseFor(q, 1, 1)...)
		w.restart()
		q = w.queue("q")
		if _, err := q.Extend(w.ctx(), &queue.ExtendRequest{IDs: ids(items[:1]), Holder: 1}); err != nil {
			t.Fatal(err)
		}
		w.ended(1)
		w.counts(q, 1, 1, 0)
		w.pass(time.Minute + time.Second)
		w.counts(q, 2, 0, 0)
	})
}

// Ends of holders in the middle of everything: no item is lost, and none is with two holders at once.
func TestHoldersEndWhileOthersLease(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.RequestedPartitions = 3 })
		const items, workers = 60, 6
		for i := range items {
			w.produce(q, fmt.Sprint(i))
		}
		done := make(chan int)
		for worker := range workers {
			go func() {
				completed := 0
				for round := uint64(1); ; round++ {
					holder := uint64(worker)<<32 | round
					r, err := q.Lease(w.ctx(), &queue.LeaseRequest{
						ClientID: fmt.Sprint(worker), BatchSize: 3, RequestTimeout: time.Second, Holder: holder,
					})
					if errors.Is(err, queue.ErrEmpty) {
						done <- completed
						return
					}
					if err != nil {
						t.Error(err)
						done <- completed
						return
					}
					if (holder>>32+round)%3 == 0 { // It crashes.
						w.svc.ReleaseHolders(holder)
						continue
					}
					err = q.Complete(context.WithoutCancel(w.ctx()), &queue.CompleteRequest{
						Partition: r.Partition, RequestTimeout: time.Second, IDs: ids(r.Items),
					})
					if err != nil {
						t.Error(err)
					}
					completed += len(r.Items)
				}
			}()
		}
		sum := 0
		for range workers {
			sum += <-done
		}
		if sum != items {
			t.Errorf("%d items were completed, want %d", sum, items)
		}
		w.counts(q, 0, 0, 0)
	})
}
