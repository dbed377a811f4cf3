package queue

import (
	"math"
	"slices"
	"time"
)

// apply changes the state and fills the commit.
func (g *group) apply() {
	g.applyDuty()
	if g.gaps {
		g.p.ahead.filter(g.p.st.IsReady)
	}
	for _, r := range g.reqs {
		switch r.kind {
		case kindComplete:
			r.err = g.complete(r)
		case kindExtend:
			r.err = g.extend(r)
		case kindRetry:
			r.err = g.retry(r)
		case kindProduce:
			r.err = g.produce(r)
		}
	}
	g.deal()
}

// add puts a copy of an item at the tail, ready unless it has an EnqueueAt, and
// returns it.
func (g *group) add(item *Item) *Item {
	g.c.Items = append(g.c.Items, *item)
	it := &g.c.Items[len(g.c.Items)-1]
	it.ID = NewID(g.next, g.p.st.Tag)
	it.Written, it.SameBoot = g.now, true
	it.IsLeased, it.LeaseDeadline = false, time.Time{}
	g.next++
	t := &g.p.st.Totals
	t.Bytes += it.Size()
	if it.EnqueueAt.IsZero() {
		t.Ready++
		t.ReadyCreated += it.CreatedAt.UnixNano() / int64(time.Millisecond)
		g.fresh = append(g.fresh, len(g.c.Items)-1)
	}
	return it
}

// produceGrace is how far ahead a time must be for an item to be scheduled;
// nearer ones are ready at once (wire contract).
const produceGrace = 100 * time.Millisecond

func (g *group) produce(r *request) error {
	p := g.p
	if err := g.checkFeed(r.feed); err != nil {
		return err
	}
	if g.full != nil {
		g.shed()
		return g.full
	}
	now := time.Unix(0, g.now.Wall).UTC()
	if n := g.scheduledIn(r, now); n > 0 && n > p.scheduledLeft() {
		return &Error{Kind: ErrFull, Op: "produce", Queue: p.key.Queue, Partition: p.key.Partition,
			Msg:  "too many scheduled items; try again when some are due",
			Hint: "raise max-scheduled in the configuration"}
	}
	if err := g.makeRoom(r); err != nil {
		return err
	}
	for i := range r.items {
		if id := r.items[i].SourceID; id != "" && g.know(id) {
			continue
		}
		it := r.items[i]
		it.CreatedAt, it.ExpireDeadline = now, now.Add(g.opts.expireTimeout)
		it.Attempts, it.MaxAttempts = 0, 0
		if it.EnqueueAt.Before(now.Add(produceGrace)) {
			it.EnqueueAt = time.Time{}
			g.add(&it)
		} else {
			g.addScheduled(&it)
		}
		p.st.Totals.Ledger.Produced++
		p.payload += int64(len(it.Payload))
	}
	g.moveFeed(r.feed)
	r.items = nil // The store may copy large ones, to let go of the request's body.
	return nil
}

func (g *group) scheduledIn(r *request, now time.Time) int {
	n := 0
	for i := range r.items {
		if !r.items[i].EnqueueAt.Before(now.Add(produceGrace)) {
			n++
		}
	}
	return n
}

// addScheduled puts an item at the tail that is not ready before EnqueueAt.
func (g *group) addScheduled(it *Item) {
	added := g.add(it)
	g.schedule(Scheduled{
		Seq: added.Seq(), Due: wallNano(it.EnqueueAt), Attempts: it.Attempts, Size: uint32(added.Size()),
	})
}

