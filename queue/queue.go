package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Queue is one queue of a Service. Its methods are safe for use by any
// goroutine. After the queue was deleted they return errors of kind ErrClosed.
type Queue struct {
	core     *core
	limits   *Limits
	waiting  *atomic.Int64 // lease requests that wait, all queues together
	deliver  *delivery
	pauser   func(ctx context.Context, q *Queue, paused bool) error
	finder   func(name string) (*Queue, error)
	run      runner
	inFlight atomic.Int64

	mu  sync.RWMutex
	def Definition
}

// newQueue makes a queue of its definition; start starts its loops.
func newQueue(s *Service, d *Definition) *Queue {
	q := &Queue{
		core: &core{name: d.Name}, limits: &s.limits, waiting: &s.waiting, deliver: &s.deliver,
		pauser: s.setPaused, finder: s.Queue, def: d.clone(),
	}
	q.core.options.Store(optionsOf(d))
	for i, place := range d.Places {
		p := &partition{
			key:     PartitionKey{Queue: d.Name, Partition: i, Tag: place.Tag},
			storage: s.storage(place.Storage), clock: s.clock, limits: &s.limits, events: &s.cfg.Events,
			core: q.core, routes: &s.routes, opening: s.opening, inbox: newInbox(), deliver: &s.deliver, seats: &s.seats, crowd: &s.crowd,
			sheets: &s.sheets,
			probes: make(chan chan<- *partition, 1),
			turn:   make(chan struct{}, 1), // The loop has it, and gives it away when the partition is open.
		}
		p.ahead.budget = &s.ahead
		if s.outbox != nil && s.outbox.forwards(d.Name) {
			p.outbox = newOutbox(s.outbox, s.changed)
		}
		q.core.parts = append(q.core.parts, p)
	}
	return q
}

func optionsOf(d *Definition) *options {
	return &options{
		leaseTimeout: d.LeaseTimeout, expireTimeout: d.ExpireTimeout,
		maxAttempts: int32(d.MaxAttempts), deadQueue: d.DeadQueue, paused: d.Paused,
		releaseOnExit: d.ReleaseOnExit,
		quota:         quota{items: d.MaxItems, bytes: d.MaxBytes, dropOldest: d.FullPolicy == FullDropOldest},
	}
}

// start starts the loops of the partitions. stop ends them.
func (q *Queue) start() {
	ctx, cancel := context.WithCancel(context.Background())
	q.run.cancel = cancel
	for _, p := range q.core.parts {
		q.run.start(ctx, p)
	}
}

// stop answers all that waits, and returns when the partitions are closed.
func (q *Queue) stop() {
	q.core.waiters.close()
	q.run.stop()
}

// Info returns the present definition.
func (q *Queue) Info() Info {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.def.Info
}

func (q *Queue) definition() Definition {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.def.clone()
}

func (q *Queue) setDefinition(d *Definition) {
	q.mu.Lock()
	q.def = d.clone()
	q.mu.Unlock()
	q.core.options.Store(optionsOf(d))
	for _, p := range q.core.parts {
		p.inbox.poke() // What is due, or may be leased, may have changed.
	}
}

// Paused reports whether leases are refused.
func (q *Queue) Paused() bool { return q.core.options.Load().paused }

// Pause makes leases wait until Resume; it survives restarts.
func (q *Queue) Pause(ctx context.Context) error { return q.pauser(ctx, q, true) }

// Resume ends Pause.
func (q *Queue) Resume(ctx context.Context) error { return q.pauser(ctx, q, false) }

// CheckPartition returns an error of kind ErrInvalid when the queue has no
// such partition.
func (q *Queue) CheckPartition(p int) error {
	if p < 0 || p >= len(q.core.parts) {
		return errPartition(p)
	}
	return nil
}

