package queue

import (
	"errors"
	"fmt"
	"time"
)

// plan reads what the commit needs and makes room for it. The state stays as it
// is.
func (g *group) plan() error {
	moved := holdings{items: int64(g.duty.items), bytes: g.duty.bytes}
	var added holdings
	var retries []uint64
	for _, r := range g.reqs {
		switch r.kind {
		case kindProduce:
			added.items += int64(len(r.items))
			added.bytes += r.bytes
			if err := g.findSources(r); err != nil {
				return err
			}
		case kindRetry:
			n, size, seqs := g.retryNeeds(r)
			moved.items += int64(n)
			moved.bytes += size
			retries = append(retries, seqs...)
		}
	}
	// First the seat, which may be long in coming: what is read before it would be
	// in memory for as long, in every partition that waits.
	if err := g.reserve(moved, added); err != nil {
		return err
	}
	move := g.duty.tail()
	if !g.immobile {
		move = append(move, retries...)
	}
	if err := g.fetch(move); err != nil {
		return err
	}
	g.p.sheets.lend(g, int(added.items))
	return g.readReady(g.toDrop(added))
}

// reserve makes room for what the group may move to the tail and add. A full disk
// is no failure: then nothing is added, if need be nothing moves, and the rest goes
// on.
func (g *group) reserve(moved, added holdings) error {
	p := g.p
	first, err := p.open(int(moved.items+added.items), moved.bytes+added.bytes)
	if errors.Is(err, ErrFull) && moved.items+added.items > 0 {
		g.full = err
		for more := moved.items > 0; more; more = errors.Is(err, ErrFull) && g.fewer(&moved) {
			first, err = p.ps.ReserveMove(int(moved.items), moved.bytes)
		}
	}
	if errors.Is(err, ErrFull) && g.full != nil {
		if g.immobile = true; g.duty.items > 0 {
			g.postpone()
		}
		first, err = p.open(0, 0)
	}
	if g.full != nil {
		p.fullUntil = g.now.Mono + int64(fullFor)
	}
	if err != nil {
		return err
	}
	g.first, g.next = first, first
	return nil
}

// findSources marks the items of a produce whose source id is stored already.
func (g *group) findSources(r *request) error {
	for i := range r.items {
		it := &r.items[i]
		if it.SourceID == "" {
			continue
		}
		_, found, err := g.p.ps.FindSource(it.SourceID)
		if err != nil {
			return err
		}
		if found {
			g.know(it.SourceID)
		}
	}
	return nil
}

// know remembers a source id that is stored, or will be by this commit, and
// reports whether it was known before.
func (g *group) know(sourceID string) bool {
	if g.sources == nil {
		g.sources = make(map[string]struct{})
	}
	_, known := g.sources[sourceID]
	g.sources[sourceID] = struct{}{}
	return known
}

// fetch reads the items that may go to the tail.
func (g *group) fetch(seqs []uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	items, err := g.p.ps.Get(seqs)
	if err != nil {
		return err
	}
	g.fetched = make(map[uint64]*Item, len(items))
	for i := range items {
		g.fetched[seqs[i]] = &items[i]
	}
	return nil
}

// readReady reads ahead what the leases of the group, and those that wait, may
// take, and before that the items that may be dropped.
func (g *group) readReady(drop int) error {
	p := g.p
	if p.st.Totals.Ready == 0 {
		return nil
	}
	want := drop + g.wanted()
	if want == 0 {
		return nil
	}
	if p.ahead.len() >= want {
		return nil
	}
	if drop == 0 {
		may, err := g.mayReadNext()
		if err != nil {
			return err
		}
		if !may {
			g.waitsForTurn = true
			return nil
		}
	}
	return g.fillAhead(want, drop > 0)
}

// mayReadNext reports whether the next ready item may be read now. One that is too
// large for the read-ahead is not read before it is its turn, to be thrown away.
func (g *group) mayReadNext() (bool, error) {
	p := g.p
	if p.deliver.limit == 0 || p.ahead.len() > 0 {
		return true, nil
	}
	room := max(leastAhead, p.ahead.budget.left())
	if p.headLarge == 0 && p.st.Totals.Bytes > room {
		size, err := p.ps.ReadySize(p.ahead.next)
		if err != nil {
			return false, err
		}
		if size > room {
			p.headLarge = size
		}
	}
	return p.headLarge == 0 || p.takeTurn(p.headLarge), nil
}

// leastAhead is what a partition may read ahead whatever the others have.
const leastAhead = 64 << 10

// fillAhead reads ahead within the budget that all partitions share; freely lets it
// take more until the group ends.
func (g *group) fillAhead(want int, freely bool) error {
	p := g.p
	a := &p.ahead
	// More than wanted is read when the budget allows, so that small leases do
	// not read one by one.
	most := max(p.limits.ReadAhead, g.leaseBytes(want))
	grant := a.budget.take(most, leastAhead)
	if freely {
		grant = max(grant, most) // Without a part in the budget.
	}
	taken := min(grant, most)
	err := a.fill(p.ps, max(want, 256), grant, p.st.Next)
	a.budget.used.Add(-taken)
	if err != nil {
		return err
	}
	if a.len() == 0 {
		return &Error{Kind: ErrCorrupt, Op: "lease", Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: fmt.Sprintf("%d items are counted as ready from %d on, and none is found", p.st.Totals.Ready, p.st.Totals.Cursor)}
	}
	if !freely {
		g.keepWithin(grant)
	}
	return nil
}

// keepWithin lets go of what was read beyond what was granted, unless the budget
// has room for it: how large items are shows when they are read. A first item that
// is too large is kept when it is its turn.
func (g *group) keepWithin(grant int64) {
	p := g.p
	a := &p.ahead
	p.headLarge = 0
	if a.bytes <= grant || !a.budget.isOver() {
		return
	}
	a.trim(grant)
	if a.bytes <= grant || p.deliver.limit == 0 {
		return
	}
	p.headLarge = a.first().memory()
	if !p.takeTurn(p.headLarge) {
		g.waitsForTurn = true
		a.drop(a.first().Seq())
	}
}

// wanted returns how many items leases may take now.
func (g *group) wanted() int {
	p := g.p
	if g.opts.paused {
		return 0
	}
	n := p.core.waiters.wanted()
	for _, r := range g.reqs {
		if r.kind == kindLease {
			n += r.lease.batch
		}
	}
	return max(0, min(n, p.leasesLeft()))
}

// leaseBytes bounds the bytes that are read for leases beyond the read-ahead.
func (g *group) leaseBytes(want int) int64 {
	return min(int64(want)*4096, g.p.limits.MaxLeaseBytes)
}

// retryNeeds says what a retry adds to the tail: how many items, how many
// bytes, and which items have to be read for it. A retry of so many bytes that
// they should not be in memory together adds nothing: its items are given back
// bit by bit afterwards.
func (g *group) retryNeeds(r *request) (n int, size int64, seqs []uint64) {
	for i, seq := range r.seqs {
		l := g.p.st.Leases[seq]
		if l == nil || l.IsOver() || !g.atOnce(r.retry[i]) {
			continue
		}
		seqs = append(seqs, seq)
		size += int64(l.Size)
	}
	if size > 4*g.p.limits.GroupBytes {
		return 0, 0, nil
	}
	return len(seqs), size, seqs
}

// atOnce reports whether an item is to be ready again now.
func (g *group) atOnce(how retryHow) bool {
	return !how.dead && how.at.Before(time.Unix(0, g.now.Wall).Add(produceGrace))
}
