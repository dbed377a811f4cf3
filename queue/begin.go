package queue

import (
	"slices"
	"sync/atomic"
)

// Whoever has many requests under way at a time need not have a goroutine wait for
// each: it begins them, and is told when they are answered. Requests that are begun
// together share a commit, without anybody being woken between them and the device.

// Call is a request that is begun. Its zero value with Answered set is ready for one
// request. Its methods may be called from any goroutine.
type Call struct {
	// Answered is called once, when there is an answer; from any goroutine, also from
	// the one that begins the request and before that returns. It must not block, nor
	// call anything of this package.
	Answered func()

	q    *Queue
	p    *partition
	r    *request // nil of a lease
	w    *waiter  // nil of all others
	over atomic.Bool
	err  error // of all but a lease; written before Answered is called
}

// Batch is requests that are begun together and not handed over yet. Its zero value is
// empty. It belongs to one goroutine.
type Batch struct {
	// Early, if set, is called by Serve, in the goroutine of its caller, when leases were
	// answered that need not wait for the sync that follows. It must not block.
	Early func()

	parts []*partition
	last  *partition // that the last requests were for
}

// Serve hands over what was begun. The caller itself serves it, up to the end of the
// commit, if it is for one partition, the last was for the same, and nobody is at it.
// Where there are several their loops serve them, so that none waits for another's
// commit. ServeAlone is for a caller for whom nobody else waits.
func (b *Batch) Serve() { b.serve(false) }

// ServeAlone is Serve, and does not mind for which partition the last was.
func (b *Batch) ServeAlone() { b.serve(true) }

func (b *Batch) serve(alone bool) {
	if len(b.parts) == 0 {
		return
	}
	own := len(b.parts) == 1 && (alone || b.last == nil || b.last == b.parts[0])
	b.last = b.parts[len(b.parts)-1]
	if !own {
		b.HandOver()
		return
	}
	b.last.help(b.Early)
	b.clear()
}

// HandOver hands over what was begun to the loops of the partitions, and returns at once.
func (b *Batch) HandOver() {
	for _, p := range b.parts {
		p.inbox.poke()
	}
	b.clear()
}

func (b *Batch) clear() {
	clear(b.parts)
	b.parts = b.parts[:0]
}

func (b *Batch) add(p *partition) {
	if !slices.Contains(b.parts, p) {
		b.parts = append(b.parts, p)
	}
}

// BeginProduce begins what Produce does. An error means that it was not begun. The
// request timeout is the caller's to keep, by Abort.
func (q *Queue) BeginProduce(b *Batch, c *Call, req *ProduceRequest) error {
	p, r, err := q.produceRequest(req)
	if err != nil {
		return err
	}
	return q.begin(b, c, p, r)
}

// BeginComplete is BeginProduce for Complete.
func (q *Queue) BeginComplete(b *Batch, c *Call, req *CompleteRequest) error {
	p, r, err := q.completeRequest(req)
	if err != nil {
		return err
	}
	return q.begin(b, c, p, r)
}

// BeginRetry is BeginProduce for Retry.
func (q *Queue) BeginRetry(b *Batch, c *Call, req *RetryRequest) error {
	p, r, err := q.retryRequest(req)
	if err != nil {
		return err
	}
	return q.begin(b, c, p, r)
}

// begin puts a request where its partition finds it.
func (q *Queue) begin(b *Batch, c *Call, p *partition, r *request) error {
	c.q, c.p, c.r = q, p, r
	if q.core.queued.Add(1) > int64(q.limits.MaxRequests) {
		return q.withdraw(p, r, errOverloaded())
	}
	r.counted = true
	q.inFlight.Add(1)
	r.answered = c.end
	if !p.inbox.add(r) {
		q.inFlight.Add(-1)
		r.answered = nil
		return q.withdraw(p, r, errQueueClosed())
	}
	b.add(p)
	return nil
}

// end is the answer, unless nobody waits for it any more.
func (c *Call) end(err error) {
	if !c.over.CompareAndSwap(false, true) {
		return
	}
	c.err = err
	c.q.inFlight.Add(-1)
	c.Answered()
}

// Err returns what the method that waits would have returned. It is called after
// Answered was, and not of a lease.
func (c *Call) Err() error { return c.err }

