package queue

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"
)

// maxDuty bounds how many items one commit moves or drops because their time
// has come; what is left follows in the next.
const maxDuty = 1000

// maxDying bounds how many items wait to be moved to a dead queue before more
// are looked for.
const maxDying = 512

// duty is what is due at one moment.
type duty struct {
	lapsed  []uint64 // leases that ended; the items go to the tail
	dead    []uint64 // leases that ended; the items are dead
	due     []uint64 // scheduled items that become ready
	expired []Lease  // ready items past their expire deadline, as leases
	items   int      // what the commit may add by it
	bytes   int64
}

func (d *duty) hasRoom(limit int64) bool {
	return len(d.lapsed)+len(d.dead)+len(d.due)+len(d.expired) < maxDuty && d.bytes < limit
}

func (d *duty) isEmpty() bool {
	return len(d.lapsed)+len(d.dead)+len(d.due)+len(d.expired) == 0
}

// tail returns the items that go to the tail.
func (d *duty) tail() []uint64 { return slices.Concat(d.lapsed, d.due) }

// fullFor is for how long a disk counts as full that was.
const fullFor = time.Second

// postpone puts off what cannot be done while the disk is full.
func (g *group) postpone() {
	g.p.stillUntil = g.now.Mono + int64(fullFor)
	g.keep(0)
}

// keep puts off all moves but the first n.
func (g *group) keep(n int) {
	p, d := g.p, &g.duty
	lapsed := min(n, len(d.lapsed))
	due := min(n-lapsed, len(d.due))
	for _, seq := range d.lapsed[lapsed:] {
		p.leaseDue.push(g.now.Mono, seq)
		d.bytes -= int64(p.st.Leases[seq].Size)
	}
	for _, seq := range d.due[due:] {
		p.watch(seq, p.st.Scheduled[seq])
		d.bytes -= int64(p.st.Scheduled[seq].Size)
	}
	d.lapsed, d.due, d.items = d.lapsed[:lapsed], d.due[:due], lapsed+due
}

// fewer gives up a part of the moves for which there is no room, and reports
// whether any are left: retries are given back later, of what is due the rest
// follows in the next commit.
func (g *group) fewer(moved *holdings) bool {
	d := &g.duty
	switch {
	case moved.items > int64(d.items):
		g.immobile = true
	case d.items > 1:
		g.keep(max(1, d.items/4))
		g.p.more = true
	default:
		return false
	}
	*moved = holdings{items: int64(d.items), bytes: d.bytes}
	return d.items > 0
}

// collectDuty finds out what is due. The error is a *Damage.
func (g *group) collectDuty() error {
	p := g.p
	if g.now.Mono >= p.stillUntil {
		g.collectLeases()
		g.collectDue(&p.schedMono, g.now.Mono, true)
		if !g.now.Untrusted {
			g.collectDue(&p.schedWall, g.now.Wall, false)
		}
	}
	if err := g.collectExpired(); err != nil {
		if errors.As(err, new(*Damage)) {
			return err
		}
		// What cannot be read cannot be leased either; the lease reports it.
		g.forgetExpired()
	}
	d := &g.duty
	if !d.hasRoom(p.limits.GroupBytes) {
		p.more = true
	}
	return nil
}

// forgetExpired leaves the expired items to a later group.
func (g *group) forgetExpired() {
	for i := range g.duty.expired {
		l := &g.duty.expired[i]
		g.p.st.expiresBy(l.Seq, l.Expire, l.ExpireMono)
	}
	g.duty.expired = nil
}

// collectLeases finds the leases that are over.
func (g *group) collectLeases() {
	p, d := g.p, &g.duty
	p.marks++
	for d.hasRoom(p.limits.GroupBytes) {
		top, ok := p.leaseDue.top()
		if !ok || top.at > g.now.Mono {
			return
		}
		p.leaseDue.pop()
		l := p.st.Leases[top.seq]
		if l == nil || l.IsMoving() || l.end() > g.now.Mono || l.mark == p.marks {
			continue // The lease has changed since, or is here twice.
		}
		l.mark = p.marks
		if g.isDead(l) {
			d.dead = append(d.dead, top.seq)
			continue
		}
		d.lapsed = append(d.lapsed, top.seq)
		d.items++
		d.bytes += int64(l.Size)
	}
}

// isDead reports whether an item whose lease is over, or whose expire deadline
// passed during it, is not to be offered again. Of a lease from before a restart
// only the item itself tells when it expires: see applyDuty.
func (g *group) isDead(l *Lease) bool {
	if l.ExpireMono <= g.now.Mono {
		return true
	}
	return l.Deadline != LeaseReturning && g.opts.maxAttempts > 0 && l.Attempts >= g.opts.maxAttempts
}

// isExpired decides by the time since boot where that is possible, else by the
// wall clock if it can be believed.
func (g *group) isExpired(wall, mono int64) bool {
	if mono != math.MaxInt64 {
		return g.now.Mono >= mono
	}
	return g.now.Wall >= wall && !g.now.Untrusted
}

