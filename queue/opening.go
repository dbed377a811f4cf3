package queue

import (
	"context"
	"errors"
	"time"
)

// openStore opens the partition, and tries again until it succeeds or ctx ends.
func (p *partition) openStore(ctx context.Context) bool {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		ps, err := p.openWithRoom(ctx)
		if err == nil {
			p.adopt(ps)
			p.inbox.poke() // There may be some that waited for room.
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		p.report(err)
		if !p.refuse(ctx, wait) {
			return false
		}
	}
}

// tryOpen opens the store when it is the partition's turn.
func (p *partition) tryOpen(ctx context.Context) (PartitionStore, error) {
	select {
	case p.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.opening }()
	return p.storage.OpenPartition(p.key)
}

// openWithRoom opens the store; while the disk has no room for that, it tries again.
func (p *partition) openWithRoom(ctx context.Context) (PartitionStore, error) {
	var room patience
	for {
		ps, err := p.tryOpen(ctx)
		if !errors.Is(err, ErrFull) {
			return ps, err
		}
		if room.looks() && p.failed.Load() == nil {
			p.report(err)
		}
		nap := roomRest
		if p.putOff(p.take(), err) {
			nap = roomNap
		}
		if !p.pause(ctx, nap) {
			return nil, context.Cause(ctx)
		}
	}
}

// pause waits for roomNap, then for as long as d, or until somebody asks for
// something. It reports false when ctx has ended before.
func (p *partition) pause(ctx context.Context, d time.Duration) bool {
	nap, rest := time.NewTimer(roomNap), time.NewTimer(d)
	defer nap.Stop()
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-nap.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-p.inbox.wake:
	case <-rest.C:
	}
	return true
}

// refuse answers what comes with the failure, for as long as wait.
func (p *partition) refuse(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		p.refuseAll(p.take())
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case <-p.inbox.wake:
		}
	}
}