// BeginLease begins what Lease does. EndLease has to follow when there is an answer.
func (q *Queue) BeginLease(b *Batch, c *Call, req *LeaseRequest) error {
	w, err := q.enterLease(req)
	if err != nil {
		return err
	}
	w.done, w.answered, w.client = nil, c.leaseEnded, req.ClientID
	c.q, c.w = q, w
	if p := q.offerLease(w); p != nil {
		b.add(p)
	}
	return nil
}

// leaseEnded is the answer to a lease.
func (c *Call) leaseEnded() {
	c.q.inFlight.Add(-1)
	c.q.waiting.Add(-1)
	c.Answered()
}

// Leased returns what Lease would have returned, but that EndLease takes the place of
// Release. It is called after Answered was.
func (c *Call) Leased() (*LeaseResult, error) { return c.q.leased(c.w) }

// LeasedBytes returns how much of memory the items of a lease take. It is called after
// Answered was, and before Leased.
func (c *Call) LeasedBytes() int64 { return c.w.bytes }

// EndLease ends a lease request, once, after Answered was called. Unless they were
// delivered the items are ready again: otherwise they would be offered only when the
// lease lapses.
func (c *Call) EndLease(delivered bool) {
	q, w := c.q, c.w
	switch {
	case w.err != nil:
	case delivered:
		q.deliver.release(w.bytes, w.outOfTurn)
	default:
		q.giveBack(w)
	}
}

// Abort ends the request for want of somebody who waits, or of time, which cause says.
// It is answered then, if it is not yet: what nobody has looked at is taken back; what
// is in the hands of a partition goes on, and its outcome is not known. It may be called
// at any time after the request was begun.
func (c *Call) Abort(cause error) {
	if c.w != nil {
		c.q.core.waiters.cancel(c.w)
		return
	}
	if c.over.Load() {
		return
	}
	err := errFailing(c.p.key.Partition, cause)
	if c.p.inbox.remove(c.r) {
		_ = c.q.withdraw(c.p, c.r, err) // The answer says it.
		return
	}
	c.end(err)
}

// giveBack retries what a caller was leased who is not there any more to get
// it; otherwise it would be offered again only when the lease lapses. It does not wait.
func (q *Queue) giveBack(w *waiter) {
	if w.err != nil {
		return
	}
	r := newRequest(kindRetry)
	r.retry = make([]retryHow, len(w.items))
	for i := range w.items {
		r.seqs, r.texts = append(r.seqs, w.items[i].ID.Seq()), append(r.texts, w.items[i].ID.String())
	}
	q.deliver.release(w.bytes, w.outOfTurn)
	w.items, w.err = nil, errNoItems()
	_ = q.core.parts[w.partition].inbox.put(r) // When it is closed the leases lapse.
}

// enterLease registers a lease request that may wait.
func (q *Queue) enterLease(req *LeaseRequest) (*waiter, error) {
	if err := req.validate(q.limits); err != nil {
		return nil, err
	}
	if q.waiting.Add(1) > int64(q.limits.MaxWaiting) {
		q.waiting.Add(-1)
		return nil, errOverloaded()
	}
	w, err := q.core.waiters.enter(req.ClientID, req)
	if err != nil {
		q.waiting.Add(-1)
		return nil, err
	}
	q.inFlight.Add(1)
	return w, nil
}

// leaveLease ends enterLease, for a caller that waits.
func (q *Queue) leaveLease(clientID string) {
	q.inFlight.Add(-1)
	q.core.waiters.leave(clientID)
	q.waiting.Add(-1)
}

// offerLease puts a lease request where the partition with the most items that nobody
// was promised finds it, and returns that; nil if there is none, so that it waits.
func (q *Queue) offerLease(w *waiter) *partition {
	var best *partition
	var most int64
	for _, p := range q.core.parts {
		if n := p.ready.Load() - p.promised.Load(); n > most && p.failed.Load() == nil {
			best, most = p, n
		}
	}
	if best != nil && !q.Paused() && q.core.queued.Load() < int64(q.limits.MaxRequests) {
		r := newRequest(kindLease)
		r.lease, r.counted = w, true
		q.core.queued.Add(1)
		best.promised.Add(int64(w.batch))
		if best.inbox.add(r) {
			return best
		}
		q.core.queued.Add(-1)
		best.taken(r)
	}
	q.core.waiters.wait(w)
	q.core.pokeReady(nil)
	return nil
}
