package queue

import (
	"errors"
	"math"
	"time"
)

// keepEvents holds the outbox within its limits, in upkeep.
func (p *partition) keepEvents(now Instant) {
	b, o := p.st.Events, p.outbox
	if b == nil || p.failed.Load() != nil {
		return
	}
	if o == nil {
		p.endEvents()
		return
	}
	if now.Mono < o.lookAt {
		return
	}
	var err error
	switch held := p.ps.HeldForEvents(); {
	case p.mustTrim(held, now):
		err = p.alone(0, 0, (*group).trimEvents)
	case o.saveAt != 0 && now.Mono >= o.saveAt:
		err = p.saveEvents()
	}
	if err != nil {
		// A full disk; anything else has failed the partition.
		o.lookAt = addSat(now.Mono, int64(time.Second))
		return
	}
	o.full = o.opts.Block && p.ps.HeldForEvents() > o.opts.MaxBytes
}

// mustTrim reports whether trimEvents has something to do.
func (p *partition) mustTrim(held int64, now Instant) bool {
	o, b := p.outbox, p.st.Events
	if r := p.dropNext(); r != nil && (held > o.bound() || p.isAged(r, now)) {
		return true
	}
	if held == 0 {
		return false // What may be released goes with the next commit.
	}
	return o.releasable(b, now) > 0 || p.presses(held, now) && b.frees(b.Delivered)
}

// bound is what may be held until the oldest events are dropped.
func (o *outbox) bound() int64 {
	if o.opts.Block {
		return 2 * o.opts.MaxBytes
	}
	return o.opts.MaxBytes
}

// presses reports whether room is so short that delivered events must go.
func (p *partition) presses(held int64, now Instant) bool {
	return held > p.outbox.opts.MaxBytes || p.fullUntil > now.Mono
}

// isAged reports whether all events of the run are past the greatest age.
func (p *partition) isAged(r *EventRun, now Instant) bool {
	return subSat(addSat(p.st.Events.Base, now.Mono), r.Until) > p.outbox.opts.maxAge()
}

// dropNext returns the oldest run that is not delivered and can be dropped: none
// of its events is on its way. Nil if there is none.
func (p *partition) dropNext() *EventRun {
	b := p.st.Events
	for i := range b.Runs {
		if r := &b.Runs[i]; r.Last() > b.Delivered && max(r.First, b.Delivered+1) > p.outbox.shown && !b.covers(r) {
			return r
		}
	}
	return nil
}

// covers reports whether gaps cover all of the run that is not delivered.
func (b *EventBook) covers(r *EventRun) bool {
	seq := max(r.First, b.Delivered+1)
	for g, _ := b.gap(seq); g != nil && seq <= r.Last(); g, _ = b.gap(seq) {
		seq = g.Last + 1
	}
	return seq > r.Last()
}

// trimEvents releases and drops what the limits ask for, in one commit.
func (g *group) trimEvents() error {
	p, st := g.p, g.p.st
	o, b := p.outbox, st.Events
	m := b.marks()
	m.Released = max(m.Released, o.releasable(b, g.now))
	if p.presses(p.ps.HeldForEvents(), g.now) {
		m.Released = max(m.Released, m.Delivered)
	}
	st.SetEventMarks(m)
	for r := p.dropNext(); r != nil && p.isAged(r, g.now); r = p.dropNext() {
		g.dropRun(r, GapAge)
	}
	for r := p.dropNext(); r != nil && p.ps.HeldForEvents() > o.bound(); r = p.dropNext() {
		g.dropRun(r, GapFull)
	}
	m = b.marks()
	g.c.Marks, g.c.Sync = &m, true
	p.tellGaps(g.c.Gaps)
	return nil
}

// dropRun puts a gap in place of what is not delivered of a run.
func (g *group) dropRun(r *EventRun, reason string) {
	b := g.p.st.Events
	gap := g.newGap(max(r.First, b.Delivered+1), r.Last(), reason)
	if r.First < gap.First {
		b.release(gap.First - 1) // The rest of the run goes with it.
	}
	gap.count(r)
	g.addGap(gap)
}

func (g *group) newGap(first, last uint64, reason string) Gap {
	epoch := uint64(0)
	if g.p.outbox != nil {
		epoch = g.p.outbox.epoch
	} else {
		epoch = newEpoch()
	}
	return Gap{First: first, Last: last, Reason: reason, At: g.now, Boot: g.p.st.Boot, Epoch: epoch}
}

// count counts the events of a run for the gap; of a run that the gap covers in
// part, the types of its share are a guess.
func (g *Gap) count(r *EventRun) {
	from, to := max(g.First, r.First), min(g.Last, r.Last())
	part := Gap{First: r.First, Last: r.Last(), Bytes: r.Bytes}
	for i, c := range part.counts() {
		*c = uint64(r.Count[i])
	}
	part.cut(from)
	for _, c := range part.counts() {
		if over := part.Last - min(to, part.Last); over > 0 {
			n := min(over, *c)
			*c -= n
			part.Last -= n
		}
	}
	g.add(&part)
}

