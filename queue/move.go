package queue

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// Moving items between partitions, to a dead queue or by redrive.
//
// No commit spans two partitions, so a move has four steps: (1) here, the items
// are marked as moving, with their destination, and that is synced; (2) there,
// copies are added, in a commit that remembers what they were called here;
// (3) here, the items are removed; (4) the next batch follows. One batch of a
// partition is under way at a time. After a power cut between the steps the
// marks are still here, the batch is sent again, and the destination knows
// which of it it has.

const (
	maxMove      = 256
	maxMoveBytes = 1 << 20
	// gateWait is how long a move waits that finds the gate shut.
	gateWait = 50 * time.Millisecond
)

// moveState is what a partition knows of its moves.
type moveState struct {
	waiting int // items that are marked
	// recovered is how many of them were marked when the partition was opened;
	// until they are gone the destination must not forget any of them.
	recovered int
	busy      bool
	stuck     bool  // the destination is not there
	retryAt   int64 // boot time
	settled   []chan error
}

// next returns the boot time at which a move is to be tried.
func (m *moveState) next(now Instant) int64 {
	if m.waiting == 0 || m.busy {
		return math.MaxInt64
	}
	return max(m.retryAt, now.Mono)
}

// settle tells those who wait for the moves how they went.
func (m *moveState) settle(err error) {
	for _, c := range m.settled {
		c <- err
	}
	m.settled = nil
}

// tagCode is the short form of a partition's tag that moving items carry.
func tagCode(t Tag) int64 {
	if code := int64(binary.BigEndian.Uint64(t[:8])); code != 0 {
		return code
	}
	return 1
}

// deadCode returns the destination of dead items, 0 if it is not there.
func (g *group) deadCode() int64 {
	if dest := g.p.routes.dead(g.opts.deadQueue); dest != nil && dest != g.p {
		return tagCode(dest.key.Tag)
	}
	return 0
}

// markMoving ends a lease, or takes a ready item, for the item to be moved.
func (g *group) markMoving(l Lease, how, code int64) {
	l.Deadline, l.Wall = how, code
	g.setLease(l)
	g.p.move.waiting++
	g.c.Sync = true
}

// startMove sends the next batch, if there is one and none is under way.
func (p *partition) startMove(now Instant) {
	m := &p.move
	if m.waiting == 0 || m.busy || now.Mono < m.retryAt || p.failed.Load() != nil {
		return
	}
	batch := p.movingBatch()
	if len(batch) == 0 {
		m.waiting = 0
		return
	}
	dest := p.routes.byTag(batch[0].Wall)
	if dest == nil || dest == p {
		p.reroute(batch, now)
		return
	}
	m.stuck = false
	seqs := make([]uint64, len(batch))
	for i := range batch {
		seqs[i] = batch[i].Seq
	}
	items, err := p.ps.Get(seqs)
	if p.mended(err) {
		p.more = true
		return
	}
	if err != nil {
		_ = p.giveUp(err) // Nobody waits for a move.
		return
	}
	if !p.routes.gate.enter() {
		m.retryAt = now.Mono + int64(gateWait)
		return
	}
	a := &arrival{origin: Origin{From: p.key.Tag, Seqs: seqs}, items: items, keep: m.recovered > 0,
		dead: batch[0].Deadline == LeaseDying}
	m.busy = true
	r := newRequest(kindCall)
	r.call = func() error { return dest.accept(a) }
	r.answered = func(err error) {
		back := newRequest(kindCall)
		back.call = func() error { return p.moveDone(batch, err) }
		back.answered = func(error) { p.routes.gate.leave() }
		if !p.inbox.put(back) {
			p.routes.gate.leave()
		}
	}
	if !dest.inbox.put(r) {
		p.routes.gate.leave()
		m.busy = false
		m.retryAt = now.Mono + int64(time.Second)
	}
}

// movingBatch returns the first marked items that have one destination.
func (p *partition) movingBatch() []Lease {
	var all []Lease
	for _, l := range p.st.Leases {
		if l.IsMoving() {
			all = append(all, *l)
		}
	}
	slices.SortFunc(all, func(a, b Lease) int { return cmp.Compare(a.Seq, b.Seq) })
	var bytes int64
	batch := all[:0]
	for i := range all {
		l := all[i]
		if l.Wall != all[0].Wall || l.Deadline != all[0].Deadline {
			continue
		}
		if bytes += int64(l.Size); len(batch) == maxMove || bytes > maxMoveBytes && len(batch) > 0 {
			break
		}
		batch = append(batch, l)
	}
	return batch
}

