package queue

import (
	"math"
	"slices"
	"time"
)

// The calls of this file run in the loop, one at a time, each with a commit of
// its own if it changes anything.

// importItems adds items as they are. The result has them as they are stored.
func (p *partition) importItems(items []Item) ([]Item, error) {
	known := p.newGroup(nil)
	if err := p.reading(func() error { return known.findSources(&request{items: items}) }); err != nil {
		return nil, p.giveUp(err)
	}
	var size int64
	leased := 0
	for i := range items {
		size += items[i].Size()
		if items[i].IsLeased {
			leased++
		}
	}
	if leased > 0 && leased > p.leasesLeft() {
		return nil, &Error{Kind: ErrFull, Op: "import", Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: "too many leased items; complete some first", Hint: "raise max-leased in the configuration"}
	}
	out := slices.Clone(items)
	err := p.alone(len(items), size, func(g *group) error {
		now := time.Unix(0, g.now.Wall).UTC()
		for i := range items {
			if id := items[i].SourceID; id != "" && known.know(id) {
				continue
			}
			out[i].CreatedAt, out[i].EnqueueAt = now, time.Time{}
			g.importItem(&out[i])
			p.st.Totals.Ledger.Imported++
			p.payload += int64(len(out[i].Payload))
		}
		return nil
	})
	return out, err
}

// importItem adds one item and fills in what became of it.
func (g *group) importItem(it *Item) {
	leased, deadline := it.IsLeased, it.LeaseDeadline
	added := g.add(it)
	added.LeaseDeadline = deadline
	it.ID = added.ID
	if !leased {
		return
	}
	g.fresh = g.fresh[:len(g.fresh)-1]
	l := g.p.newLease(added)
	l.Wall = wallNano(deadline)
	l.Deadline = max(0, toMono(l.Wall, g.now))
	g.unready(&l)
	g.setLease(l)
}

// deleteItems removes items by sequence number, whatever they are. Those that
// are not there are no error.
func (p *partition) deleteItems(seqs []uint64) error {
	seqs = slices.Compact(slices.Sorted(slices.Values(seqs)))
	facts := make(map[uint64]Lease)
	if err := p.reading(func() error { return p.readFacts(seqs, facts) }); err != nil {
		return p.giveUp(err)
	}
	return p.alone(0, 0, func(g *group) error {
		for _, seq := range seqs {
			l, isRead := facts[seq]
			switch {
			case isRead && p.st.IsReady(seq):
				g.removeReady(&l)
				g.gaps = true
			case p.st.Scheduled[seq] != nil:
				g.removeScheduled(seq)
			case p.st.Leases[seq] != nil && !p.st.Leases[seq].IsMoving():
				g.removeLeased(seq)
			default:
				continue
			}
			p.st.Totals.Ledger.Deleted++
		}
		return nil
	})
}

// readFacts reads those of the items that are ready.
func (p *partition) readFacts(seqs []uint64, facts map[uint64]Lease) error {
	var ready []uint64
	for _, seq := range seqs {
		if p.st.IsReady(seq) {
			ready = append(ready, seq)
		}
	}
	for chunk := range slices.Chunk(ready, 64) {
		items, err := p.ps.Get(chunk)
		if err != nil {
			return err
		}
		for i := range items {
			facts[items[i].Seq()] = p.newLease(&items[i])
		}
	}
	return nil
}

// removeScheduled takes a scheduled item away.
func (g *group) removeScheduled(seq uint64) {
	st := g.p.st
	st.Totals.Bytes -= int64(st.Scheduled[seq].Size)
	st.Remove(seq)
	g.c.Removed = append(g.c.Removed, seq)
}

// clearItems removes what the request says. Items on their way to another
// partition stay, unless there is nowhere to go.
func (p *partition) clearItems(r *ClearRequest) error {
	return p.alone(0, 0, func(g *group) error {
		if r.Ready {
			g.clearReady()
		}
		if r.Scheduled || r.Ready && r.Destructive {
			for seq := range p.st.Scheduled {
				g.removeScheduled(seq)
				p.st.Totals.Ledger.Cleared++
			}
		}
		if r.Ready && r.Destructive {
			for seq, l := range p.st.Leases {
				switch {
				case !l.IsMoving():
				case p.move.stuck:
					p.move.waiting--
				default:
					continue
				}
				g.removeLeased(seq)
				p.st.Totals.Ledger.Cleared++
			}
		}
		return nil
	})
}

// clearReady removes all ready items by moving the cursor behind them.
func (g *group) clearReady() {
	st := g.p.st
	if st.Totals.Ready == 0 {
		return
	}
	held := int64(0)
	for _, l := range st.Leases {
		held += int64(l.Size)
	}
	for _, d := range st.Scheduled {
		held += int64(d.Size)
	}
	st.Totals.Ledger.Cleared += uint64(st.Totals.Ready)
	st.Totals.Ready, st.Totals.ReadyCreated, st.Totals.Bytes = 0, 0, held
	g.p.ahead.drop(st.Next)
	g.cleared = true
	g.c.Sync = true
}

