package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

func TestProduceLeaseComplete(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b", "c")
		w.counts(q, 3, 0, 0)
		items := w.lease(q, 2, "a", "b")
		for _, it := range items {
			if it.Attempts != 1 || !it.IsLeased || !it.LeaseDeadline.Equal(w.clock.Now().Add(time.Minute)) {
				t.Fatalf("leased item %+v", it)
			}
		}
		w.counts(q, 1, 2, 0)
		w.complete(q, items...)
		l := w.counts(q, 1, 0, 0)
		if l.Produced != 3 || l.Completed != 2 || l.Leases != 2 {
			t.Fatalf("ledger %+v", l)
		}
		w.restart()
		q = w.queue("q")
		w.counts(q, 1, 0, 0)
		w.complete(q, w.lease(q, 10, "c")...)
		w.lease(q, 1)
	})
}

func TestCompleteIsAllOrNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b", "c")
		items := w.lease(q, 2, "a", "b")
		list, err := q.List(w.ctx(), &queue.ListRequest{})
		if err != nil || len(list) != 3 {
			t.Fatalf("list: %d items, %v", len(list), err)
		}
		try := func(ids ...string) error {
			return q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Second, IDs: ids})
		}
		a, b, c := items[0].ID.String(), items[1].ID.String(), list[2].ID.String()
		other := queue.NewID(items[0].Seq(), queue.Tag{1}).String()
		wantErr(t, try(a, c), queue.ErrNotLeased, "item(s) cannot be completed; '"+c+"' is not marked as leased")
		wantErr(t, try(a, other), queue.ErrNotFound, "invalid storage id; '"+other+"' does not exist")
		wantErr(t, try(a, a), queue.ErrNotFound, "invalid storage id; '"+a+"' does not exist")
		wantErr(t, try(a, "invalid-id"), queue.ErrInvalid, "invalid storage id; 'invalid-id': Valid encoded KSUIDs are 27 characters")
		w.counts(q, 1, 2, 0)
		if err := try(b, a); err != nil {
			t.Fatal(err)
		}
		wantErr(t, try(a), queue.ErrNotFound, "invalid storage id; '"+a+"' does not exist")
		w.counts(q, 1, 0, 0)
	})
}

func TestRetryGoesToTheTailUnderANewID(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b")
		first := w.lease(q, 1, "a")
		w.retry(q, queue.RetryItem{}, first...)
		again := w.lease(q, 2, "b", "a")
		if again[1].Attempts != 2 || again[1].ID == first[0].ID {
			t.Fatalf("retried item %+v, was %+v", again[1], first[0])
		}
		err := q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Second, IDs: ids(first)})
		wantErr(t, err, queue.ErrNotFound, "invalid storage id; '"+first[0].ID.String()+"' does not exist")
	})
}

func TestRetryLaterKeepsTheID(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a")
		first := w.lease(q, 1, "a")
		w.retry(q, queue.RetryItem{RetryAt: w.clock.Now().Add(10 * time.Second)}, first...)
		w.counts(q, 0, 0, 1)
		list, err := q.ListScheduled(w.ctx(), &queue.ListRequest{})
		if err != nil || len(list) != 1 || list[0].ID != first[0].ID || list[0].Attempts != 1 {
			t.Fatalf("scheduled: %+v, %v", list, err)
		}
		w.clock.Step(20 * 365 * 24 * time.Hour) // A delay is not shortened by the clock.
		w.lease(q, 1)
		start := time.Now()
		items := w.tryLease(q, 1, time.Minute)
		if len(items) != 1 || items[0].Attempts != 2 || items[0].ID == first[0].ID {
			t.Fatalf("leased %+v", items)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Fatalf("waited %v", d)
		}
	})
}

func TestLapsedLeaseGoesToTheTail(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b")
		first := w.lease(q, 1, "a")
		w.clock.Step(-5 * 365 * 24 * time.Hour)
		w.lease(q, 1, "b")
		start := time.Now()
		again := w.tryLease(q, 1, 2*time.Minute) // A waiter is woken by the lapse.
		if len(again) != 1 || string(again[0].Payload) != "a" || again[0].Attempts != 2 || again[0].ID == first[0].ID {
			t.Fatalf("leased again: %+v", again)
		}
		if d := time.Since(start); d > time.Minute {
			t.Fatalf("offered again after %v", d)
		}
		if l := w.counts(q, 1, 1, 0); l.Lapsed != 2 {
			t.Fatalf("ledger %+v", l)
		}
	})
}

func TestExtend(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a")
		first := w.lease(q, 1, "a")
		w.pass(50 * time.Second)
		deadline, err := q.Extend(w.ctx(), &queue.ExtendRequest{IDs: ids(first), LeaseTimeout: 5 * time.Minute})
		if err != nil || !deadline.Equal(w.clock.Now().Add(5*time.Minute)) {
			t.Fatalf("extended to %v, %v", deadline, err)
		}
		w.pass(4 * time.Minute)
		w.lease(q, 1)
		w.complete(q, first...)
		_, err = q.Extend(w.ctx(), &queue.ExtendRequest{IDs: ids(first)})
		wantErr(t, err, queue.ErrNotFound, "invalid storage id; '"+first[0].ID.String()+"' does not exist")
	})
}

func TestLeasesSurviveARestartAndEndWithTheBoot(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b")
		items := w.lease(q, 2, "a", "b")
		w.restart()
		q = w.queue("q")
		w.complete(q, items[0])
		w.stop()
		w.clock.Reboot("another boot")
		w.storage.SetBoot("another boot")
		w.start()
		q = w.queue("q")
		again := w.lease(q, 2, "b")
		if again[0].Attempts != 2 || again[0].ID == items[1].ID {
			t.Fatalf("after the reboot: %+v", again[0])
		}
	})
}

func TestDeadQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.DeadQueue, i.MaxAttempts = "dead", 2 })
		w.produceItems(q, queue.Item{Payload: []byte("a"), Kind: "k", Reference: "r", Encoding: "e"})
		w.lease(q, 1, "a")
		last := w.tryLease(q, 1, 2*time.Minute)
		if len(last) != 1 || last[0].Attempts != 2 {
			t.Fatalf("second lease: %+v", last)
		}
		got := w.tryLease(dead, 1, 2*time.Minute)
		if len(got) != 1 || string(got[0].Payload) != "a" || got[0].Kind != "k" || got[0].Reference != "r" || got[0].Encoding != "e" {
			t.Fatalf("dead queue: %+v", got)
		}
		if got[0].SourceID != last[0].ID.String() || got[0].Attempts != 1 {
			t.Fatalf("dead item: %+v", got[0])
		}
		if l := w.counts(q, 0, 0, 0); l.MovedOut != 1 {
			t.Fatalf("ledger %+v", l)
		}
		if l := w.counts(dead, 0, 1, 0); l.MovedIn != 1 {
			t.Fatalf("ledger of the dead queue %+v", l)
		}
	})
}

func TestRetryAsDead(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.DeadQueue = "dead" })
		none := w.create("none")
		w.produce(q, "a")
		w.produce(none, "x")
		w.retry(q, queue.RetryItem{Dead: true}, w.lease(q, 1, "a")...)
		w.retry(none, queue.RetryItem{Dead: true}, w.lease(none, 1, "x")...)
		w.lease(dead, 1, "a")
		w.counts(q, 0, 0, 0)
		if l := w.counts(none, 0, 0, 0); l.Dead != 1 {
			t.Fatalf("ledger %+v", l)
		}
	})
}

func TestExpiry(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.create("dead", func(i *queue.Info) { i.ExpireTimeout = 30 * time.Minute; i.LeaseTimeout = time.Second })
		q := w.create("q", func(i *queue.Info) { i.DeadQueue = "dead" })
		none := w.create("none")
		w.produce(q, "a", "b")
		w.produce(none, "x", "y")
		held := w.lease(q, 1, "a")
		w.clock.Step(50 * 365 * 24 * time.Hour) // Items do not age by it.
		w.counts(none, 2, 0, 0)
		w.pass(30 * time.Minute)
		w.counts(none, 2, 0, 0)
		w.produce(none, "z")
		w.pass(30*time.Minute + time.Second)
		w.counts(none, 1, 0, 0)
		w.lease(none, 5, "z")
		w.counts(q, 0, 0, 0)
		w.counts(dead, 2, 0, 0)
		err := q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Second, IDs: ids(held)})
		if err == nil {
			t.Fatal("an item that expired in its lease was completed")
		}
		w.pass(31 * time.Minute)
		if l := w.counts(dead, 0, 0, 0); l.Expired != 2 {
			t.Fatalf("ledger of the dead queue %+v", l)
		}
	})
}

func TestScheduled(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		at := w.clock.Now()
		w.produceItems(q,
			queue.Item{Payload: []byte("late"), EnqueueAt: at.Add(time.Hour / 2)},
			queue.Item{Payload: []byte("soon"), EnqueueAt: at.Add(5 * time.Second)},
			queue.Item{Payload: []byte("now"), EnqueueAt: at.Add(99 * time.Millisecond)},
			queue.Item{Payload: []byte("soon too"), EnqueueAt: at.Add(5 * time.Second)})
		w.counts(q, 1, 0, 3)
		w.lease(q, 5, "now")
		w.restart()
		q = w.queue("q")
		if got := payloads(w.tryLease(q, 5, time.Minute)); fmt.Sprint(got) != "[soon soon too]" {
			t.Fatalf("became due: %q", got)
		}
		w.clock.SetTrusted(false)
		w.pass(time.Hour / 2)
		w.counts(q, 3, 0, 1) // The others are back from their leases; "late" waits for a clock.
		s, err := q.Stats(w.ctx())
		if err != nil || s.Partitions[0].HeldForClock != 1 {
			t.Fatalf("held for the clock: %+v, %v", s, err)
		}
		w.clock.SetTrusted(true)
		w.pass(11 * time.Second)
		w.counts(q, 4, 0, 0)
	})
}

func TestDeadItemsWithoutTheirQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.DeadQueue, i.MaxAttempts = "dead", 1 })
		if err := w.svc.Delete(w.ctx(), "dead"); err != nil {
			t.Fatal(err)
		}
		w.produce(q, "a", "b")
		w.lease(q, 1, "a")
		w.pass(2 * time.Minute)
		list, err := q.List(w.ctx(), &queue.ListRequest{})
		if err != nil || fmt.Sprint(payloads(list)) != "[a b]" || list[0].IsLeased {
			t.Fatalf("list: %+v, %v", list, err)
		}
		dead := w.create("dead")
		if got := payloads(w.tryLease(dead, 1, time.Minute)); fmt.Sprint(got) != "[a]" {
			t.Fatalf("the dead queue is back and has %q", got)
		}
		if err := w.svc.Delete(w.ctx(), "dead"); err != nil {
			t.Fatal(err)
		}
		w.lease(q, 1, "b")
		w.pass(2 * time.Minute)
		if err := q.Clear(w.ctx(), &queue.ClearRequest{Ready: true, Destructive: true}); err != nil {
			t.Fatal(err)
		}
		if l := w.counts(q, 0, 0, 0); l.Cleared != 1 || l.MovedOut != 1 {
			t.Fatalf("ledger %+v", l)
		}
	})
}
