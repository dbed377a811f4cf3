package queue

import "time"

// Limits are the bounds of the engine. The zero value of a field means its
// default.
type Limits struct {
	// Greatest number of items or ids in one request.
	MaxProduceBatch  int // 1000
	MaxLeaseBatch    int // 1000
	MaxCompleteBatch int // 1000

	// MaxRequests is how many requests of one queue may wait for its loops;
	// further ones get ErrOverloaded. Leases that wait for items do not count.
	MaxRequests int // 1000
	// MaxWaiting is how many lease requests may wait for items, all queues
	// together; further ones get ErrOverloaded.
	MaxWaiting int // 10000
	// MaxLeased and MaxScheduled bound the leases out and the scheduled items
	// of one partition; they cost memory (200 and 120 bytes).
	MaxLeased    int // 20000
	MaxScheduled int // 100000
	// StateBytes bounds the memory that these take, all partitions together; then
	// leases wait, and what would be scheduled gets ErrFull. Each partition may have
	// a few of them in any case. 0 is no bound.
	StateBytes int64 // 0
	// ReadAhead bounds the bytes of ready items that a partition holds in
	// memory ahead of the leases.
	ReadAhead int64 // 1 MiB
	// ReadAheadTotal bounds the same over all partitions; each that is open may have
	// 64 KiB in any case. A larger item is read when it can be delivered.
	ReadAheadTotal int64 // 8 MiB
	// MaxLeaseBytes bounds the bytes of items that one lease request gets, in
	// memory, beyond the first item.
	MaxLeaseBytes int64 // 4 MiB
	// DeliverBytes bounds the bytes of leased items that callers have got and not
	// released (LeaseResult.Release), all queues together; leases then get less,
	// or wait. One item at a time that does not find room may be out beyond it. 0 is
	// no bound, and Release is not needed.
	DeliverBytes int64 // 0
	// MaxListBytes bounds the bytes of items in the answer to a list, beyond
	// the first item.
	MaxListBytes int64 // 16 MiB
	// MaxOpen is how many partitions may have their store open for writing at a
	// time, which is what a partition costs in memory; further ones wait until one
	// of them is done with what it has, in turns. 0 is no bound.
	MaxOpen int // 0
	// GroupBytes is about how many bytes of items one commit takes; a single
	// larger request is a commit of its own.
	GroupBytes int64 // 1 MiB
	// LeaseSync is how long a commit of leases only may stay unsynced.
	LeaseSync time.Duration // 1 s
	// CommitDelay is how long a group gathers after its first request, trading
	// latency for fewer syncs; 0 adds no delay.
	CommitDelay time.Duration // 0
	// IdleClose is after how long without requests a partition's store is told
	// to close what it can.
	IdleClose time.Duration // 60 s
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxProduceBatch, 1000)
	def(&l.MaxLeaseBatch, 1000)
	def(&l.MaxCompleteBatch, 1000)
	def(&l.MaxRequests, 1000)
	def(&l.MaxWaiting, 10000)
	def(&l.MaxLeased, 20000)
	def(&l.MaxScheduled, 100000)
	if l.ReadAhead <= 0 {
		l.ReadAhead = 1 << 20
	}
	if l.ReadAheadTotal <= 0 {
		l.ReadAheadTotal = 8 << 20
	}
	if l.MaxLeaseBytes <= 0 {
		l.MaxLeaseBytes = 4 << 20
	}
	if l.MaxListBytes <= 0 {
		l.MaxListBytes = 16 << 20
	}
	if l.GroupBytes <= 0 {
		l.GroupBytes = 1 << 20
	}
	if l.LeaseSync <= 0 {
		l.LeaseSync = time.Second
	}
	if l.IdleClose <= 0 {
		l.IdleClose = time.Minute
	}
	return l
}
