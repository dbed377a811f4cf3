package queue

import "sync/atomic"

// delivery bounds the bytes of leased items that callers have got and not released
// (Limits.DeliverBytes), all queues together. Without a bound it counts only.
//
// An item that is larger than what is left, or larger than all of it, is leased
// out of turn: one at a time in the whole service, since what it takes was not
// reserved. The right to that is the turn. A partition takes it before such an item
// is read, as far as it knows; it goes with the lease, and comes back when the
// lease is released. It takes room for the item of what Config.Large has.
type delivery struct {
	budget
	turn  atomic.Bool // somebody has it
	large LargeRoom   // nil has room for anything
	bytes int64       // what the turn has taken of it; of whoever has the turn
}

// LargeRoom is memory for items that are too large for Limits.DeliverBytes, shared
// with whatever else is large. The engine holds one such item at a time. Its methods
// are called from any goroutine and must not block.
type LargeRoom interface {
	// TakeLarge takes room for an item of about bytes, and reports whether there is
	// some. Whoever gets none asks again in 20 ms, for as long as it wants some.
	TakeLarge(bytes int64) bool
	// GiveLarge gives it back.
	GiveLarge(bytes int64)
}

// takeTurn takes the turn for an item of so many bytes if it is free.
func (d *delivery) takeTurn(bytes int64) bool {
	if !d.turn.CompareAndSwap(false, true) {
		return false
	}
	if d.large != nil && !d.large.TakeLarge(bytes) {
		d.turn.Store(false)
		return false
	}
	d.bytes = bytes
	return true
}

// giveTurn gives it back. Whoever has it calls this.
func (d *delivery) giveTurn() {
	if d.large != nil {
		d.large.GiveLarge(d.bytes)
	}
	d.turn.Store(false)
}

// release takes back what was counted for a waiter's items.
func (d *delivery) release(bytes int64, outOfTurn bool) {
	if outOfTurn {
		d.giveTurn()
		return
	}
	d.used.Add(-bytes)
}

// takeTurn takes the turn for the partition, which may have it already, for an item
// of so many bytes.
func (p *partition) takeTurn(bytes int64) bool {
	if !p.hasTurn {
		p.hasTurn = p.deliver.takeTurn(bytes)
	}
	return p.hasTurn
}

// returnTurn gives the turn back if no lease took it, and the item that was read by
// its right.
func (p *partition) returnTurn() {
	if !p.hasTurn {
		return
	}
	p.hasTurn = false
	p.deliver.giveTurn()
	if it := p.ahead.first(); it != nil && it.memory() > leastAhead {
		p.ahead.drop(it.Seq())
	}
}
