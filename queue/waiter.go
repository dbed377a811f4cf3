package queue

import (
	"slices"
	"sync"
	"time"
)

// waiter is a lease request. It is in one of three places: in the inbox of a
// partition or in the hands of its loop (busy), or in the queue's list of those
// that wait for items.
type waiter struct {
	order        uint64 // of arrival, among the requests of the queue
	batch        int
	leaseTimeout time.Duration
	holder       uint64

	// Guarded by waitList.mu.
	waiting   bool // in the list
	cancelled bool // the caller has given up; ended as soon as it is not busy
	ended     bool

	// Written by the loop that deals to the waiter, before done is closed.
	partition int
	items     []Item
	bytes     int64
	fresh     bool  // some of the items were added by the very commit
	allowance int64 // bytes that it may get, set with the first item
	outOfTurn bool  // see delivery
	err       error
	done      chan struct{} // nil if answered is set

	// answered, if set, is called in place of closing done, with waitList.mu held; it
	// must not block, nor call anything of this package. client is the client id then,
	// which is free from that moment on.
	answered func()
	client   string
}

// isEarly reports whether a waiter may be answered before the sync of the commit
// that its leases are in.
func (w *waiter) isEarly() bool { return !w.fresh }

// waitList holds the lease requests of one queue that wait for items, in order
// of arrival. Partitions take from it what they can serve. It is safe for use
// by any goroutine.
type waitList struct {
	mu      sync.Mutex
	list    []*waiter
	clients map[string]struct{} // client ids of requests that are not answered
	next    uint64
	closed  bool
}

// enter registers a request by its client id.
func (w *waitList) enter(clientID string, r *LeaseRequest) (*waiter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errQueueClosed()
	}
	if _, ok := w.clients[clientID]; ok {
		return nil, &Error{Kind: ErrDuplicate, Op: "lease",
			Msg: "duplicate client id; a client cannot make multiple leased requests to the same queue"}
	}
	if w.clients == nil {
		w.clients = make(map[string]struct{})
	}
	w.clients[clientID] = struct{}{}
	w.next++
	return &waiter{
		order: w.next, batch: r.BatchSize, leaseTimeout: r.LeaseTimeout, holder: r.Holder, done: make(chan struct{}),
	}, nil
}

// leave frees the client id.
func (w *waitList) leave(clientID string) {
	w.mu.Lock()
	delete(w.clients, clientID)
	w.mu.Unlock()
}

// wait puts v into the list, or ends it when that is too late.
func (w *waitList) wait(v *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		w.end(v, errQueueClosed())
	case v.cancelled:
		w.end(v, errNoItems())
	default:
		v.waiting = true
		i, _ := slices.BinarySearchFunc(w.list, v.order, func(a *waiter, order uint64) int {
			if a.order < order {
				return -1
			}
			return 1
		})
		w.list = slices.Insert(w.list, i, v)
	}
}

// claim takes the first n waiters out of the list, into the hands of the
// calling loop, which serves each or calls wait for it again.
func (w *waitList) claim(n int) []*waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = min(n, len(w.list))
	if n <= 0 {
		return nil
	}
	got := slices.Clone(w.list[:n])
	for _, v := range got {
		v.waiting = false
	}
	w.list = slices.Delete(w.list, 0, n)
	return got
}

// cancel ends v if it waits; if a loop has it, the loop ends it soon.
func (w *waitList) cancel(v *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.cancelled = true
	if w.unlist(v) {
		w.end(v, errNoItems())
	}
}

// isCancelled reports whether nobody waits for v any more.
func (w *waitList) isCancelled(v *waiter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return v.cancelled
}

// cancelHolders ends those that wait for one of these holders, so that what the
// holders held is not given to them.
func (w *waitList) cancelHolders(gone map[uint64]struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(v *waiter) bool {
		if _, ok := gone[v.holder]; !ok {
			return false
		}
		v.waiting = false
		w.end(v, errNoItems())
		return true
	})
}

// finish ends a waiter that the calling loop has, or has just let wait, with
// items or an error.
func (w *waitList) finish(v *waiter, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlist(v)
	w.end(v, err)
}

// unlist takes v out of the list if it is there.
func (w *waitList) unlist(v *waiter) bool {
	if !v.waiting {
		return false
	}
	v.waiting = false
	w.list = slices.DeleteFunc(w.list, func(o *waiter) bool { return o == v })
	return true
}

func (w *waitList) end(v *waiter, err error) {
	if !v.ended {
		v.ended = true
		v.err = err
		if v.answered != nil {
			delete(w.clients, v.client) // Whoever learns of the answer may ask again at once.
			v.answered()
			return
		}
		close(v.done)
	}
}

// size returns how many wait.
func (w *waitList) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.list)
}

// wanted returns how many items those who wait want together.
func (w *waitList) wanted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, v := range w.list {
		n += v.batch
	}
	return n
}

// close ends all that wait and refuses what comes.
func (w *waitList) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, v := range w.list {
		v.waiting = false
		w.end(v, errQueueClosed())
	}
	w.list = nil
}
