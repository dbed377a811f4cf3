package queue

import (
	"errors"
	"math"
	"slices"
)

// group is one commit in the making: first everything that can fail for want
// of room or by damage is read and reserved (plan), then the state is changed
// and the commit filled together (apply), then it is written. From the first
// change on, a failure ends the partition, since state and flash may differ.
type group struct {
	p    *partition
	opts *options
	now  Instant // when it began
	// dealing is when items were dealt, from which leases last.
	dealing Instant
	share   int // about how many each of those that ask is dealt
	reqs    []*request

	duty    duty
	fetched map[uint64]*Item    // items that go to the tail
	sources map[string]struct{} // source ids that are stored, or will be
	full    error               // why nothing can be added; nil if it can
	// immobile: there is no room either for items that are given back.
	immobile bool

	c     Commit
	sheet *sheet // the memory of c.Items, c.Leases and fresh; nil if that is the group's own
	first uint64 // sequence number of the first item added
	next  uint64 // of the next one
	fresh []int  // indexes in c.Items of those that are ready and not dealt
	dealt []*waiter
	gaps  bool // items in the read-ahead may be gone
	// cleared: the ready items are gone by the cursor alone, so that the commit
	// has to be written although it names none.
	cleared bool
	dropped int // items given up for want of room
	// waitsForTurn: the first ready item is not at hand, since it is too large to be
	// read now.
	waitsForTurn bool
}

// group serves requests with one commit. Without requests it does what is due
// and deals to those who wait.
func (p *partition) group(reqs []*request) {
	p.starved = false
	g := p.newGroup(reqs)
	err := g.collectDuty()
	if err == nil && len(reqs) == 0 && g.duty.isEmpty() && !(p.servable() && p.core.waiters.size() > 0) {
		p.blocked = p.isCrowded() && p.core.waiters.size() > 0
		return
	}
	if err == nil {
		err = g.plan()
	}
	switch {
	case errors.As(err, new(*Damage)):
		g.undo()
		if !p.mended(err) {
			g.abandon(err)
			return
		}
		p.group(reqs)
	case errors.Is(err, ErrFull), errors.Is(err, ErrClosed):
		g.putOff(err)
	case err != nil:
		g.abandon(err)
	default:
		g.apply()
		g.write()
	}
}

// putOff ends a group that finds no room even for its record, or that the end of
// the queue has overtaken. Nothing has changed. What adds items is refused, what
// finds no room is tried again for a while.
func (g *group) putOff(err error) {
	g.undo()
	p := g.p
	if errors.Is(err, ErrFull) {
		p.fullUntil = g.now.Mono + int64(fullFor)
	}
	waits := p.putOff(g.reqs, err)
	p.starved = waits || errors.Is(err, ErrFull) && p.core.waiters.size() > 0
}

// undo gives back what collectDuty has taken.
func (g *group) undo() {
	g.postpone()
	for _, seq := range g.duty.dead {
		g.p.leaseDue.push(g.now.Mono, seq)
	}
	g.forgetExpired()
}

func (p *partition) newGroup(reqs []*request) *group {
	return &group{p: p, opts: p.core.options.Load(), now: p.now(), reqs: reqs}
}

// write commits what was applied and answers. The group is over then.
func (g *group) write() {
	defer g.p.sheets.giveBack(g)
	if !g.c.isEmpty() || g.cleared {
		g.seal()
		if err := g.commit(); err != nil {
			g.abandon(err)
			return
		}
	}
	g.finish()
}

// commit writes the commit. Leases of items that are on flash already need not
// wait for the sync of what else is in it: they are answered in between.
func (g *group) commit() error {
	ps := g.p.ps
	if !g.c.Sync || !slices.ContainsFunc(g.dealt, (*waiter).isEarly) {
		return ps.Commit(&g.c)
	}
	g.c.Sync = false
	if err := ps.Commit(&g.c); err != nil {
		return err
	}
	g.c.Sync = true
	late := g.dealt[:0]
	for _, w := range g.dealt {
		if w.isEarly() {
			g.p.core.waiters.finish(w, nil)
		} else {
			late = append(late, w)
		}
	}
	g.dealt = late
	if g.p.early != nil {
		g.p.early()
	}
	return ps.Sync()
}

// alone commits a change that no request shares: items and bytes are what it
// adds at most. fn must check everything before it changes anything; when it
// returns an error nothing is written.
func (p *partition) alone(items int, bytes int64, fn func(g *group) error) error {
	g := p.newGroup(nil)
	switch err := g.reserve(holdings{}, holdings{items: int64(items), bytes: bytes}); {
	case errors.Is(err, ErrFull), errors.Is(err, ErrClosed):
		return err
	case err != nil:
		return p.giveUp(err)
	case g.full != nil:
		return g.full
	}
	if err := g.readReady(0); err != nil {
		if p.mended(err) {
			return p.alone(items, bytes, fn)
		}
		return p.giveUp(err)
	}
	if err := fn(g); err != nil {
		return err
	}
	if g.gaps {
		p.ahead.filter(p.st.IsReady)
	}
	g.deal()
	g.write()
	if f := p.failed.Load(); f != nil {
		return f
	}
	return nil
}

