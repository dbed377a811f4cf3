package queue

import "errors"

// errPanicked is why a partition failed in which a caller's turn ended early.
var errPanicked = errors.New("serving a request panicked")

// put hands a request to the partition and sees to it that it is served (help). It
// returns false when the partition has been closed.
func (p *partition) put(r *request) bool {
	if !p.inbox.add(r) {
		return false
	}
	p.help(nil)
	return true
}

// help sees to it that what is in the inbox is served: by the caller itself if nobody is
// at it, since that saves waking the loop and being woken by it, which costs as much as a
// third of a sync on small machines. It is told by early, unless that is nil, of leases
// that are answered before the sync of the commit that they are in.
//
// Requests that come in the meantime are left to the loop, so that a caller
// serves one group and no more.
func (p *partition) help(early func()) {
	if p.limits.CommitDelay > 0 || !p.tryTurn() {
		p.inbox.poke()
		return
	}
	if !p.isSeated() {
		// Only the loop waits for a seat: the caller may be another loop, which others
		// wait for.
		p.turn <- struct{}{}
		p.inbox.poke()
		return
	}
	served := false
	p.early = early
	defer func() {
		if !served {
			p.fail(errPanicked)
		}
		p.early = nil
		p.turn <- struct{}{}
	}()
	p.serve(p.take())
	served = true
	if !p.inbox.isEmpty() || addSat(p.now().Mono, int64(p.untilNext())) < p.awake {
		p.inbox.poke()
	}
}

// tryTurn takes the turn if nobody has it.
func (p *partition) tryTurn() bool {
	select {
	case <-p.turn:
		return true
	default:
		return false
	}
}
