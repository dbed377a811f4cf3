package queue

import (
	"bytes"
	"math"
	"slices"
	"time"
)

// deal gives ready items to the lease requests of the group and to those that
// wait, one item at a time in turn, in the order in which they came. Who gets
// nothing waits (on).
func (g *group) deal() {
	p := g.p
	p.blocked = p.isCrowded() || g.waitsForTurn
	var list []*waiter
	if n := g.servable(); n > 0 {
		list = p.core.waiters.claim(n)
	}
	for _, r := range g.reqs {
		if r.kind == kindLease {
			list = append(list, r.lease)
		}
	}
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b *waiter) int { return int(int64(a.order - b.order)) })
	// A group may have waited long for room, and who was met by another partition
	// came later than its beginning: his lease lasts as long as any.
	g.dealing = p.now()
	g.dealTo(slices.Clone(list))
	waits := false
	for _, w := range list {
		if len(w.items) > 0 {
			w.partition = p.key.Partition
			g.dealt = append(g.dealt, w)
			continue
		}
		p.core.waiters.wait(w)
		waits = true
	}
	if waits {
		p.core.pokeReady(p)
	}
}

// dealTo deals until nobody may get more.
func (g *group) dealTo(active []*waiter) {
	p := g.p
	if len(active) > 0 {
		g.share = (p.ahead.len()+len(g.fresh))/len(active) + 1
	}
	for len(active) > 0 {
		hungry := active[:0]
		for _, w := range active {
			it := g.peekReady()
			switch {
			case it == nil:
				return
			case !p.allows(w, it):
				if len(w.items) == 0 {
					p.blocked = true
					return
				}
				continue
			}
			g.popReady()
			g.lease(w, it)
			if len(w.items) < w.batch {
				hungry = append(hungry, w)
			}
		}
		active = hungry
	}
}

// smallLease is what a lease may always get, in bytes: so much the least send buffer
// of a socket takes although nobody reads.
const smallLease = 4 << 10

// allows reports whether the item may be given to the waiter: within what one
// lease may get, which is half of what may be delivered at the moment. A first item
// may take all of that, or be out of turn.
func (p *partition) allows(w *waiter, it *Item) bool {
	if len(w.items) == 0 {
		w.allowance = p.limits.MaxLeaseBytes
		if p.deliver.limit > 0 {
			w.allowance = min(w.allowance, max(smallLease, p.deliver.left()/2))
		}
	}
	size := it.memory()
	switch {
	case len(w.items) > 0:
		return w.bytes+size <= w.allowance && !w.outOfTurn
	case p.deliver.limit == 0 || size <= max(w.allowance, p.deliver.left()):
		return true
	case size <= leastAhead:
		return false // There will be room soon.
	}
	w.outOfTurn = p.takeTurn(size)
	return w.outOfTurn
}

// servable returns how many items can be leased now.
func (g *group) servable() int {
	if g.opts.paused {
		return 0
	}
	return int(min(g.p.st.Totals.Ready, int64(g.p.leasesLeft())))
}

// peekReady returns the first ready item; nil when there is none at hand. The
// pointer holds until the group ends.
func (g *group) peekReady() *Item {
	switch {
	case g.servable() <= 0:
		return nil
	case g.p.ahead.len() > 0:
		return g.p.ahead.first()
	case len(g.fresh) > 0 && g.covers():
		return &g.c.Items[g.fresh[0]]
	}
	return nil
}

// popReady takes what peekReady returned.
func (g *group) popReady() {
	if g.p.ahead.len() > 0 {
		g.p.ahead.take()
		return
	}
	g.fresh = g.fresh[1:]
}

// ownAbove is from how many bytes on the payload of an item that just came in is copied
// for its lease, so that it does not hold the body in which others came with it.
const ownAbove = 128 << 10

// lease gives a ready item to a request.
func (g *group) lease(w *waiter, it *Item) {
	st := g.p.st
	timeout := w.leaseTimeout
	if timeout == 0 {
		timeout = g.opts.leaseTimeout
	}
	l := g.p.newLease(it)
	l.Deadline, l.Wall = addSat(g.dealing.Mono, int64(timeout)), addSat(g.dealing.Wall, int64(timeout))
	l.Attempts = it.Attempts + 1
	g.hold(&l, w.holder)
	g.unready(&l)
	g.setLease(l)
	st.Totals.Ledger.Leases++

	if w.items == nil {
		w.items = make([]Item, 0, min(w.batch, g.share))
	}
	w.items = append(w.items, *it)
	out := &w.items[len(w.items)-1]
	out.IsLeased, out.Attempts = true, l.Attempts
	out.LeaseDeadline = time.Unix(0, l.Wall).UTC()
	fresh := it.Seq() >= g.first && g.next > g.first
	if fresh && len(g.c.Items) > 1 && len(out.Payload) >= ownAbove {
		out.Payload = bytes.Clone(out.Payload) // Others lie in the same body, maybe.
	}
	w.bytes += it.memory()
	w.fresh = w.fresh || fresh
	if w.outOfTurn {
		g.p.hasTurn = false // It goes with the lease.
	} else {
		g.p.deliver.used.Add(it.memory())
	}
}

// unready takes a ready item out of the totals of the ready ones. What is in
// the read-ahead of it is gone then, unless it was taken from there.
func (g *group) unready(l *Lease) {
	t := &g.p.st.Totals
	t.Ready--
	t.ReadyCreated -= l.Created / int64(time.Millisecond)
}

// newLease returns a lease of the item without a deadline. An item that an
// earlier boot wrote under a clock that nobody believed has left, when the
// partition is opened, what it had when it was written, since nobody knows how
// long ago that was. CreatedAt is of no use there: it may be of another clock.
func (p *partition) newLease(it *Item) Lease {
	l := Lease{
		Seq: it.Seq(), Attempts: it.Attempts, Created: it.CreatedAt.UnixNano(),
		Expire: wallNano(it.ExpireDeadline), Size: uint32(it.Size()), ExpireMono: math.MaxInt64,
	}
	switch {
	case it.SameBoot:
		l.ExpireMono = toMono(l.Expire, it.Written)
	case it.Written.Untrusted:
		l.ExpireMono = addSat(p.opened, max(0, subSat(l.Expire, it.Written.Wall)))
	}
	return l
}

// pokeReady wakes a partition other than p that has ready items, since somebody
// waits for some.
func (c *core) pokeReady(p *partition) {
	for _, o := range c.parts {
		if o != p && o.ready.Load() > 0 {
			o.inbox.poke()
			return
		}
	}
}