// giveUp fails the partition, unless it has failed, and returns the error for
// those who ask.
func (p *partition) giveUp(err error) error {
	if p.failed.Load() == nil {
		p.fail(err)
	}
	return p.failed.Load()
}

func (c *Commit) isEmpty() bool {
	return len(c.Items) == 0 && len(c.Leases) == 0 && len(c.Schedules) == 0 && len(c.Removed) == 0 &&
		c.Marks == nil && len(c.Gaps) == 0 && len(c.Feeds) == 0
}

// seal completes the commit: what was added, where the cursor is, the totals.
func (g *group) seal() {
	st := g.p.st
	g.c.At = g.now
	if len(g.c.Items)+len(g.c.Removed)+len(g.c.Schedules) > 0 {
		g.c.Sync = true // Segments may be removed on the strength of it.
	}
	g.c.Added = sumUp(g.c.Items, g.first)
	st.Add(g.now, &g.c.Added)
	st.SetCursor(g.frontier())
	g.sealEvents()
	g.c.Totals = st.Totals
}

// frontier returns the first sequence number that is ready or may be.
func (g *group) frontier() uint64 {
	p := g.p
	if it := p.ahead.first(); it != nil {
		return it.Seq()
	}
	if !g.covers() {
		return p.ahead.next
	}
	if len(g.fresh) > 0 {
		return g.c.Items[g.fresh[0]].Seq()
	}
	return p.st.Next
}

// covers reports whether all ready items are either in the read-ahead or were
// added by this very commit.
func (g *group) covers() bool {
	return g.p.st.Totals.Ready == int64(g.p.ahead.len()+len(g.fresh))
}

// sumUp describes the items of a commit.
func sumUp(items []Item, first uint64) Added {
	a := Added{First: first, Count: uint32(len(items)), MinExpire: math.MaxInt64, MaxExpire: math.MinInt64, Ordered: true}
	for i := range items {
		if !items[i].EnqueueAt.IsZero() {
			continue
		}
		e := wallNano(items[i].ExpireDeadline)
		if e < a.MaxExpire {
			a.Ordered = false
		}
		a.MinExpire, a.MaxExpire = min(a.MinExpire, e), max(a.MaxExpire, e)
	}
	return a
}

// finish answers everybody after the commit is as durable as it has to be.
func (g *group) finish() {
	p := g.p
	g.keepFresh()
	p.returnTurn()
	p.ahead.tidy()
	if g.c.Sync {
		p.lazyAt = 0
	} else if (len(g.c.Leases) > 0 || g.c.Marks != nil) && p.lazyAt == 0 {
		p.lazyAt = g.now.Mono + int64(p.limits.LeaseSync)
	}
	g.tellEvents()
	p.publish()
	if g.dropped > 0 && p.events.Dropped != nil {
		p.events.Dropped(p.key.Queue, p.key.Partition, g.dropped, "full")
	}
	for _, w := range g.dealt {
		p.core.waiters.finish(w, nil)
	}
	for _, r := range g.reqs {
		p.taken(r)
		r.answer(r.err)
	}
	if p.leaseDue.crowded(len(p.st.Leases)) {
		p.rebuildLeaseDue()
	}
}

// keepFresh keeps the items just added in the read-ahead, if they follow what
// is there and there is room, so that they need not be read back. Their bytes
// are copied: they may lie in the body of a request, which would stay in memory
// for the sake of one item.
func (g *group) keepFresh() {
	p := g.p
	if !g.covers() {
		return
	}
	p.ahead.next = p.st.Next
	room := min(p.limits.ReadAhead-p.ahead.bytes, p.ahead.budget.left())
	n, payload := 0, 0
	for _, i := range g.fresh {
		it := &g.c.Items[i]
		if room -= it.Size(); room < 0 {
			p.ahead.next = it.Seq()
			break
		}
		payload += len(it.Payload)
		n++
	}
	if n > 1 && payload >= ownChunk {
		items := make([]Item, n)
		for j, i := range g.fresh[:n] {
			items[j] = g.c.Items[i]
		}
		Own(items)
		p.ahead.add(items)
		return
	}
	buf := make([]byte, 0, payload)
	for _, i := range g.fresh[:n] {
		it := &g.c.Items[i]
		begin := len(buf)
		buf = append(buf, it.Payload...)
		it.Payload = buf[begin:len(buf):len(buf)]
		p.ahead.push(it)
	}
}

// ownChunk is from how many bytes of payloads on items that share a buffer are a chunk of
// their own in the read-ahead, which tells by the chunk what they hold.
const ownChunk = 4 << 10

// abandon ends a group whose commit failed, and the partition with it.
func (g *group) abandon(err error) {
	p := g.p
	err = p.giveUp(err)
	for _, w := range g.dealt {
		p.deliver.release(w.bytes, w.outOfTurn)
		w.items = nil
		p.core.waiters.finish(w, err)
	}
	for _, r := range g.reqs {
		p.taken(r)
		p.reject(r, err)
	}
}

// rebuildLeaseDue drops the stale entries of the heap.
func (p *partition) rebuildLeaseDue() {
	p.leaseDue = p.leaseDue[:0]
	for seq, l := range p.st.Leases {
		if !l.IsMoving() {
			p.leaseDue.push(l.end(), seq)
		}
	}
}
