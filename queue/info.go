package queue

import "time"

// Info is what a queue is: its name and its options.
type Info struct {
	// Name is unique by its bytes: at most 512 of them, any but white space and
	// '~'. It never becomes a path.
	Name string
	// DeadQueue is the queue that takes items which are out of attempts or past
	// their expire deadline; empty: they are dropped.
	DeadQueue string
	// Reference is the user's own note, at most 2000 bytes.
	Reference string
	// LeaseTimeout is how long a lease lasts, at most ExpireTimeout.
	LeaseTimeout time.Duration
	// ExpireTimeout is how long after produce an item is kept.
	ExpireTimeout time.Duration
	// MaxAttempts is the number of leases after which an item is dead, at most
	// 65536; 0 is no limit.
	MaxAttempts int
	// RequestedPartitions is the number of partitions asked for.
	RequestedPartitions int
	// MaxItems and MaxBytes bound what the queue holds, all partitions together:
	// ready, leased and scheduled items, and the sum of their Item.Size. 0 is no
	// limit but that of the disk.
	MaxItems int64
	MaxBytes int64
	// FullPolicy says what becomes of a produce beyond them.
	FullPolicy FullPolicy
	// ReleaseOnExit says that leases end with the process that leased, unless a
	// lease says otherwise. It is for whoever knows processes (package agent): the
	// engine goes by LeaseRequest.Holder alone.
	ReleaseOnExit bool
	CreatedAt     time.Time
	UpdatedAt     time.Time
}
