package queue

import (
	"math"
	"slices"
	"time"
)

// deal gives ready items to the lease requests of the group and to those that
// wait, one item at a time in turn, in the order in which they came. Who gets
// nothing waits (on).
func (g *group) deal() {
	p := g.p
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
	active := slices.Clone(list)
	for len(active) > 0 {
		hungry := active[:0]
		for _, w := range active {
			it := g.takeReady()
			if it == nil {
				hungry = nil
				break
			}
			g.lease(w, it)
			if len(w.items) < w.batch && w.bytes < p.limits.MaxLeaseBytes {
				hungry = append(hungry, w)
			}
		}
		active = hungry
	}
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

// servable returns how many items can be leased now.
func (g *group) servable() int {
	if g.opts.paused {
		return 0
	}
	return int(min(g.p.st.Totals.Ready, int64(g.p.limits.MaxLeased-len(g.p.st.Leases))))
}

// takeReady takes the first ready item; nil when there is none at hand. The
// pointer holds until the group ends.
func (g *group) takeReady() *Item {
	p := g.p
	if g.servable() <= 0 {
		return nil
	}
	if p.ahead.len() > 0 {
		return p.ahead.take()
	}
	if len(g.fresh) > 0 && g.covers() {
		it := &g.c.Items[g.fresh[0]]
		g.fresh = g.fresh[1:]
		return it
	}
	return nil
}

// lease gives a ready item to a request.
func (g *group) lease(w *waiter, it *Item) {
	st := g.p.st
	timeout := w.leaseTimeout
	if timeout == 0 {
		timeout = g.opts.leaseTimeout
	}
	l := newLease(it)
	l.Deadline, l.Wall = addSat(g.now.Mono, int64(timeout)), addSat(g.now.Wall, int64(timeout))
	l.Attempts = it.Attempts + 1
	g.unready(&l)
	g.setLease(l)
	st.Totals.Ledger.Leases++

	out := *it
	out.IsLeased, out.Attempts = true, l.Attempts
	out.LeaseDeadline = time.Unix(0, l.Wall).UTC()
	w.items = append(w.items, out)
	w.bytes += it.Size()
}

// unready takes a ready item out of the totals of the ready ones. What is in
// the read-ahead of it is gone then, unless it was taken from there.
func (g *group) unready(l *Lease) {
	t := &g.p.st.Totals
	t.Ready--
	t.ReadyCreated -= l.Created / int64(time.Millisecond)
}

// newLease returns a lease of the item without a deadline.
func newLease(it *Item) Lease {
	l := Lease{
		Seq: it.Seq(), Attempts: it.Attempts, Created: it.CreatedAt.UnixNano(),
		Expire: wallNano(it.ExpireDeadline), Size: uint32(it.Size()), ExpireMono: math.MaxInt64,
	}
	if it.SameBoot {
		l.ExpireMono = toMono(l.Expire, it.Written)
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
