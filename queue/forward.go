package queue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// outbox is what the loop of a partition knows of its events beside the state.
// It belongs to the loop.
type outbox struct {
	opts    *OutboxOptions
	changed chan struct{}

	epoch  uint64   // of the events that are written now
	synced uint64   // events up to this one are on flash
	shown  uint64   // the last event that Read gave; it may be on its way
	passed []passed // when events were delivered, ascending
	saveAt int64    // boot time at which the marks must be written; 0 is never
	lookAt int64    // boot time before which the limits are not looked at again
	full   bool     // completes are refused
	lost   uint64   // span of which damage to items was reported last
}

// passed says when Delivered passed a number, in boot time.
type passed struct {
	seq uint64
	at  int64
}

func newOutbox(opts *OutboxOptions, changed chan struct{}) *outbox {
	return &outbox{opts: opts, changed: changed}
}

// newEpoch returns a random number that is not 0.
func newEpoch() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // Never fails (crypto/rand).
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// adopt begins anew with the book of a partition that was opened: all of it is
// on flash.
func (o *outbox) adopt(b *EventBook, now Instant) {
	*o = outbox{opts: o.opts, changed: o.changed, epoch: newEpoch()}
	if b != nil {
		o.synced = b.Head
		o.passed = []passed{{seq: b.Delivered, at: now.Mono}}
		poke(o.changed)
	}
}

// event has an event written with the commit, about an item that is leased, or
// as if it were.
func (g *group) event(t EventType, l *Lease) {
	o := g.p.outbox
	if o == nil || !o.opts.wants(t) {
		return
	}
	if g.c.Events == nil {
		g.c.Events = &EventBatch{Epoch: o.epoch, First: 1, seqs: make([]uint64, 0, g.eventsAhead())}
		if b := g.p.st.Events; b != nil {
			g.c.Events.First = b.Head + 1
		}
	}
	g.c.Events.add(t, l.Seq, l.Attempts)
	g.c.Events.Bytes += int64(l.Size)
}

// eventsAhead returns how many events the completes of the group are going to have
// at most.
func (g *group) eventsAhead() int {
	n := 1
	for _, r := range g.reqs {
		if r.kind == kindComplete {
			n += len(r.seqs)
		}
	}
	return n
}

// eventRoom returns an error of kind ErrFull when a request would have events of
// that type written for which there is no room.
func (g *group) eventRoom(op string, t EventType) error {
	o := g.p.outbox
	if o == nil || !o.full || !o.opts.wants(t) {
		return nil
	}
	return &Error{Kind: ErrFull, Op: op, Queue: g.p.key.Queue, Partition: g.p.key.Partition,
		Msg: fmt.Sprintf("outbox is full; events that are not delivered take %d bytes, max-bytes is %d; try again later",
			g.p.ps.HeldForEvents(), o.opts.MaxBytes),
		Hint: "connect the uplink, raise its max-bytes, or let it drop the oldest events"}
}

// sealEvents completes the part of the commit that is about events.
func (g *group) sealEvents() {
	p, b := g.p, g.p.st.Events
	if o := p.outbox; o != nil && b != nil {
		if g.c.Marks == nil && (o.saveAt != 0 || g.c.Sync && o.releasable(b, g.now) > 0) {
			m := b.marks()
			if g.c.Sync {
				m.Released = max(m.Released, o.releasable(b, g.now))
			}
			g.c.Marks = &m
		}
		o.saveAt = 0
	}
	if e := g.c.Events; e != nil {
		e.Span, e.Pos = p.ps.Place()
		g.c.Sync = true // They are read when they are on flash only.
	}
	p.st.applyEvents(&g.c)
}

// tellEvents lets the deliverer know of events that have come to flash with the
// commit.
func (g *group) tellEvents() {
	o := g.p.outbox
	if o == nil || g.c.Events == nil && len(g.c.Gaps) == 0 {
		return
	}
	o.synced = g.p.st.Events.Head
	poke(o.changed)
}

