package queue

import (
	"slices"
	"sync"
	"time"
)

// requestKind says what a request wants of a partition.
type requestKind uint8

const (
	kindProduce requestKind = iota
	kindLease
	kindComplete
	kindRetry
	kindExtend
	// kindCall runs a function in the loop, alone in its group.
	kindCall
)

// request is what a partition's loop is asked for. The caller fills it and
// waits for done; the loop alone touches it in between.
type request struct {
	kind requestKind

	items []Item    // produce, until they are in a commit
	count int       // produce: how many they are
	bytes int64     // produce: the sum of their sizes
	feed  *feedStep // produce: the mark that goes with them; nil for none

	seqs  []uint64 // complete, retry, extend: the items
	texts []string // the same as the caller wrote them, for errors
	retry []retryHow
	// leaseTimeout is the extension of an extend; 0 is the queue's.
	leaseTimeout time.Duration
	deadline     time.Time // answer of an extend
	holder       uint64    // extend: who holds the leases from now on; 0 changes nothing

	lease *waiter

	call func() error
	// quiet: the call only looks at the state in memory, so that a partition
	// that is watched can still be idle.
	quiet bool
	// counted: the request counts against the limit of waiting requests.
	counted bool

	room patience // that it has had when the disk had no room for it

	// released, if set, is called once, when the partition has let go of the items
	// and nobody waits for the answer yet; it must not block.
	released func()
	// answered, if set, is called by the loop after the answer; it must not
	// block.
	answered func(err error)

	err  error
	done chan struct{} // closed when answered
}

// retryHow is what a retry wants of one item.
type retryHow struct {
	at   time.Time
	dead bool
}

func newRequest(kind requestKind) *request {
	return &request{kind: kind, done: make(chan struct{})}
}

// isUse reports whether the partition is not idle for the request's sake.
func (r *request) isUse() bool { return !r.quiet }

// answer ends the request. It is called once, by the loop, or by whoever took it
// back out of the inbox. What the request held in memory is let go of: others may
// be served in the same turn, and take longer.
func (r *request) answer(err error) {
	r.err = err
	r.items, r.lease, r.call = nil, nil, nil
	if r.released != nil {
		r.released()
	}
	close(r.done)
	if r.answered != nil {
		r.answered(err)
	}
}

// inbox is where requests wait for a partition's loop. Any goroutine puts, the
// loop takes all that is there.
type inbox struct {
	mu     sync.Mutex
	reqs   []*request
	closed bool
	wake   chan struct{} // holds one token when there is something to look at
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put adds r and wakes the loop; it returns false when the partition has been
// closed.
func (b *inbox) put(r *request) bool {
	if !b.add(r) {
		return false
	}
	b.poke()
	return true
}

// add adds r without waking the loop.
func (b *inbox) add(r *request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.reqs = append(b.reqs, r)
	return true
}

// remove takes r back. It returns false when the loop has it, or had it.
func (b *inbox) remove(r *request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.reqs, r)
	if i < 0 {
		return false
	}
	b.reqs = slices.Delete(b.reqs, i, i+1)
	return true
}

// isEmpty reports whether nothing waits.
func (b *inbox) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.reqs) == 0
}

// poke makes the loop look around even if there is no request.
func (b *inbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits. The slice given back is used for what comes
// next.
func (b *inbox) take(reuse []*request) []*request {
	clear(reuse)
	b.mu.Lock()
	reqs := b.reqs
	b.reqs = reuse[:0]
	b.mu.Unlock()
	return reqs
}

// close refuses further requests and returns those that wait.
func (b *inbox) close() []*request {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	reqs := b.reqs
	b.reqs = nil
	return reqs
}
