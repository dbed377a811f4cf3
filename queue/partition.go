package queue

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// core is what the partitions of one queue share.
type core struct {
	name    string
	options atomic.Pointer[options]
	waiters waitList
	queued  atomic.Int64 // requests that no loop has picked up yet
	parts   []*partition // never changes
}

// options are the settings of a queue that its partitions work by.
type options struct {
	leaseTimeout  time.Duration
	expireTimeout time.Duration
	maxAttempts   int32
	deadQueue     string
	paused        bool
	releaseOnExit bool
	quota         quota
}

// routes finds partitions of other queues, as destinations of moves. Both
// functions return nil when there is none (any more).
type routes struct {
	dead  func(queue string) *partition
	byTag func(code int64) *partition
	gate  *gate // of moves
}

// partition is one partition of a queue. One goroutine at a time owns the state
// and calls the store: the one that has the turn. Everybody goes through the
// inbox.
type partition struct {
	key     PartitionKey
	storage Storage
	clock   Clock
	limits  *Limits
	events  *Events
	core    *core
	routes  *routes
	opening chan struct{} // one token for each partition that may open at a time
	inbox   *inbox
	probes  chan chan<- *partition // whoever asks whether the loop comes round
	deliver *delivery              // items that were leased and are not released; its limit may be 0
	crowd   *budget                // memory of leases and scheduled items; its limit may be 0
	seats   *seats
	sheets  *sheets

	// Written by the loop, read by anybody, to choose a partition.
	ready     atomic.Int64
	heldItems atomic.Int64
	heldBytes atomic.Int64
	failed    atomic.Pointer[Error]
	isOpen    atomic.Bool // the store was opened and is not closed
	// Written by whoever puts requests in, and by the loop when it has taken
	// them: items on their way in, and items that leases in the inbox will take.
	pending  atomic.Int64
	promised atomic.Int64
	// held says that there may be leases with a holder. Written by the loop.
	held atomic.Bool

	// The rest belongs to whoever has the turn: the loop while it is awake, or
	// a caller that found it asleep.
	turn       chan struct{} // holds a token while nobody has the turn
	awake      int64         // boot time at which the loop wakes by itself
	reqs       []*request
	early      func() // of a caller that has the turn: tells it of leases that were answered; nil is nobody
	seat       seat
	stop       <-chan struct{} // closed when the loop is to end
	ps         PartitionStore
	st         *State
	ahead      readAhead
	leaseDue   deadlines // boot time
	schedMono  deadlines // boot time
	schedWall  deadlines // wall time
	lazyAt     int64     // boot time at which an unsynced commit must be synced; 0 is none
	fullUntil  int64     // boot time until which the disk counts as full
	stillUntil int64     // boot time until which moves to the tail wait, since there is no room for them
	more       bool      // work was left over; look again at once
	starved    bool      // somebody waits for room on the disk
	blocked    bool      // somebody waits, but what is delivered must be released first, or what others hold
	headLarge  int64     // what the first ready item takes, if it is known to be larger than the read-ahead has room for
	hasTurn    bool      // see delivery
	charged    int64     // of crowd.used
	marks      uint64
	payload    int64 // bytes of payloads that came in since the store was opened
	lastUsed   int64
	opened     int64 // boot time
	idle       bool
	move       moveState
	outbox     *outbox // nil when no events are wanted; set when the partition is made
}

// run is the loop. It returns when ctx ends, with the store closed. It has the
// turn when it begins, since nobody can serve what is not open yet, and keeps
// it when it ends.
func (p *partition) run(ctx context.Context) {
	defer p.shut()
	p.seat.of, p.stop = p, ctx.Done()
	if !p.openStore(ctx) {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		nap := p.untilNext()
		timer.Reset(nap)
		p.awake = addSat(p.now().Mono, int64(nap))
		p.turn <- struct{}{}
		select {
		case <-ctx.Done():
			<-p.turn
			return
		case <-p.inbox.wake:
			p.gather(ctx)
		case to := <-p.probes:
			<-p.turn // The commit of a caller counts too.
			to <- p
			continue
		case <-timer.C:
		}
		<-p.turn
		p.serve(p.take())
	}
}

