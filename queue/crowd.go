package queue

import "time"

// Leases that are out and scheduled items are in memory, whatever the number of
// queues: each partition has its own bounds (Limits.MaxLeased, MaxScheduled), and
// all of them share Limits.StateBytes. A partition that has few may have a few
// whatever the others hold, so that every queue goes on being served.

const (
	// leaseMemory is what a lease takes: itself, its place in a map and its deadline
	// in a heap.
	leaseMemory = 200
	// scheduledMemory is the same of a scheduled item.
	scheduledMemory = 120
	// fewHeld is how many leases, and how many scheduled items, every partition may
	// have.
	fewHeld = 16
)

// stateMemory returns what leases and scheduled items of the partition take.
func (p *partition) stateMemory() int64 {
	return int64(len(p.st.Leases))*leaseMemory + int64(len(p.st.Scheduled))*scheduledMemory
}

// chargeState tells the others how much that is.
func (p *partition) chargeState(n int64) {
	p.crowd.used.Add(n - p.charged)
	p.charged = n
}

// mayHold returns how many more of some kind there may be, which take so many
// bytes each, when there are some and the partition's own bound is most.
func (p *partition) mayHold(some, most int, each int64) int {
	if p.crowd.limit == 0 {
		return most - some
	}
	room := p.crowd.limit - p.crowd.used.Load() - (p.stateMemory() - p.charged)
	return min(most-some, max(fewHeld-some, int(room/each)))
}

// leasesLeft returns how many more leases may be given out; it may be below 0.
func (p *partition) leasesLeft() int {
	return p.mayHold(len(p.st.Leases), p.limits.MaxLeased, leaseMemory)
}

// scheduledLeft returns how many more items may be scheduled; it may be below 0.
func (p *partition) scheduledLeft() int {
	return p.mayHold(len(p.st.Scheduled), p.limits.MaxScheduled, scheduledMemory)
}

// isCrowded reports whether items could be leased if other partitions held less.
func (p *partition) isCrowded() bool {
	return p.st.Totals.Ready > 0 && p.leasesLeft() <= 0 && len(p.st.Leases) < p.limits.MaxLeased &&
		p.failed.Load() == nil && !p.core.options.Load().paused
}

// blockedNap is how long a partition waits before it looks again whether items
// that were delivered have been released.
const blockedNap = 20 * time.Millisecond