// submit hands a request to a partition and waits for the answer, at most for
// timeout. What nobody has looked at by then is taken back; what is in the loop's
// hands goes on, and its outcome is unknown. A caller that serves its request
// itself is not cut off in the middle of its commit: it gets the true outcome,
// when the device has answered.
func (q *Queue) submit(ctx context.Context, p *partition, r *request, timeout time.Duration) error {
	if q.core.queued.Add(1) > int64(q.limits.MaxRequests) {
		return q.withdraw(p, r, errOverloaded())
	}
	r.counted = true
	q.inFlight.Add(1)
	defer q.inFlight.Add(-1)
	if !p.put(r) {
		return q.withdraw(p, r, errQueueClosed())
	}
	select {
	case <-r.done:
		return r.err
	default:
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-r.done:
		return r.err
	case <-timer.C:
		return q.giveUp(p, r, context.DeadlineExceeded)
	case <-ctx.Done():
		return q.giveUp(p, r, context.Cause(ctx))
	}
}

// giveUp ends waiting for a request, which is taken back if it still can be: it
// would be held in memory, and done in the end, for nobody.
func (q *Queue) giveUp(p *partition, r *request, cause error) error {
	err := errFailing(p.key.Partition, cause)
	if p.inbox.remove(r) {
		return q.withdraw(p, r, err)
	}
	return err
}

// withdraw answers a request that no loop will see.
func (q *Queue) withdraw(p *partition, r *request, err error) error {
	q.core.queued.Add(-1)
	p.taken(r)
	r.answer(err)
	return err
}

// AdminTimeout bounds the calls that carry no request timeout of their own.
const AdminTimeout = 5 * time.Minute

// call runs fn in the loop of p. When it returns an error nobody may have waited
// for fn, which then runs later: what it writes must not be read.
func (q *Queue) call(ctx context.Context, p *partition, fn func() error) error {
	r := newRequest(kindCall)
	r.call = fn
	return q.submit(ctx, p, r, AdminTimeout)
}

// look runs fn, which only looks at the state, in the loop of a partition. The
// partition can be idle all the same.
func (q *Queue) look(ctx context.Context, p *partition, fn func()) error {
	r := newRequest(kindCall)
	r.quiet = true
	r.call = func() error { fn(); return nil }
	return q.submit(ctx, p, r, AdminTimeout)
}

// Produce adds the items and returns when they are on flash. Items whose
// SourceID is stored in the partition already are skipped; that is no error.
func (q *Queue) Produce(ctx context.Context, req *ProduceRequest) error {
	p, r, err := q.produceRequest(req)
	if err != nil {
		return err
	}
	return q.submit(ctx, p, r, req.RequestTimeout)
}

// produceRequest returns what is to be asked of which partition.
func (q *Queue) produceRequest(req *ProduceRequest) (*partition, *request, error) {
	if err := req.validate(q.limits); err != nil {
		if req.Released != nil {
			req.Released()
		}
		return nil, nil, err
	}
	r := newRequest(kindProduce)
	r.items, r.count, r.released = req.Items, len(req.Items), req.Released
	for i := range r.items {
		r.bytes += r.items[i].Size()
	}
	p := q.producePartition(req.Items)
	p.pending.Add(int64(r.count))
	return p, r, nil
}

// producePartition chooses the partition with the fewest items that are ready
// or on their way, the first of several; items with source ids always go to the
// same one, or the ids could not be recognised.
func (q *Queue) producePartition(items []Item) *partition {
	parts := q.core.parts
	if len(parts) == 1 {
		return parts[0]
	}
	for i := range items {
		if id := items[i].SourceID; id != "" {
			return parts[hashString(id)%uint32(len(parts))]
		}
	}
	var best *partition
	for _, p := range parts {
		if p.failed.Load() == nil && (best == nil || p.unleased() < best.unleased()) {
			best = p
		}
	}
	if best == nil {
		return parts[0]
	}
	return best
}