// addGap enters a gap into the book and the commit. One that follows the gap
// before it, for the same reason, makes that longer, unless it is on its way.
func (g *group) addGap(gap Gap) {
	st := g.p.st
	b := st.Events
	if len(b.Gaps) >= maxGaps {
		g.widen(&gap)
	}
	known := uint64(0) // events of the gap that were in gaps already
	for i := range b.Gaps {
		o := &b.Gaps[i]
		joined := o.Last+1 == gap.First && o.Reason == gap.Reason && o.Last > b.Delivered &&
			(g.p.outbox == nil || o.Last > g.p.outbox.shown)
		if joined || o.First >= gap.First && o.Last <= gap.Last {
			known += o.Events()
			gap.First = min(gap.First, o.First)
			gap.add(o)
		}
	}
	gap.fit()
	st.AddGap(gap)
	b.Dropped += gap.Events() - known
	for i := range g.c.Gaps {
		if o := &g.c.Gaps[i]; o.First >= gap.First && o.Last <= gap.Last {
			*o = gap
			return
		}
	}
	g.c.Gaps = append(g.c.Gaps, gap)
}

// widen has the gap begin behind the one before it, so that there are no more
// gaps than before: what lies in between is given up.
func (g *group) widen(gap *Gap) {
	b := g.p.st.Events
	for i := len(b.Gaps) - 1; i >= 0; i-- {
		if o := &b.Gaps[i]; o.Last < gap.First {
			between := Gap{First: o.Last + 1, Last: gap.First - 1}
			for j := range b.Runs {
				if r := &b.Runs[j]; r.First <= between.Last && r.Last() >= between.First {
					between.count(r)
				}
			}
			gap.First, gap.Reason = between.First, o.Reason
			gap.add(&between)
			return
		}
	}
}

// fit makes the counts add up to the number of events.
func (g *Gap) fit() {
	var sum uint64
	for _, c := range g.counts() {
		sum += *c
	}
	n := g.Events()
	if sum < n {
		g.Completed += n - sum
	}
	for _, c := range g.counts() {
		if sum > n {
			less := min(sum-n, *c)
			*c -= less
			sum -= less
		}
	}
}

// tellGaps reports events that are lost.
func (p *partition) tellGaps(gaps []Gap) {
	if p.events.EventsLost == nil {
		return
	}
	for i := range gaps {
		p.events.EventsLost(p.key.Queue, p.key.Partition, gaps[i])
	}
}

// endEvents gives up the events of a queue that is not to be forwarded any more.
// The gap stays, for when it is again.
func (p *partition) endEvents() {
	b := p.st.Events
	if len(b.Runs) == 0 {
		return
	}
	err := p.alone(0, 0, func(g *group) error {
		if pending, _ := b.pending(); pending > 0 {
			gap := g.newGap(b.Delivered+1, b.Head, GapOff)
			for i := range b.Runs {
				if r := &b.Runs[i]; r.Last() >= gap.First {
					gap.count(r)
				}
			}
			b.release(b.Delivered)
			g.addGap(gap)
			p.tellGaps(g.c.Gaps)
		}
		m := b.marks()
		m.Released = m.Delivered
		g.c.Marks, g.c.Sync = &m, true
		return nil
	})
	if err != nil && !errors.Is(err, ErrFull) {
		_ = p.giveUp(err)
	}
}

// nextEvents returns the boot time at which keepEvents may have something to do.
func (p *partition) nextEvents(now Instant) int64 {
	o, b := p.outbox, p.st.Events
	next := int64(math.MaxInt64)
	if o == nil || b == nil {
		return next
	}
	if o.saveAt != 0 {
		next = o.saveAt
	}
	if o.opts.MaxAge > 0 && b.Delivered < b.Head || p.ps.HeldForEvents() > 0 {
		next = min(next, addSat(now.Mono, int64(maxNap)))
	}
	return max(next, o.lookAt)
}

// loseEvents reports what is lost of a queue that was deleted. Its loops have
// ended.
func (q *Queue) loseEvents() {
	for _, p := range q.core.parts {
		if p.outbox == nil || p.st == nil || p.st.Events == nil {
			continue
		}
		b := p.st.Events
		if pending, _ := b.pending(); pending == 0 {
			continue
		}
		gap := Gap{First: b.Delivered + 1, Last: b.Head, Reason: GapDeleted, At: p.now(), Boot: p.st.Boot, Epoch: p.outbox.epoch}
		for i := range b.Runs {
			if r := &b.Runs[i]; r.Last() >= gap.First {
				gap.count(r)
			}
		}
		gap.fit()
		p.tellGaps([]Gap{gap})
	}
}
