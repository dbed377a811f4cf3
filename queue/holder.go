package queue

import "slices"

// hold makes a lease end with its holder, if it has one.
func (g *group) hold(l *Lease, holder uint64) {
	if holder != 0 {
		l.holder = holder
		g.p.held.Store(true)
	}
}

// ReleaseOnExit reports Info.ReleaseOnExit without copying the rest of it.
func (q *Queue) ReleaseOnExit() bool { return q.core.options.Load().releaseOnExit }

// ReleaseHolders ends the leases of holders that are gone, in all queues, and the
// lease requests that wait for them: their
// items are offered again at once, with the attempts counted, or are dead if
// those are used up. Ids of such leases name nothing any more. It does not wait;
// leases that are being given at the same moment may be missed, so whoever leases
// for a holder calls it again if the holder is gone when Lease returns. It may be
// called from any goroutine.
func (s *Service) ReleaseHolders(holders ...uint64) {
	gone := make(map[uint64]struct{}, len(holders))
	for _, h := range holders {
		gone[h] = struct{}{}
	}
	delete(gone, 0) // Nobody's leases stay.
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, q := range s.queues {
		q.core.waiters.cancelHolders(gone)
		for _, p := range q.core.parts {
			if !p.held.Load() {
				continue
			}
			r := newRequest(kindCall)
			r.call = func() error { p.release(gone); return nil }
			p.inbox.put(r) // One that is closed has no leases to end.
		}
	}
}

// release ends the leases of these holders, in the order of their items. It is
// called by the loop, whose next group does the rest, as for leases that lapse.
func (p *partition) release(gone map[uint64]struct{}) {
	var seqs []uint64
	others := false
	for seq, l := range p.st.Leases {
		if l.holder == 0 || l.released || l.IsOver() {
			continue
		}
		if _, ok := gone[l.holder]; !ok {
			others = true
			continue
		}
		l.released = true
		seqs = append(seqs, seq)
	}
	p.held.Store(others)
	slices.Sort(seqs)
	now := p.now().Mono
	for i, seq := range seqs {
		p.leaseDue.push(now-int64(len(seqs)-i), seq)
	}
}