// hashString is FNV-1a: the choice has to be the same after a restart.
func hashString(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

func (p *partition) unleased() int64 { return p.ready.Load() + p.pending.Load() }

// Lease waits for items until the request timeout, then returns ErrEmpty.
func (q *Queue) Lease(ctx context.Context, req *LeaseRequest) (*LeaseResult, error) {
	w, err := q.enterLease(req)
	if err != nil {
		return nil, err
	}
	defer q.leaveLease(req.ClientID)
	if p := q.offerLease(w); p != nil {
		p.help(nil)
	}
	select {
	case <-w.done:
		return q.leased(w)
	default:
	}
	timer := time.NewTimer(req.RequestTimeout)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		q.core.waiters.cancel(w)
		<-w.done
	case <-ctx.Done():
		q.core.waiters.cancel(w)
		<-w.done
		q.giveBack(w)
	}
	return q.leased(w)
}

func (q *Queue) leased(w *waiter) (*LeaseResult, error) {
	if w.err != nil {
		return nil, w.err
	}
	return &LeaseResult{Partition: w.partition, Items: w.items, bytes: w.bytes, outOfTurn: w.outOfTurn, deliver: q.deliver}, nil
}

// Complete marks leased items as done. They are gone on return.
func (q *Queue) Complete(ctx context.Context, req *CompleteRequest) error {
	p, r, err := q.completeRequest(req)
	if err != nil {
		return err
	}
	return q.submit(ctx, p, r, req.RequestTimeout)
}

// completeRequest returns what is to be asked of which partition.
func (q *Queue) completeRequest(req *CompleteRequest) (*partition, *request, error) {
	if err := q.CheckPartition(req.Partition); err != nil {
		return nil, nil, err
	}
	if err := req.validate(q.limits); err != nil {
		return nil, nil, err
	}
	return q.byID(kindComplete, req.Partition, req.IDs)
}

// byID returns a request about the items with these ids.
func (q *Queue) byID(kind requestKind, part int, ids []string) (*partition, *request, error) {
	p := q.core.parts[part]
	seqs, err := parseIDs(ids, p.key.Tag)
	if err != nil {
		return nil, nil, err
	}
	r := newRequest(kind)
	r.seqs, r.texts = seqs, ids
	return p, r, nil
}

// Retry gives leased items back.
func (q *Queue) Retry(ctx context.Context, req *RetryRequest) error {
	p, r, err := q.retryRequest(req)
	if err != nil {
		return err
	}
	return q.submit(ctx, p, r, AdminTimeout)
}

// retryRequest returns what is to be asked of which partition.
func (q *Queue) retryRequest(req *RetryRequest) (*partition, *request, error) {
	if err := q.CheckPartition(req.Partition); err != nil {
		return nil, nil, err
	}
	if err := req.validate(q.limits); err != nil {
		return nil, nil, err
	}
	ids := make([]string, len(req.Items))
	how := make([]retryHow, len(req.Items))
	for i := range req.Items {
		ids[i] = req.Items[i].ID
		how[i] = retryHow{at: req.Items[i].RetryAt, dead: req.Items[i].Dead}
	}
	p, r, err := q.byID(kindRetry, req.Partition, ids)
	if err != nil {
		return nil, nil, err
	}
	r.retry = how
	return p, r, nil
}

// Extend moves lease deadlines and returns the new one, by the wall clock.
func (q *Queue) Extend(ctx context.Context, req *ExtendRequest) (time.Time, error) {
	if err := q.CheckPartition(req.Partition); err != nil {
		return time.Time{}, err
	}
	if err := req.validate(q.limits); err != nil {
		return time.Time{}, err
	}
	p, r, err := q.byID(kindExtend, req.Partition, req.IDs)
	if err != nil {
		return time.Time{}, err
	}
	r.leaseTimeout, r.holder = req.LeaseTimeout, req.Holder
	if err := q.submit(ctx, p, r, AdminTimeout); err != nil {
		return time.Time{}, err
	}
	return r.deadline, nil
}
