package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// begun is a request of a test, with how often it was answered.
type begun struct {
	queue.Call
	answers atomic.Int64
}

func newBegun() *begun {
	b := &begun{}
	b.Answered = func() { b.answers.Add(1) }
	return b
}

// onStuck runs fn in a world on a stuckStorage, on which nothing waits yet.
func onStuck(t *testing.T, fn func(w *world, s *stuckStorage)) {
	inWorld(t, func(w *world) {
		through := make(chan struct{})
		close(through)
		s := &stuckStorage{Storage: w.storage, open: through, commit: through}
		w.over = s
		w.restart()
		fn(w, s)
	})
}

func oneItem(payload string) *queue.ProduceRequest {
	return &queue.ProduceRequest{RequestTimeout: time.Second, Items: []queue.Item{{Payload: []byte(payload)}}}
}

// idle asserts that nothing is under way on a queue.
func (w *world) idle(q *queue.Queue) {
	w.t.Helper()
	s, err := q.Stats(w.ctx())
	if err != nil || s.InFlight != 0 || s.LeaseWaiting != 0 {
		w.t.Errorf("%d requests are under way, and %d leases wait; %v", s.InFlight, s.LeaseWaiting, err)
	}
}

// What is begun together is in one commit, made by who hands it over; each is answered once.
func TestBatchIsOneCommit(t *testing.T) {
	onStuck(t, func(w *world, s *stuckStorage) {
		q := w.create("q")
		synctest.Wait() // It is open.
		var batch queue.Batch
		all := make([]*begun, 30)
		before := s.commits.Load()
		for i := range all {
			all[i] = newBegun()
			if err := q.BeginProduce(&batch, &all[i].Call, oneItem(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		batch.Serve()
		if n := s.commits.Load() - before; n != 1 {
			t.Errorf("it took %d commits", n)
		}
		for i, b := range all {
			if b.answers.Load() != 1 || b.Err() != nil {
				t.Errorf("%d was answered %d times, %v", i, b.answers.Load(), b.Err())
			}
			b.Abort(context.Canceled) // Too late to mean anything.
			if b.answers.Load() != 1 || b.Err() != nil {
				t.Errorf("%d: after the end %d answers, %v", i, b.answers.Load(), b.Err())
			}
		}
		w.idle(q)
		if got := len(w.tryLease(q, 100, 20*time.Millisecond)); got != len(all) {
			t.Errorf("%d items are there", got)
		}
	})
}

// A request that nobody has looked at is taken back, with all that it held.
func TestAbortBeforeItIsServed(t *testing.T) {
	onStuck(t, func(w *world, _ *stuckStorage) {
		q := w.create("q")
		synctest.Wait() // It is open.
		var batch queue.Batch
		b, released := newBegun(), 0
		req := oneItem("x")
		req.Released = func() { released++ }
		if err := q.BeginProduce(&batch, &b.Call, req); err != nil {
			t.Fatal(err)
		}
		b.Abort(context.DeadlineExceeded)
		batch.Serve()
		if b.answers.Load() != 1 || !errors.Is(b.Err(), queue.ErrUnavailable) || released != 1 {
			t.Errorf("answered %d times, %v, released %d times", b.answers.Load(), b.Err(), released)
		}
		w.idle(q)
		if items := w.tryLease(q, 1, 20*time.Millisecond); len(items) != 0 {
			t.Error("the item is there")
		}
	})
}

// One that is being served goes on, and is answered once all the same.
func TestAbortWhileItIsServed(t *testing.T) {
	onStuck(t, func(w *world, s *stuckStorage) {
		q := w.create("q")
		synctest.Wait() // It is open.
		s.commit = make(chan struct{})
		var batch queue.Batch
		b := newBegun()
		if err := q.BeginProduce(&batch, &b.Call, oneItem("x")); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { batch.Serve(); close(done) }()
		synctest.Wait()
		b.Abort(context.DeadlineExceeded)
		if b.answers.Load() != 1 || !errors.Is(b.Err(), queue.ErrUnavailable) {
			t.Errorf("answered %d times, %v", b.answers.Load(), b.Err())
		}
		close(s.commit)
		<-done
		if b.answers.Load() != 1 {
			t.Errorf("answered %d times", b.answers.Load())
		}
		w.idle(q)
		w.lease(q, 1, "x") // Its outcome was not known; it was done.
	})
}

// A lease that is begun waits like any, and what nobody takes is ready again.
func TestBegunLeases(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		synctest.Wait() // It is open.
		begin := func(client string) *begun {
			t.Helper()
			var batch queue.Batch
			b := newBegun()
			req := &queue.LeaseRequest{ClientID: client, BatchSize: 1, RequestTimeout: time.Minute}
			if err := q.BeginLease(&batch, &b.Call, req); err != nil {
				t.Fatal(err)
			}
			batch.Serve()
			return b
		}
		first, second := begin("a"), begin("b")
		var batch queue.Batch
		err := q.BeginLease(&batch, &newBegun().Call, &queue.LeaseRequest{ClientID: "a", BatchSize: 1, RequestTimeout: time.Minute})
		if !errors.Is(err, queue.ErrDuplicate) {
			t.Errorf("a second lease of a client: %v", err)
		}
		first.Abort(context.Canceled)
		if _, err := first.Leased(); first.answers.Load() != 1 || !errors.Is(err, queue.ErrEmpty) {
			t.Errorf("the first was answered %d times, %v", first.answers.Load(), err)
		}
		first.EndLease(false)
		w.produce(q, "x")
		synctest.Wait()
		res, err := second.Leased()
		if err != nil || second.answers.Load() != 1 || string(res.Items[0].Payload) != "x" {
			t.Fatalf("the second was answered %d times, %v", second.answers.Load(), err)
		}
		second.EndLease(false) // Its client has gone.
		synctest.Wait()
		third := begin("b")
		if res, err = third.Leased(); err != nil || string(res.Items[0].Payload) != "x" {
			t.Fatalf("the item is not ready again: %v", err)
		}
		third.EndLease(true)
		w.idle(q)
		if items := w.tryLease(q, 1, 20*time.Millisecond); len(items) != 0 {
			t.Error("an item that was delivered is ready")
		}
	})
}

// What is under way when the queue goes is answered; afterwards nothing is begun.
func TestBegunWhenTheQueueGoes(t *testing.T) {
	onStuck(t, func(w *world, _ *stuckStorage) {
		q := w.create("q")
		synctest.Wait() // It is open.
		var batch queue.Batch
		waits, adds := newBegun(), newBegun()
		if err := q.BeginLease(&batch, &waits.Call, &queue.LeaseRequest{ClientID: "a", BatchSize: 1, RequestTimeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if err := q.BeginProduce(&batch, &adds.Call, oneItem("x")); err != nil {
			t.Fatal(err)
		}
		if err := w.svc.Delete(w.ctx(), "q"); err != nil {
			t.Fatal(err)
		}
		batch.Serve() // For nobody.
		if _, err := waits.Leased(); waits.answers.Load() != 1 || !errors.Is(err, queue.ErrClosed) {
			t.Errorf("the lease was answered %d times, %v", waits.answers.Load(), err)
		}
		waits.EndLease(false)
		if adds.answers.Load() != 1 || !errors.Is(adds.Err(), queue.ErrClosed) {
			t.Errorf("the produce was answered %d times, %v", adds.answers.Load(), adds.Err())
		}
		late, released := newBegun(), 0
		req := oneItem("x")
		req.Released = func() { released++ }
		if err := q.BeginProduce(&batch, &late.Call, req); !errors.Is(err, queue.ErrClosed) || released != 1 {
			t.Errorf("a produce after the end: %v, released %d times", err, released)
		}
		if late.answers.Load() != 0 {
			t.Error("what was not begun was answered")
		}
	})
}