// delivered takes note of what was delivered. It runs in the loop.
func (p *partition) delivered(seq, fence uint64) error {
	o, b, now := p.outbox, p.st.Events, p.now()
	switch {
	case seq > o.synced:
		return &Error{Kind: ErrInvalid, Op: "delivered", Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: fmt.Sprintf("event %d cannot have been delivered; the last one is %d", seq, o.synced)}
	case b == nil || seq <= b.Delivered && fence == b.Fence:
		return nil
	case seq > b.Delivered:
		if gap, _ := b.gap(seq); gap != nil && gap.Last > seq {
			return p.deliveredInGap(*gap, seq, fence)
		}
		o.pass(seq, now)
	}
	b.Delivered, b.Fence = max(b.Delivered, seq), fence
	if o.saveAt == 0 {
		o.saveAt = addSat(now.Mono, int64(o.opts.SaveEvery))
	}
	return nil
}

// deliveredInGap ends a gap's beginning that turned out to be delivered before
// it was made.
func (p *partition) deliveredInGap(gap Gap, seq, fence uint64) error {
	return p.alone(0, 0, func(g *group) error {
		m := p.st.Events.marks()
		m.Delivered, m.Fence = seq, fence
		m.Dropped -= min(m.Dropped, seq+1-gap.First)
		gap.cut(seq + 1)
		g.c.Marks, g.c.Gaps, g.c.Sync = &m, []Gap{gap}, true
		p.outbox.pass(seq, g.now)
		return nil
	})
}

// passSteps is how many steps RetainAge is told in.
const passSteps = 32

// pass takes note of when the events up to seq were delivered.
func (o *outbox) pass(seq uint64, now Instant) {
	n := len(o.passed)
	if n > 1 && now.Mono-o.passed[n-2].at < int64(o.opts.RetainAge)/passSteps {
		o.passed = o.passed[:n-1]
	}
	o.passed = append(o.passed, passed{seq: seq, at: now.Mono})
}

// releasable returns the number of the last event that need not be readable any
// more, 0 if nothing is gained by that.
func (o *outbox) releasable(b *EventBook, now Instant) uint64 {
	var to uint64
	n := 0
	for i := range o.passed {
		if o.passed[i].at > now.Mono-int64(o.opts.RetainAge) {
			break
		}
		to, n = o.passed[i].seq, i
	}
	o.passed = o.passed[n:]
	// Beyond RetainBytes the oldest go sooner.
	var bytes int64
	for i := len(b.Runs) - 1; i >= 0 && b.Runs[i].Last() > to; i-- {
		r := &b.Runs[i]
		if r.Last() <= b.Delivered && bytes >= o.opts.RetainBytes {
			to = r.Last()
			break
		}
		if r.First <= b.Delivered {
			bytes += r.Bytes
		}
	}
	if !b.frees(to) {
		return 0
	}
	return to
}

// frees reports whether a run or a gap is forgotten when the events up to number
// to are.
func (b *EventBook) frees(to uint64) bool {
	return len(b.Runs) > 0 && b.Runs[0].Last() <= to || len(b.Gaps) > 0 && b.Gaps[0].Last <= to
}

// outboxState returns the figures of the outbox.
func (p *partition) outboxState() OutboxState {
	o, b := p.outbox, p.st.Events
	s := OutboxState{Retained: 1}
	if o != nil {
		s.Epoch, s.Head, s.Full, s.Retained = o.epoch, o.synced, o.full, o.synced+1
	}
	if b == nil {
		return s
	}
	s.Head = b.Head
	s.Delivered, s.Fence, s.Retained, s.Dropped = b.Delivered, b.Fence, b.first(), b.Dropped
	s.Pending, s.Gaps = b.pending()
	s.Bytes = p.ps.HeldForEvents()
	s.Epochs = append(s.Epochs, b.Epochs...)
	s.Pressing = o != nil && b.waiting() > o.opts.MaxBytes/2
	for i := range b.Runs {
		if r := &b.Runs[i]; r.Last() > b.Delivered {
			s.Oldest = r.At
			s.OldestAge = time.Duration(subSat(addSat(b.Base, p.now().Mono), r.Since))
			break
		}
	}
	return s
}

// saveEvents writes the marks that are not on flash.
func (p *partition) saveEvents() error {
	return p.alone(0, 0, func(g *group) error {
		m := p.st.Events.marks()
		g.c.Marks = &m
		return nil
	})
}

// shutEvents writes the marks before the partition is closed.
func (p *partition) shutEvents() {
	if p.outbox == nil || p.outbox.saveAt == 0 || p.failed.Load() != nil {
		return
	}
	if err := p.saveEvents(); err != nil && !errors.Is(err, ErrFull) {
		_ = p.giveUp(err) // What was delivered is found out again.
	}
}
