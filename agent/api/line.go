package api

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// line is where large requests wait for room in a budget, in the order in which
// they came: if each took what is free at the moment, or was refused, then a body
// of 5 MB would never find room between small ones that come and go.
//
// A user that has all that it may have holds up itself, not the others behind it.
// The methods are safe for use by any goroutine.
type line struct {
	count   atomic.Int64 // of waiting, read without the lock
	mu      sync.Mutex
	waiting []*place // at most one for each connection
}

// place is one request that waits. Guarded by line.mu, but for done.
type place struct {
	user uint64
	// take takes the room if it is there. full says that the budget lacks it, and
	// not the user's share.
	take func() (full bool, err error)
	err  error         // why there is no room; nil while it has not been its turn to ask
	done chan struct{} // closed when the room was taken
}

// wait returns true as soon as take has taken the room. When that takes too long, or
// ctx ends, the error is what take returned last, or nil if it was never asked, since
// others stood before it all the time.
func (l *line) wait(ctx context.Context, user uint64, most time.Duration, take func() (full bool, err error)) (taken bool, err error) {
	p := &place{user: user, take: take, done: make(chan struct{})}
	l.mu.Lock()
	l.waiting = append(l.waiting, p)
	l.count.Store(int64(len(l.waiting)))
	l.serveLocked()
	l.mu.Unlock()
	select {
	case <-p.done:
		return true, nil // Most find room at once.
	default:
	}
	timer, again := time.NewTimer(most), time.NewTicker(claimFor)
	defer timer.Stop()
	defer again.Stop()
	for over := false; !over; {
		select {
		case <-p.done:
			return true, nil
		case <-again.C:
			l.serve() // A claim that ends by itself gives nothing back.
		case <-timer.C:
			over = true
		case <-ctx.Done():
			over = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, p)
	if i < 0 {
		return true, nil // At the last moment.
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.serveLocked() // Whoever stood behind it may have room.
	return false, p.err
}

// serve lets those in who find room now. It is called when some was given back.
func (l *line) serve() {
	if l.count.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serveLocked()
}

func (l *line) serveLocked() {
	var sated []uint64 // users that have their share
	full := false
	l.waiting = slices.DeleteFunc(l.waiting, func(p *place) bool {
		if full || slices.Contains(sated, p.user) {
			return false
		}
		full, p.err = p.take()
		if p.err != nil {
			sated = append(sated, p.user)
			return false
		}
		close(p.done)
		return true
	})
	l.count.Store(int64(len(l.waiting)))
}