// collectDue finds scheduled items whose time has come by the clock of heap h.
func (g *group) collectDue(h *deadlines, now int64, mono bool) {
	p, d := g.p, &g.duty
	from := len(d.due)
	for d.hasRoom(p.limits.GroupBytes) {
		top, ok := h.top()
		if !ok || top.at > now {
			break
		}
		h.pop()
		s := p.st.Scheduled[top.seq]
		if s == nil || mono && s.DueMono != top.at || !mono && (s.DueMono != 0 || s.Due != top.at) {
			continue
		}
		d.due = append(d.due, top.seq)
		d.items++
		d.bytes += int64(s.Size)
	}
	// Those of one moment keep the order in which they were produced.
	slices.SortStableFunc(d.due[from:], func(a, b uint64) int {
		x, y := p.st.Scheduled[a], p.st.Scheduled[b]
		if c := cmp.Compare(x.Due, y.Due); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
}

// applyDuty does what is due.
func (g *group) applyDuty() {
	d := &g.duty
	for _, seq := range d.dead {
		g.kill(seq, g.p.st.Leases[seq].ExpireMono <= g.now.Mono)
	}
	for _, seq := range d.lapsed {
		if l := g.p.newLease(g.fetched[seq]); g.isExpired(l.Expire, l.ExpireMono) {
			g.kill(seq, true)
			continue
		}
		if g.p.st.Leases[seq].Deadline != LeaseReturning {
			g.p.st.Totals.Ledger.Lapsed++
		}
		g.toTail(seq)
	}
	for _, seq := range d.due {
		g.toTail(seq)
	}
	g.gaps = len(d.expired) > 0
	for i := range d.expired {
		g.killReady(d.expired[i])
	}
}

// kill makes a leased item dead: it is marked to be moved to the dead queue, or
// dropped if there is none.
func (g *group) kill(seq uint64, expired bool) {
	t := EventDead
	if expired {
		t = EventExpired
	}
	g.event(t, g.p.st.Leases[seq])
	if g.opts.deadQueue == "" {
		g.removeLeased(seq)
		g.countDropped(1, expired)
		return
	}
	g.markMoving(*g.p.st.Leases[seq], LeaseDying, g.deadCode())
}

// killReady does the same with a ready item that expired.
func (g *group) killReady(l Lease) {
	g.event(EventExpired, &l)
	if g.opts.deadQueue == "" {
		g.removeReady(&l)
		g.countDropped(1, true)
		return
	}
	g.unready(&l)
	g.markMoving(l, LeaseDying, g.deadCode())
}

// removeReady takes a ready item away.
func (g *group) removeReady(l *Lease) {
	g.unready(l)
	g.p.st.Totals.Bytes -= int64(l.Size)
	g.p.st.Remove(l.Seq)
	g.c.Removed = append(g.c.Removed, l.Seq)
}

func (g *group) countDropped(n int, expired bool) {
	p, why := g.p, "attempts"
	if expired {
		why = "expired"
		p.st.Totals.Ledger.Expired += uint64(n)
	} else {
		p.st.Totals.Ledger.Dead += uint64(n)
	}
	if p.events.Dropped != nil {
		p.events.Dropped(p.key.Queue, p.key.Partition, n, why)
	}
}

// collectExpired looks for ready items past their expire deadline, in the spans
// that may have some.
func (g *group) collectExpired() error {
	p := g.p
	if p.st.Totals.Ready == 0 || g.opts.deadQueue != "" && p.move.waiting >= maxDying {
		return nil
	}
	for i := range p.st.Spans {
		sp := &p.st.Spans[i]
		if !g.spanDue(sp) {
			continue
		}
		if err := g.scanExpired(sp); err != nil {
			return err
		}
	}
	return nil
}

// spanDue reports whether the span may have expired items and may be scanned.
func (g *group) spanDue(sp *SpanInfo) bool {
	if !sp.Ordered && g.now.Mono < sp.scanAt {
		return false
	}
	return g.now.Mono >= sp.MinMono || sp.OldBoot && g.now.Wall >= sp.MinExpire && !g.now.Untrusted
}

// scanExpired collects the expired items of a span and learns the earliest
// deadline of the others.
func (g *group) scanExpired(sp *SpanInfo) error {
	p, d := g.p, &g.duty
	minWall, minMono := int64(math.MaxInt64), int64(math.MaxInt64)
	if !sp.Ordered {
		sp.scanAt = g.now.Mono + int64(time.Second)
	}
	end := sp.last() + 1
	for from := max(p.st.Totals.Cursor, sp.Span<<SpanBits); from < end; {
		chunks, next, err := p.ps.Read(from, 256, 256<<10)
		if err != nil {
			return err
		}
		for it := range chunks.All() {
			l := p.newLease(it)
			switch {
			case it.Seq() >= end:
				from = end
			case !g.isExpired(l.Expire, l.ExpireMono):
				minMono = min(minMono, l.ExpireMono)
				if !sp.OldBoot || l.ExpireMono == math.MaxInt64 {
					minWall = min(minWall, l.Expire)
				}
				if sp.Ordered && !sp.OldBoot {
					// The rest is later in boot time; by the wall clock, which
					// may have been set, it need not be.
					minWall, from = min(minWall, sp.MinExpire), end
				}
			case !d.hasRoom(math.MaxInt64):
				p.more = true
				return nil
			default:
				d.expired = append(d.expired, l)
			}
			if from == end {
				break
			}
		}
		if len(chunks) == 0 || next <= from {
			break
		}
		from = max(from, next)
	}
	sp.MinExpire, sp.MinMono = minWall, minMono
	return nil
}

// nextExpiry returns the boot time at which ready items may expire next.
func (p *partition) nextExpiry(now Instant) int64 {
	next := int64(math.MaxInt64)
	if p.st.Totals.Ready == 0 || p.core.options.Load().deadQueue != "" && p.move.waiting >= maxDying {
		return next
	}
	for i := range p.st.Spans {
		sp := &p.st.Spans[i]
		at := sp.MinMono
		if sp.OldBoot && sp.MinExpire != math.MaxInt64 {
			at = min(at, max(toMono(sp.MinExpire, now), now.Mono+now.distrust()))
		}
		if !sp.Ordered {
			at = max(at, sp.scanAt)
		}
		next = min(next, at)
	}
	return next
}