// wallNano is UnixNano for any time: what does not fit is the end of what does.
func wallNano(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func (g *group) schedule(d Scheduled) {
	g.p.st.SetScheduled(d)
	g.p.watch(d.Seq, &d)
	g.c.Schedules = append(g.c.Schedules, d)
}

// leased finds the leases that a request names, all of them or an error. verb
// is what cannot be done with an item that is not leased.
func (g *group) leased(r *request, verb string) error {
	p := g.p
	p.marks++
	for i, seq := range r.seqs {
		l := p.st.Leases[seq]
		switch {
		case l == nil && p.st.IsAlive(seq):
			return errItemNotLeased(verb, r.texts[i])
		case l == nil || l.mark == p.marks || l.Deadline <= g.now.Mono || l.released:
			return errUnknownID(r.texts[i])
		}
		l.mark = p.marks
	}
	return nil
}

func (g *group) complete(r *request) error {
	if err := g.leased(r, "completed"); err != nil {
		return err
	}
	if err := g.eventRoom("complete", EventCompleted); err != nil {
		return err
	}
	g.c.Removed = slices.Grow(g.c.Removed, len(r.seqs))
	for _, seq := range r.seqs {
		g.event(EventCompleted, g.p.st.Leases[seq])
		g.removeLeased(seq)
	}
	g.p.st.Totals.Ledger.Completed += uint64(len(r.seqs))
	return nil
}

// removeLeased takes a leased item away.
func (g *group) removeLeased(seq uint64) {
	st := g.p.st
	st.Totals.Bytes -= int64(st.Leases[seq].Size)
	st.Remove(seq)
	g.c.Removed = append(g.c.Removed, seq)
}

func (g *group) extend(r *request) error {
	if err := g.leased(r, "extended"); err != nil {
		return err
	}
	timeout := r.leaseTimeout
	if timeout == 0 {
		timeout = g.opts.leaseTimeout
	}
	for _, seq := range r.seqs {
		l := *g.p.st.Leases[seq]
		l.Deadline, l.Wall = addSat(g.now.Mono, int64(timeout)), addSat(g.now.Wall, int64(timeout))
		g.hold(&l, r.holder)
		g.setLease(l)
	}
	r.deadline = time.Unix(0, addSat(g.now.Wall, int64(timeout))).UTC()
	return nil
}

// setLease begins, changes or ends a lease.
func (g *group) setLease(l Lease) {
	p := g.p
	p.st.SetLease(l)
	g.c.Leases = append(g.c.Leases, l)
	if !l.IsMoving() {
		p.leaseDue.push(min(l.Deadline, l.ExpireMono), l.Seq)
	}
}

func (g *group) retry(r *request) error {
	p := g.p
	if err := g.leased(r, "retried"); err != nil {
		return err
	}
	later := 0
	for _, how := range r.retry {
		if !how.dead && !g.atOnce(how) {
			later++
		}
	}
	if later > 0 && later > p.scheduledLeft() {
		return &Error{Kind: ErrFull, Op: "retry", Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: "too many scheduled items; try again when some are due"}
	}
	if slices.ContainsFunc(r.retry, func(how retryHow) bool { return how.dead }) {
		if err := g.eventRoom("retry", EventDead); err != nil {
			return err
		}
	}
	for i, seq := range r.seqs {
		switch how := r.retry[i]; {
		case how.dead:
			g.kill(seq, false)
		case !g.atOnce(how):
			g.retryLater(seq, how.at)
		case g.immobile || g.fetched[seq] == nil:
			l := *p.st.Leases[seq]
			l.Deadline = LeaseReturning
			g.setLease(l)
		default:
			g.toTail(seq)
		}
	}
	p.st.Totals.Ledger.Retries += uint64(len(r.seqs))
	g.c.Sync = true
	return nil
}

// retryLater makes a leased item scheduled, under the id it has.
func (g *group) retryLater(seq uint64, at time.Time) {
	l := g.p.st.Leases[seq]
	due := wallNano(at)
	g.schedule(Scheduled{
		Seq: seq, Due: due, DueMono: max(1, toMono(due, g.now)), Attempts: l.Attempts, Size: l.Size,
	})
}

// toTail moves a leased or scheduled item, which was fetched, to the tail.
func (g *group) toTail(seq uint64) {
	st := g.p.st
	it := *g.fetched[seq]
	if l := st.Leases[seq]; l != nil {
		it.Attempts = l.Attempts
	} else {
		it.Attempts = st.Scheduled[seq].Attempts
	}
	it.EnqueueAt = time.Time{}
	g.rebase(&it)
	st.Totals.Bytes -= it.Size()
	st.Remove(seq)
	g.c.Removed = append(g.c.Removed, seq)
	g.add(&it)
}

// rebase keeps the age of an item that is written again after the wall clock
// was set: its expire deadline moves with the clock. Nobody knows the age of an
// item of an earlier boot while the clock cannot be believed; it gets a new
// life, since it would be lost, or never expire, by what the clock shows.
func (g *group) rebase(it *Item) {
	l := g.p.newLease(it)
	if l.ExpireMono == math.MaxInt64 {
		if !it.SameBoot && g.now.Untrusted {
			it.ExpireDeadline = time.Unix(0, g.now.Wall).UTC().Add(g.opts.expireTimeout)
		}
		return
	}
	shift := time.Duration(subSat(addSat(g.now.Wall, subSat(l.ExpireMono, g.now.Mono)), l.Expire))
	if shift.Abs() > time.Second {
		it.ExpireDeadline = it.ExpireDeadline.Add(shift)
	}
}
