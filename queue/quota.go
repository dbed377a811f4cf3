package queue

import "fmt"

// FullPolicy says what a queue does with a produce for which it has no room.
type FullPolicy string

// The policies. The empty one is FullReject.
const (
	// FullReject refuses the produce with ErrFull.
	FullReject FullPolicy = "reject"
	// FullDropOldest drops the oldest ready items until there is room.
	FullDropOldest FullPolicy = "drop-oldest"
)

// quota is how much a queue may hold, all partitions together; 0 is no limit.
type quota struct {
	items, bytes int64
	dropOldest   bool
}

// holdings is what a queue holds, or a produce adds.
type holdings struct{ items, bytes int64 }

// exceeds reports whether h is more than the quota allows.
func (q *quota) exceeds(h holdings) bool {
	return q.items > 0 && h.items > q.items || q.bytes > 0 && h.bytes > q.bytes
}

// limited reports whether there is a limit at all.
func (q *quota) limited() bool { return q.items > 0 || q.bytes > 0 }

// holds returns what the queue holds: exactly of this partition, of the others
// as of their last commits.
func (g *group) holds() holdings {
	p := g.p
	h := holdings{items: p.st.Held(), bytes: p.st.Totals.Bytes}
	for _, o := range p.core.parts {
		if o != p {
			h.items += o.heldItems.Load()
			h.bytes += o.heldBytes.Load()
		}
	}
	return h
}

// makeRoom makes room for a produce within the queue's quota, or returns an
// error of kind ErrFull, of kind ErrInvalid if it would never fit. Nothing is
// dropped then.
func (g *group) makeRoom(r *request) error {
	q := &g.opts.quota
	if !q.limited() || len(r.items) == 0 {
		return nil
	}
	add := holdings{items: int64(len(r.items)), bytes: r.bytes}
	h := g.holds()
	over := holdings{items: h.items + add.items, bytes: h.bytes + add.bytes}
	if !q.exceeds(over) {
		return nil
	}
	switch {
	case q.items > 0 && add.items > q.items:
		return invalid("items is invalid; max_items of the queue is %d but received %d", q.items, add.items)
	case q.bytes > 0 && add.bytes > q.bytes:
		return invalid("items is invalid; max_bytes of the queue is %d but received %d", q.bytes, add.bytes)
	case !q.dropOldest || !g.canDrop(over):
		return g.errQuota(h, over)
	}
	for q.exceeds(over) {
		l := g.p.newLease(g.p.ahead.take())
		over.items--
		over.bytes -= int64(l.Size)
		g.drop(&l)
	}
	return nil
}

// canDrop reports whether dropping the ready items at hand brings the queue
// below its quota.
func (g *group) canDrop(over holdings) bool {
	for it := range g.p.ahead.each {
		if !g.opts.quota.exceeds(over) {
			break
		}
		over.items--
		over.bytes -= it.Size()
	}
	return !g.opts.quota.exceeds(over)
}

// drop gives up a ready item for want of room.
func (g *group) drop(l *Lease) {
	g.event(EventDropped, l)
	g.removeReady(l)
	g.p.st.Totals.Ledger.Dropped++
	g.dropped++
}

// shed drops the oldest ready items when the disk is full and the queue's
// policy is to drop them. The space is free when a segment has nothing left, so
// that this produce is refused still, and one of the next finds room.
func (g *group) shed() {
	if !g.opts.quota.dropOldest {
		return
	}
	for n := 0; n < maxDuty && g.p.ahead.len() > 0; n++ {
		l := g.p.newLease(g.p.ahead.take())
		g.drop(&l)
	}
}

// toDrop returns how many ready items the produces of the group may make the
// queue drop.
func (g *group) toDrop(add holdings) int {
	q := &g.opts.quota
	switch {
	case !q.dropOldest:
		return 0
	case g.full != nil:
		return maxDuty
	case !q.limited():
		return 0
	}
	h := g.holds()
	n := int64(0)
	if q.items > 0 {
		n = max(n, h.items+add.items-q.items)
	}
	if q.bytes > 0 && h.bytes+add.bytes > q.bytes && g.p.st.Totals.Ready > 0 {
		// By the mean size, and a bit more, since sizes differ.
		mean := max(1, h.bytes/max(1, h.items))
		n = max(n, 2*(h.bytes+add.bytes-q.bytes)/mean+16)
	}
	return int(min(n, g.p.st.Totals.Ready, 16*maxDuty))
}

// errQuota says which bound a produce would pass; h is what the queue holds, over
// what it would.
func (g *group) errQuota(h, over holdings) error {
	p, q := g.p, &g.opts.quota
	msg := fmt.Sprintf("queue is full; it holds %d items, max_items is %d; try again later", h.items, q.items)
	if q.items == 0 || over.items <= q.items {
		msg = fmt.Sprintf("queue is full; it holds %d bytes, max_bytes is %d; try again later", h.bytes, q.bytes)
	}
	return &Error{Kind: ErrFull, Op: "produce", Queue: p.key.Queue, Partition: p.key.Partition, Msg: msg,
		Hint: "complete or clear items, or raise the queue's limit"}
}
