package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// inSlowWorld runs fn with a queue whose partition takes slowRoom to make room for
// items.
func inSlowWorld(t *testing.T, fn func(w *world, q *queue.Queue)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.stop()
		w.over = &slowStorage{w.storage, w.pass}
		w.start()
		fn(w, w.create("q"))
	})
}

// produced is a produce that was sent by send.
type produced struct {
	released atomic.Int32
	done     chan error
}

// send produces one item in the background, and gives it time to get there.
func (w *world) send(ctx context.Context, q *queue.Queue, timeout time.Duration, payload []byte) *produced {
	p := &produced{done: make(chan error, 1)}
	go func() {
		p.done <- q.Produce(ctx, &queue.ProduceRequest{
			RequestTimeout: timeout, Items: []queue.Item{{Payload: payload}}, Released: func() { p.released.Add(1) },
		})
	}()
	synctest.Wait()
	return p
}

// want asserts how the produce ended, and that its items were let go of once, or
// not yet.
func (p *produced) want(t *testing.T, kind error, released int32) {
	t.Helper()
	if err := <-p.done; !errors.Is(err, kind) {
		t.Fatalf("the produce ended with %v, want %v", err, kind)
	}
	if n := p.released.Load(); n != released {
		t.Fatalf("the items were released %d times, want %d", n, released)
	}
}

// A produce that nobody has looked at when it times out is taken back: it is not
// held in memory for nobody, and not done later.
func TestGivenUpProduceIsTakenBack(t *testing.T) {
	inSlowWorld(t, func(w *world, q *queue.Queue) {
		first := w.send(w.ctx(), q, time.Second, []byte("first"))
		late := w.send(w.ctx(), q, slowRoom/2, []byte("late"))
		ctx, cancel := context.WithTimeout(w.ctx(), slowRoom/2)
		defer cancel()
		left := w.send(ctx, q, time.Second, []byte("left"))
		late.want(t, context.DeadlineExceeded, 1)
		left.want(t, context.DeadlineExceeded, 1)
		first.want(t, nil, 1)
		w.pass(3 * slowRoom)
		w.lease(q, 10, "first")
		s, err := q.Stats(w.ctx())
		if err != nil || s.InFlight != 0 {
			t.Errorf("stats %+v, %v: nothing else is in flight", s, err)
		}
	})
}

// What a partition has begun with it holds until it is done, and says so, although
// nobody waits any more.
func TestGivenUpProduceIsHeld(t *testing.T) {
	inSlowWorld(t, func(w *world, q *queue.Queue) {
		first := w.send(w.ctx(), q, time.Second, []byte("first"))
		second := w.send(w.ctx(), q, slowRoom*3/2, []byte("second"))
		first.want(t, nil, 1)
		second.want(t, context.DeadlineExceeded, 0)
		w.pass(slowRoom)
		if n := second.released.Load(); n != 1 {
			t.Errorf("released %d times when it was done", n)
		}
		w.lease(q, 10, "first", "second")
	})
}

// Those that are served in one turn are let go of one by one, not when the turn
// ends: each may be a body of megabytes.
func TestTurnLetsGoOneByOne(t *testing.T) {
	inSlowWorld(t, func(w *world, q *queue.Queue) {
		first := w.send(w.ctx(), q, time.Second, []byte("first"))
		large := make([]byte, 2<<20) // A commit of its own.
		second, third := w.send(w.ctx(), q, 5*time.Second, large), w.send(w.ctx(), q, 5*time.Second, large)
		first.want(t, nil, 1)
		second.want(t, nil, 1)
		if n := third.released.Load(); n != 0 {
			t.Fatalf("released %d times while it is being written", n)
		}
		third.want(t, nil, 1)
	})
}

// Whatever is wrong with a request, its memory is given back.
func TestRefusedItemsAreReleased(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		n := 0
		released := func() { n++ }
		produce := func(q *queue.Queue, r queue.ProduceRequest) {
			r.Released = released
			if err := q.Produce(w.ctx(), &r); err == nil {
				t.Errorf("%+v was accepted", r)
			}
		}
		imported := func(r queue.ImportRequest) {
			r.Released = released
			if _, err := q.Import(w.ctx(), &r); err == nil {
				t.Errorf("%+v was accepted", r)
			}
		}
		produce(q, queue.ProduceRequest{})
		produce(q, queue.ProduceRequest{RequestTimeout: time.Second})
		imported(queue.ImportRequest{})
		imported(queue.ImportRequest{Partition: 7, Items: make([]queue.Item, 1)})
		full := w.create("full", func(i *queue.Info) { i.MaxItems = 1 })
		produce(full, queue.ProduceRequest{RequestTimeout: time.Second, Items: make([]queue.Item, 2)})
		if err := w.svc.Delete(w.ctx(), "q"); err != nil {
			t.Fatal(err)
		}
		produce(q, queue.ProduceRequest{RequestTimeout: time.Second, Items: make([]queue.Item, 1)})
		if n != 6 {
			t.Errorf("items were released %d times, want 6", n)
		}
	})
}
