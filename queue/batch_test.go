package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// What is for several partitions is left to their loops, so that none waits for another;
// so is what is handed over. What is for the one of the last time is not.
func TestBatchLeavesToTheLoops(t *testing.T) {
	onStuck(t, func(w *world, s *stuckStorage) {
		a, b := w.create("a"), w.create("b")
		synctest.Wait() // They are open.
		var batch queue.Batch
		serve := func(own bool, hand func(), queues ...*queue.Queue) {
			t.Helper()
			all := make([]*begun, len(queues))
			for i, q := range queues {
				all[i] = newBegun()
				if err := q.BeginProduce(&batch, &all[i].Call, oneItem("x")); err != nil {
					t.Fatal(err)
				}
			}
			if !own {
				s.commit = make(chan struct{}) // Nobody comes back who serves.
			}
			hand()
			if !own {
				close(s.commit)
			}
			for i, c := range all {
				if done := c.answers.Load() == 1; own && !done {
					t.Errorf("%d is not answered when it was served", i)
				}
			}
			synctest.Wait()
			for i, c := range all {
				if c.answers.Load() != 1 || c.Err() != nil {
					t.Errorf("%d was answered %d times, %v", i, c.answers.Load(), c.Err())
				}
			}
		}
		serve(true, batch.Serve, a)
		serve(true, batch.Serve, a, a)
		serve(false, batch.Serve, a, b)
		serve(true, batch.Serve, b)
		serve(false, batch.Serve, a)
		serve(true, batch.Serve, a)
		serve(true, batch.ServeAlone, b)
		serve(false, batch.ServeAlone, a, b)
		serve(false, batch.HandOver, a)
		w.counts(a, 8, 0, 0)
		w.counts(b, 4, 0, 0)
	})
}

// Leases of what is on flash do not wait for the sync of what others add: whoever serves
// the batch is told of them before.
func TestBatchTellsOfEarlyLeases(t *testing.T) {
	onStuck(t, func(w *world, _ *stuckStorage) {
		q := w.create("q")
		w.produce(q, "x")
		synctest.Wait()
		lease, produce := newBegun(), newBegun()
		told := 0
		batch := queue.Batch{Early: func() {
			told++
			if lease.answers.Load() != 1 || produce.answers.Load() != 0 {
				t.Errorf("told when %d leases and %d produces were answered", lease.answers.Load(), produce.answers.Load())
			}
			res, err := lease.Leased()
			if err != nil || len(res.Items) != 1 || lease.LeasedBytes() <= 0 {
				t.Fatalf("leased %v of %d bytes, %v", res, lease.LeasedBytes(), err)
			}
			lease.EndLease(true)
		}}
		req := &queue.LeaseRequest{ClientID: "c", BatchSize: 1, RequestTimeout: time.Second}
		if err := q.BeginLease(&batch, &lease.Call, req); err != nil {
			t.Fatal(err)
		}
		if err := q.BeginProduce(&batch, &produce.Call, oneItem("y")); err != nil {
			t.Fatal(err)
		}
		batch.Serve()
		if told != 1 || produce.answers.Load() != 1 {
			t.Errorf("told %d times, the produce was answered %d times", told, produce.answers.Load())
		}
		w.idle(q)
		w.counts(q, 1, 1, 0)
	})
}