// gather waits the commit delay, if there is one, for more requests to come.
func (p *partition) gather(ctx context.Context) {
	if p.limits.CommitDelay <= 0 {
		return
	}
	t := time.NewTimer(p.limits.CommitDelay)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// take picks up all requests that wait.
func (p *partition) take() []*request {
	p.reqs = p.uncount(p.inbox.take(p.reqs))
	return p.reqs
}

// uncount takes requests that were picked up out of the queue's count.
func (p *partition) uncount(reqs []*request) []*request {
	n := int64(0)
	for _, r := range reqs {
		if r.counted {
			n++
		}
	}
	p.core.queued.Add(-n)
	return reqs
}

func (p *partition) refuseAll(reqs []*request) {
	for _, r := range reqs {
		p.taken(r)
		p.reject(r, p.failed.Load())
	}
	clear(reqs)
}

// reject answers a request with an error, whatever kind it is.
func (p *partition) reject(r *request, err error) {
	if r.lease != nil {
		p.core.waiters.finish(r.lease, err)
	}
	r.answer(err)
}

// taken undoes what putting the request added for the choice of a partition.
func (p *partition) taken(r *request) {
	switch r.kind {
	case kindProduce:
		p.pending.Add(-int64(r.count))
	case kindLease:
		p.promised.Add(-int64(r.lease.batch))
	}
}

// adopt takes over a store that was just opened.
func (p *partition) adopt(ps PartitionStore) {
	p.ps, p.st = ps, ps.State()
	now := p.now()
	p.st.EnterBoot(p.clock.Boot())
	p.ahead.drop(p.st.Totals.Cursor)
	for seq, l := range p.st.Leases {
		l.ExpireMono = math.MaxInt64
		l.holder, l.released = 0, false // Whoever watched the holder has ended.
		if l.IsMoving() {
			p.move.waiting++
			p.move.recovered++
			continue
		}
		p.leaseDue.push(l.Deadline, seq)
	}
	for seq, d := range p.st.Scheduled {
		p.watch(seq, d)
	}
	p.failed.Store(nil)
	p.lastUsed, p.opened, p.payload = now.Mono, now.Mono, 0
	p.isOpen.Store(true)
	if p.outbox != nil {
		p.outbox.adopt(p.st.Events, now)
	}
	if damage := ps.Damage(); len(damage) > 0 {
		if _, err := p.mend(damage); err != nil {
			p.fail(err)
			return
		}
	}
	p.publish()
}

// watch enters a scheduled item into the heap of its clock.
func (p *partition) watch(seq uint64, d *Scheduled) {
	if d.DueMono != 0 {
		p.schedMono.push(d.DueMono, seq)
	} else {
		p.schedWall.push(d.Due, seq)
	}
}

// serve answers requests, in groups of one commit each, and does what is due.
func (p *partition) serve(reqs []*request) {
	defer clear(reqs) // Or the bodies that their items lie in would stay until somebody asks again.
	if p.failed.Load() != nil {
		p.refuseAll(reqs)
		return
	}
	if slices.ContainsFunc(reqs, (*request).isUse) {
		p.lastUsed, p.idle = p.now().Mono, false
	}
	p.more = false
	p.group(reqs[:groupLen(reqs, p.limits.GroupBytes)])
	reqs = reqs[groupLen(reqs, p.limits.GroupBytes):]
	for len(reqs) > 0 {
		if p.failed.Load() != nil {
			p.refuseAll(reqs)
			return
		}
		if reqs[0].kind == kindCall {
			reqs[0].answer(reqs[0].call())
			reqs = reqs[1:]
			continue
		}
		n := groupLen(reqs, p.limits.GroupBytes)
		p.group(reqs[:n])
		reqs = reqs[n:]
	}
	if p.failed.Load() == nil {
		p.upkeep()
	}
}

// groupLen returns how many of the first requests go into one commit.
func groupLen(reqs []*request, maxBytes int64) int {
	var bytes int64
	for i, r := range reqs {
		if r.kind == kindCall {
			return i
		}
		if bytes += r.bytes; bytes > maxBytes && i > 0 {
			return i
		}
	}
	return len(reqs)
}

// upkeep syncs what was left unsynced, starts moves, and tidies.
func (p *partition) upkeep() {
	now := p.now()
	if p.lazyAt != 0 && now.Mono >= p.lazyAt {
		p.lazyAt = 0
		if err := p.ps.Sync(); err != nil {
			p.fail(err)
			return
		}
	}
	p.startMove(now)
	p.keepEvents(now)
	if p.failed.Load() != nil {
		return
	}
	switch {
	case p.isIdle(now):
		p.rest()
		return
	case p.mustYield(now):
		p.yield()
		return
	}
	if err := p.ps.Maintain(false); err != nil {
		p.fail(err)
	}
}

// maxNap bounds how long the loop sleeps while something is due later: timers
// stand still in suspend and do not see steps of the wall clock.
const maxNap = 10 * time.Second

// untilNext returns how long the loop may sleep.
func (p *partition) untilNext() time.Duration {
	if p.more {
		return 0
	}
	if p.failed.Load() != nil {
		return time.Hour
	}
	now := p.now()
	next := int64(math.MaxInt64)
	at := func(mono int64) { next = min(next, mono) }
	if !p.idle {
		at(p.lastUsed + int64(p.limits.IdleClose))
	}
	if p.lazyAt != 0 {
		at(p.lazyAt)
	}
	if p.blocked {
		at(now.Mono + int64(blockedNap))
	}
	if due, wanted := p.seat.due(); wanted {
		at(due)
	}
	if p.starved {
		at(now.Mono + int64(roomNap))
	}
	if d, ok := p.leaseDue.top(); ok {
		at(max(d.at, p.stillUntil))
	}
	if d, ok := p.schedMono.top(); ok {
		at(max(d.at, p.stillUntil))
	}
	if d, ok := p.schedWall.top(); ok {
		at(max(toMono(d.at, now), p.stillUntil, now.Mono+now.distrust()))
	}
	at(p.nextExpiry(now))
	at(p.move.next(now))
	at(p.nextEvents(now))
	if next == math.MaxInt64 {
		return time.Hour
	}
	return min(max(0, time.Duration(subSat(next, now.Mono))), maxNap)
}

// now reads the clocks. The wall clock may be set, or turn out to be wrong,
// between two calls: what it shows is believed if it could be before and after.
func (p *partition) now() Instant {
	before := p.clock.Trusted()
	now := Instant{Wall: p.clock.Now().UnixNano(), Mono: int64(p.clock.Mono())}
	now.Untrusted = !before || !p.clock.Trusted()
	return now
}

// publish tells other goroutines how many items there are, and wakes the loop
// again if somebody waits for them.
func (p *partition) publish() {
	p.ready.Store(p.st.Totals.Ready)
	p.heldItems.Store(p.st.Held())
	p.heldBytes.Store(p.st.Totals.Bytes)
	p.chargeState(p.stateMemory())
	if p.servable() && !p.blocked && p.core.waiters.size() > 0 {
		p.inbox.poke()
	}
}

// servable reports whether leases can be given now.
func (p *partition) servable() bool {
	return p.st.Totals.Ready > 0 && p.leasesLeft() > 0 &&
		p.failed.Load() == nil && !p.core.options.Load().paused
}

// fail gives the partition up: what is on flash is unknown, so that nothing is
// acknowledged until it has been opened again.
func (p *partition) fail(err error) {
	p.report(err)
	p.ready.Store(0)
	p.returnTurn()
	p.ahead.drop(0)
	p.seats.leave(&p.seat) // Its store does nothing any more.
}

func (p *partition) report(err error) {
	p.failed.Store(errFailing(p.key.Partition, err))
	if p.events.PartitionFailed != nil {
		p.events.PartitionFailed(p.key.Queue, p.key.Partition, err)
	}
}

// shut ends the loop: what waits is answered, the store is closed.
func (p *partition) shut() {
	p.isOpen.Store(false)
	select {
	case to := <-p.probes:
		to <- p
	default:
	}
	for _, r := range p.uncount(p.inbox.close()) {
		p.taken(r)
		p.reject(r, errQueueClosed())
	}
	defer p.seats.leave(&p.seat)
	if p.ps == nil {
		return
	}
	p.stop = nil   // Others that end give their seats back soon.
	p.shutEvents() // Before the read-ahead goes, since the cursor is where it begins.
	p.ready.Store(0)
	p.returnTurn()
	p.ahead.drop(0)
	p.chargeState(0)
	if err := p.ps.Close(); err != nil && p.failed.Load() == nil {
		p.report(err)
	}
}

// runner starts loops and waits for them.
type runner struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (r *runner) start(ctx context.Context, p *partition) {
	r.wg.Go(func() { p.run(ctx) })
}

// stop ends the loops that were started and waits until they have closed their
// stores.
func (r *runner) stop() {
	r.cancel()
	r.wg.Wait()
}