// list collects ready and leased items in the order of their ids.
func (p *partition) list(from uint64, c *collector) error {
	var leased []uint64
	for seq, l := range p.st.Leases {
		if seq >= from && (!l.IsMoving() || p.move.stuck) {
			leased = append(leased, seq)
		}
	}
	slices.Sort(leased)
	next := max(from, p.st.Totals.Cursor)
	for !c.full() && p.st.Totals.Ready > 0 && next < p.st.Next {
		// Those before it are read first: it may be large, and there may be no room
		// for it any more.
		first, _ := p.st.NextReady(next)
		var err error
		if leased, err = p.listLeased(c, leased, first); err != nil || c.full() {
			return err
		}
		size, err := p.readySize(first, c)
		if err != nil {
			return err
		}
		if c.isBeyond(size) {
			c.end(size)
			return nil
		}
		chunks, n, err := p.ps.Read(next, min(256, c.limit-len(c.items)), min(256<<10, c.maxBytes-c.bytes))
		if err != nil {
			return err
		}
		for it := range chunks.All() {
			if leased, err = p.listLeased(c, leased, it.Seq()); err != nil {
				return err
			}
			c.add(*it)
		}
		if len(chunks) == 0 || n <= next {
			break
		}
		next = n
	}
	_, err := p.listLeased(c, leased, math.MaxUint64)
	return err
}

// readySize returns about how many bytes the ready item seq has, if c wants to know
// before it is read.
func (p *partition) readySize(seq uint64, c *collector) (int64, error) {
	if c.maxItem == 0 || p.st.Totals.Bytes <= c.maxItem {
		return 0, nil
	}
	return p.ps.ReadySize(seq)
}

// listLeased adds the leased items below seq and returns the others.
func (p *partition) listLeased(c *collector, leased []uint64, below uint64) ([]uint64, error) {
	i, _ := slices.BinarySearch(leased, below)
	rest := leased[i:]
	n, err := p.getEach(c, leased[:i], func(seq uint64) uint32 { return p.st.Leases[seq].Size })
	if n < i {
		return nil, err // The list is full.
	}
	return rest, err
}

// getEach adds items by number, of sizes that are known, and returns how many.
func (p *partition) getEach(c *collector, seqs []uint64, sizeOf func(seq uint64) uint32) (added int, err error) {
	for added < len(seqs) && !c.full() {
		rest := seqs[added:]
		bytes := int64(sizeOf(rest[0]))
		if c.isBeyond(bytes) {
			c.end(bytes)
			break
		}
		n := 1
		for n < len(rest) && n < 64 && n < c.limit-len(c.items) && bytes < c.maxBytes-c.bytes && !c.isBeyond(int64(sizeOf(rest[n]))) {
			bytes += int64(sizeOf(rest[n]))
			n++
		}
		items, err := p.ps.Get(rest[:n])
		if err != nil {
			return added, err
		}
		for i := range items {
			p.overlay(&items[i])
			c.add(items[i])
		}
		added += n
	}
	return added, nil
}

// overlay brings an item up to what the state knows of it.
func (p *partition) overlay(it *Item) {
	if l := p.st.Leases[it.Seq()]; l != nil {
		it.Attempts, it.IsLeased = l.Attempts, !l.IsOver()
		if it.IsLeased {
			it.LeaseDeadline = time.Unix(0, l.Wall).UTC()
		}
	}
	if d := p.st.Scheduled[it.Seq()]; d != nil {
		it.Attempts = d.Attempts
		it.EnqueueAt = time.Unix(0, d.Due).UTC()
	}
}

// listScheduled collects scheduled items in the order of their ids.
func (p *partition) listScheduled(from uint64, c *collector) error {
	var seqs []uint64
	for seq := range p.st.Scheduled {
		if seq >= from {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	_, err := p.getEach(c, seqs, func(seq uint64) uint32 { return p.st.Scheduled[seq].Size })
	return err
}

// collector gathers items up to a number and a size.
type collector struct {
	items    []Item
	limit    int
	bytes    int64
	maxBytes int64
	maxItem  int64 // 0 is any
	large    int64 // bytes of the item that it ended before, since that has more
}

func (c *collector) full() bool {
	return len(c.items) >= c.limit || c.bytes >= c.maxBytes || c.large > 0
}

// isBeyond reports whether an item of so many bytes is not to be read.
func (c *collector) isBeyond(bytes int64) bool { return c.maxItem > 0 && bytes > c.maxItem }

// end ends before an item of so many bytes.
func (c *collector) end(bytes int64) { c.large = bytes }

func (c *collector) add(it Item) {
	if !c.full() {
		c.items = append(c.items, it)
		c.bytes += it.Size()
	}
}

// stats returns the partition's figures.
func (p *partition) stats() PartitionStats {
	st, now := p.st, p.now()
	s := PartitionStats{
		Partition: p.key.Partition, Ready: st.Totals.Ready, Leased: int64(len(st.Leases) - p.move.waiting), Moving: int64(p.move.waiting),
		Scheduled: int64(len(st.Scheduled)), Bytes: st.Totals.Bytes, Ledger: st.Totals.Ledger, Usage: p.ps.Usage(),
		Payload: p.payload,
	}
	created, left := st.Totals.ReadyCreated, int64(0)
	for _, l := range st.Leases {
		if l.IsMoving() {
			continue
		}
		created += l.Created / int64(time.Millisecond)
		if !l.IsOver() {
			left += max(0, l.Deadline-now.Mono)
		}
	}
	if n := s.Ready + s.Leased; n > 0 {
		s.AverageAge = max(0, time.Duration(now.Wall/int64(time.Millisecond)-created/n)*time.Millisecond)
	}
	if s.Leased > 0 {
		s.AverageLeaseLeft = time.Duration(left / s.Leased)
	}
	if now.Untrusted {
		for _, d := range st.Scheduled {
			if d.DueMono == 0 {
				s.HeldForClock++
			}
		}
	}
	return s
}
