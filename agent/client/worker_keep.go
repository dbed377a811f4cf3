package client

import (
	"context"
	"errors"
	"time"
)

const (
	// leastLease is the shortest lease timeout reckoned with: below it an extension would always come late.
	leastLease = 30 * time.Millisecond
	// extendBatch is how many leases one call extends; below what an agent may be configured to take.
	extendBatch = 100
	// idleWake is how often the keeper looks when there is nothing to extend; it is woken before.
	idleWake = time.Hour
)

// hold takes note of items that were leased just now.
func (r *run) hold(items []Item) []*held {
	now := time.Now()
	batch := make([]*held, len(items))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range items {
		timeout := r.LeaseTimeout
		if timeout == 0 {
			// The agent is on this machine and its clock is ours.
			timeout = items[i].LeaseDeadline.Sub(now)
		}
		h := &held{item: items[i], timeout: max(timeout, leastLease)}
		h.renew(now)
		r.held[h] = struct{}{}
		batch[i] = h
		r.wakeKeeper(h.extendAt)
	}
	return batch
}

// renew sets the times of a lease that was given or extended at the moment from. Callers hold run.mu, or are the
// only ones who know h.
func (h *held) renew(from time.Time) {
	h.deadline = from.Add(h.timeout)
	h.extendAt = from.Add(h.timeout / 3)
}

// wakeKeeper sees to it that the keeper looks at the moment t at the latest. Callers hold run.mu.
func (r *run) wakeKeeper(t time.Time) {
	if t.Before(r.wakeAt) {
		r.wakeAt = t
		signal(r.wake)
	}
}

// start takes note of a handler that is about to run, or returns false if the lease is lost already.
func (r *run) start(h *held, cancel context.CancelCauseFunc) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.cancel = cancel
	return !h.lost
}

// forget drops items that are settled.
func (r *run) forget(h *held) {
	r.mu.Lock()
	delete(r.held, h)
	r.mu.Unlock()
	signal(r.settled)
}

// lose takes note that a lease is lost and ends its handler's context.
func (r *run) lose(h *held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loseLocked(h)
}

func (r *run) loseLocked(h *held) {
	h.lost = true
	if h.cancel != nil {
		h.cancel(ErrLeaseLost)
	}
}

func (r *run) isLost(h *held) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return h.lost
}

// keep is the goroutine that extends leases in time, until the context ends.
func (r *run) keep(ctx context.Context) {
	timer := time.NewTimer(idleWake)
	defer timer.Stop()
	for ctx.Err() == nil {
		for _, group := range r.due() {
			r.extend(ctx, group)
		}
		timer.Reset(time.Until(r.nextWake()))
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

// nextWake sets and returns when to look again.
func (r *run) nextWake() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeAt = time.Now().Add(idleWake)
	for h := range r.held {
		if !h.lost && h.extendAt.Before(r.wakeAt) {
			r.wakeAt = h.extendAt
		}
	}
	return r.wakeAt
}

// due returns the leases that have to be extended now or soon, in groups of one partition and timeout. Those that
// have ended are lost.
func (r *run) due() [][]*held {
	type key struct {
		partition int
		timeout   time.Duration
	}
	groups := make(map[key][]*held)
	var full [][]*held
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.held {
		if h.lost {
			continue
		}
		if !now.Before(h.deadline) {
			r.loseLocked(h)
			continue
		}
		// A tenth early is not much more work, and saves calls for leases that were given one after the other.
		if h.extendAt.Sub(now) > h.timeout/10 {
			continue
		}
		k := key{h.item.Partition, h.timeout}
		groups[k] = append(groups[k], h)
		if len(groups[k]) == extendBatch {
			full = append(full, groups[k])
			delete(groups, k)
		}
	}
	for _, g := range groups {
		full = append(full, g)
	}
	return full
}

// extend extends the leases of a group. If one of them is lost the agent refuses all, so they are then asked for
// one by one.
func (r *run) extend(ctx context.Context, group []*held) {
	ids := make([]string, len(group))
	for i, h := range group {
		ids[i] = h.item.ID
	}
	from := time.Now()
	call, cancel := context.WithTimeout(ctx, min(group[0].timeout/3, callTimeout))
	defer cancel()
	extend := r.Client.Extend
	if r.ties.Load() {
		extend = r.Client.Hold // The agent may have been started again, and watch nobody.
	}
	_, err := extend(call, r.Queue, group[0].item.Partition, r.LeaseTimeout, ids...)
	switch {
	case err == nil:
		r.extended(group, from)
	case ctx.Err() != nil:
	case errors.Is(err, ErrLeaseLost) && len(group) > 1:
		for _, h := range group {
			if r.isHeld(h) {
				r.extend(ctx, []*held{h})
			}
		}
	case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrNotFound):
		for _, h := range group {
			r.lose(h)
		}
	default:
		r.report(nil, err)
		r.postpone(group)
	}
}

func (r *run) isHeld(h *held) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.held[h]
	return ok
}

// extended takes note of leases that were extended by a call made at the moment from.
func (r *run) extended(group []*held, from time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range group {
		h.renew(from)
	}
}

// postpone tries again a little later, and when the leases have ended at the latest.
func (r *run) postpone(group []*held) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range group {
		h.extendAt = now.Add(jitter(h.timeout/6, 0.2))
		if h.extendAt.After(h.deadline) {
			h.extendAt = h.deadline
		}
	}
}

// signal puts a value into a channel of capacity 1 unless there is one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
