package queue

import (
	"iter"
	"time"
)

// Item is a single entry in a queue. Items that come from this package are
// read only: their payload may be shared with others.
type Item struct {
	ID ID
	// SourceID is unique among the items of a partition that are stored; empty
	// means that the item is not deduplicated. For an item of a dead queue that
	// came there by itself it is the id of its last lease in the queue it left.
	SourceID  string
	Encoding  string
	Kind      string
	Reference string
	Payload   []byte

	// Attempts is the number of leases that the item has been given.
	Attempts int32
	// MaxAttempts is stored by import and returned, and has no effect: the
	// limit is the queue's.
	MaxAttempts int32
	IsLeased    bool

	// All times are UTC and of the wall clock, whatever it was worth then.
	CreatedAt      time.Time
	ExpireDeadline time.Time
	// LeaseDeadline is when the lease ends; zero for an item without one.
	LeaseDeadline time.Time
	// EnqueueAt is when a scheduled item becomes due; zero for any other.
	EnqueueAt time.Time

	// Written is when the item got its present place, by both clocks, and
	// SameBoot whether that was in the present run of the kernel. Stores fill
	// them on reading; the engine tells from them how old the item is.
	Written  Instant
	SameBoot bool
}

// Seq returns the item's sequence number in its partition.
func (it *Item) Seq() uint64 { return it.ID.Seq() }

// itemOverhead is what an item costs beside its bytes: the struct, its share
// of the slices it stands in, and the block header on flash.
const itemOverhead = 64

// Size returns the bytes that the item counts for in limits and in memory
// budgets: payload, labels and a fixed overhead.
func (it *Item) Size() int64 {
	return int64(len(it.Payload)+len(it.SourceID)+len(it.Encoding)+len(it.Kind)+len(it.Reference)) + itemOverhead
}

// itemMemory is what an Item takes of memory beside its bytes, and what Size does
// not count of that.
const itemMemory = 272 - itemOverhead

// memory returns about what the item takes of memory, when its bytes are its own.
func (it *Item) memory() int64 { return it.Size() + itemMemory }

// Chunks are items in order, in pieces. None of them is empty.
type Chunks [][]Item

// All yields the items.
func (c Chunks) All() iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		for _, items := range c {
			for i := range items {
				if !yield(&items[i]) {
					return
				}
			}
		}
	}
}

// Instant is one moment by both clocks.
type Instant struct {
	Wall int64 // nanoseconds since 1970 by the wall clock, right or wrong
	Mono int64 // nanoseconds since the kernel started, suspend counted
	// Untrusted: nobody believed the wall clock then (Clock.Trusted), so that
	// in another boot nobody can tell how long ago it was.
	Untrusted bool
}

// distrust is how long to wait before the wall clock is looked at again, in
// nanoseconds.
func (i Instant) distrust() int64 {
	if i.Untrusted {
		return int64(maxNap)
	}
	return 0
}

// Clock is the source of time. It is safe for use by any goroutine.
type Clock interface {
	// Now is the wall clock, for records and for what people see.
	Now() time.Time
	// Mono is the time since the kernel started, with the time spent suspended;
	// it never goes back and knows nothing of steps of the wall clock.
	Mono() time.Duration
	// Boot names this run of the kernel: Mono of two different boots cannot be
	// compared.
	Boot() string
	// Trusted reports whether the wall clock can be believed.
	Trusted() bool
}
