package queue

// isIdle reports whether the store is to be closed as far as it can be, since it was
// not used for long.
func (p *partition) isIdle(now Instant) bool {
	return !p.idle && now.Mono-p.lastUsed >= int64(p.limits.IdleClose)
}

// mustYield reports whether others wait for the seat, and may have it now.
func (p *partition) mustYield(now Instant) bool {
	at, wanted := p.seat.due()
	return wanted && now.Mono >= at
}

// rest closes the store as far as it can be, and gives the seat up.
func (p *partition) rest() {
	p.idle = true
	p.letGo(func() error { return p.ps.Maintain(true) })
}

// yield gives the seat up, and with it what the store takes of memory. The store may
// still be closed later.
func (p *partition) yield() { p.letGo(p.ps.Yield) }

// letGo gives the seat up when the store has closed what it can with fn; everything
// is on flash then.
func (p *partition) letGo(fn func() error) {
	p.lazyAt = 0
	p.ahead.drop(p.st.Totals.Cursor)
	begin := p.clock.Mono()
	if err := fn(); err != nil {
		p.fail(err)
		return
	}
	p.seat.cost.Add(int64(p.clock.Mono() - begin))
	if p.seat.taken {
		p.seats.leave(&p.seat)
	}
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
		now := p.clock.Mono()
		p.seat.cost.Store(int64(now - begin))
		p.seat.used.Store(int64(now)) // To open it was no pause.
	}
	return first, err
}