// reroute decides about items whose destination is not there (any more): by
// redrive, they stay here; dead, they go to the present dead queue, or are
// dropped if there is none now, or wait for it to come.
func (p *partition) reroute(batch []Lease, now Instant) {
	m := &p.move
	err := p.alone(0, 0, func(g *group) error {
		switch code := int64(0); {
		case batch[0].Deadline == LeaseMoving:
			for _, l := range batch {
				l.Deadline = LeaseReturning
				g.setLease(l)
			}
			m.waiting -= len(batch)
		case g.opts.deadQueue == "":
			for _, l := range batch {
				g.removeLeased(l.Seq)
			}
			m.waiting -= len(batch)
			g.countDropped(len(batch), false)
		default:
			if code = g.deadCode(); code == 0 {
				m.retryAt = now.Mono + int64(maxNap)
				if !m.stuck && p.events.MoveStuck != nil {
					p.events.MoveStuck(p.key.Queue, p.key.Partition, g.opts.deadQueue, m.waiting)
				}
				m.stuck = true
				return nil
			}
			for _, l := range batch {
				l.Wall = code
				g.setLease(l)
			}
		}
		return nil
	})
	if err == nil && m.waiting == 0 {
		m.settle(nil)
	}
	p.more = p.more || m.waiting > 0 && now.Mono >= m.retryAt
}

// moveDone ends a move: the batch is at its destination, or err says why not.
func (p *partition) moveDone(batch []Lease, err error) error {
	m := &p.move
	m.busy = false
	if err != nil {
		wait := time.Second
		if errors.Is(err, ErrFull) {
			wait = 5 * time.Second
		}
		m.retryAt = p.now().Mono + int64(wait)
		m.settle(err)
		return nil
	}
	return p.alone(0, 0, func(g *group) error {
		for i := range batch {
			if g.p.st.Leases[batch[i].Seq] == nil {
				continue // Cleared meanwhile.
			}
			g.removeLeased(batch[i].Seq)
			g.p.st.Totals.Ledger.MovedOut++
		}
		m.waiting -= len(batch)
		m.recovered = max(0, m.recovered-len(batch))
		if m.waiting <= 0 {
			m.waiting, m.recovered = 0, 0
			m.settle(nil)
		}
		return nil
	})
}

// arrival is a batch of items that comes from another partition.
type arrival struct {
	origin Origin
	items  []Item
	keep   bool // remember earlier batches of the source too
	dead   bool // as dead letters; else by redrive
}

// accept adds the items of a, but those that an earlier try has brought.
func (p *partition) accept(a *arrival) error {
	known := p.st.LastFrom(a.origin.From)
	var size int64
	for i := range a.items {
		size += a.items[i].Size() + IDLength
	}
	return p.alone(len(a.items), size, func(g *group) error {
		now := time.Unix(0, g.now.Wall).UTC()
		for i := range a.items {
			if slices.Contains(known, a.origin.Seqs[i]) {
				continue
			}
			it := a.items[i]
			it.SourceID = ""
			if a.dead {
				it.SourceID = it.ID.String()
			}
			it.Attempts, it.EnqueueAt = 0, time.Time{}
			it.CreatedAt, it.ExpireDeadline = now, now.Add(g.opts.expireTimeout)
			g.add(&it)
			p.st.Totals.Ledger.MovedIn++
		}
		o := a.origin
		if a.keep {
			o.Seqs = slices.Compact(slices.Sorted(slices.Values(slices.Concat(known, o.Seqs))))
		}
		if len(g.c.Items) > 0 {
			p.st.SetOrigin(o)
			g.c.Origin = &o
		}
		return nil
	})
}

// markRedrive marks up to n ready items to be moved to dest, and returns how
// many. settled gets the outcome of the moves if there are any.
func (p *partition) markRedrive(n int, dest Tag, settled chan error) (marked int, err error) {
	g := p.newGroup(nil)
	err = p.reading(func() error { return p.ahead.fill(p.ps, n, p.limits.GroupBytes, p.st.Next) })
	if err != nil {
		return 0, p.giveUp(err)
	}
	err = p.alone(0, 0, func(g *group) error {
		for marked < n && p.ahead.len() > 0 && p.leasesLeft() > 0 {
			l := p.newLease(p.ahead.take())
			g.unready(&l)
			g.markMoving(l, LeaseMoving, tagCode(dest))
			marked++
		}
		return nil
	})
	if marked > 0 && err == nil {
		p.move.settled = append(p.move.settled, settled)
		p.startMove(g.now)
	}
	return marked, err
}
