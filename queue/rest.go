package queue

// isIdle reports whether the store is to be closed as far as it can be: it was
// not used for long, or others wait for the seat.
func (p *partition) isIdle(now Instant) bool {
	if at, wanted := p.seat.due(); wanted && now.Mono >= at {
		return true
	}
	return !p.idle && now.Mono-p.lastUsed >= int64(p.limits.IdleClose)
}

// rest closes the store as far as it can be, and gives the seat up.
func (p *partition) rest() {
	p.idle, p.lazyAt = true, 0
	p.ahead.drop(p.st.Totals.Cursor)
	begin := p.clock.Mono()
	if err := p.ps.Maintain(true); err != nil {
		p.fail(err)
		return
	}
	p.seat.cost.Add(int64(p.clock.Mono() - begin))
	p.seats.leave(&p.seat)
}

// open reserves room in the store, which opens it if need be; then that waits
// for a seat first. The error is one of PartitionStore.Reserve, or of kind
// ErrClosed when the queue is closed meanwhile.
func (p *partition) open(items int, bytes int64) (first uint64, err error) {
	closed := !p.seat.taken
	if !p.seats.take(&p.seat, p.stop) {
		return 0, errQueueClosed()
	}
	begin := p.clock.Mono()
	p.lastUsed, p.idle = int64(begin), false
	first, err = p.ps.Reserve(items, bytes)
	if closed {
		p.seat.cost.Store(int64(p.clock.Mono() - begin))
	}
	return first, err
}
