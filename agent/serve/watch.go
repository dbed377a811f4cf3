package serve

import (
	"sync"
	"time"
)

// watchAfter is how long a handler runs before somebody looks whether the client is
// still there; it may be twice that.
const watchAfter = 10 * time.Millisecond

// watch has the context of a request cancelled when the client closes the
// connection while the handler runs on. It reads from the connection meanwhile,
// once the body has been read.
//
// It has one timer, which goes on while requests come one after the other: to start
// one for each request would wake a thread each time.
type watch struct {
	c *conn

	mu     sync.Mutex  // guards what follows
	timer  *time.Timer // nil before the first request
	armed  bool        // the timer runs
	began  time.Time   // when the handler was called that runs; zero if none does
	body   *body       // of its request
	cancel func()
	done   chan struct{} // closed by the goroutine that reads, when it ends; nil if none does
}

// begin says that a handler is called.
func (w *watch) begin(b *body, cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began, w.body, w.cancel = time.Now(), b, cancel
	switch {
	case w.armed:
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(watchAfter, w.look)
	default:
		w.timer.Reset(watchAfter)
	}
	w.armed = true
}

// end says that the handler has returned. Nobody else reads from the connection
// then.
func (w *watch) end() {
	w.mu.Lock()
	done := w.done
	w.began, w.body, w.cancel, w.done = time.Time{}, nil, nil, nil
	w.mu.Unlock()
	if done == nil {
		return
	}
	_ = w.c.deadline.setRead(time.Unix(1, 0)) // Wakes it.
	<-done
	_ = w.c.deadline.setRead(time.Time{})
}

// stop says that there will be no more requests.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// look is called by the timer.
func (w *watch) look() {
	w.mu.Lock()
	if w.began.IsZero() {
		w.armed = false
		w.mu.Unlock()
		return
	}
	if time.Since(w.began) < watchAfter || !w.body.ended.Load() { // The body tells by itself.
		w.timer.Reset(watchAfter)
		w.mu.Unlock()
		return
	}
	done := make(chan struct{})
	w.armed, w.done = false, done
	w.mu.Unlock()
	defer close(done)
	if _, err := w.c.r.Peek(1); err == nil {
		return // The next request is here.
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == done {
		w.cancel()
	}
}
