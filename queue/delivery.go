package queue

import "sync/atomic"

// delivery bounds the bytes of leased items that callers have got and not released
// (Limits.DeliverBytes), all queues together. Without a bound it counts only.
//
// An item that is larger than what is left, or larger than all of it, is leased
// out of turn: one at a time in the whole service, since what it takes was not
// reserved. The right to that is the turn. A partition takes it before such an item
// is read, as far as it knows; it goes with the lease, and comes back when the
// lease is released.
type delivery struct {
	budget
	turn atomic.Bool // somebody has it
}

// takeTurn takes the turn if it is free.
func (d *delivery) takeTurn() bool { return d.turn.CompareAndSwap(false, true) }

// giveTurn gives it back. Whoever has it calls this.
func (d *delivery) giveTurn() { d.turn.Store(false) }

// release takes back what was counted for a waiter's items.
func (d *delivery) release(bytes int64, outOfTurn bool) {
	if outOfTurn {
		d.giveTurn()
		return
	}
	d.used.Add(-bytes)
}

// takeTurn takes the turn for the partition, which may have it already.
func (p *partition) takeTurn() bool {
	if !p.hasTurn {
		p.hasTurn = p.deliver.takeTurn()
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
