package queue

import "math"

// Commit is one change of a partition: what is added and what happens to the
// items that are there. It is applied wholly or not at all. The engine builds
// it; a store writes Items and the rest to flash, and builds the same Commit
// again from flash (then with Added in place of Items) when it recovers, to
// replay it on the State of its last checkpoint.
//
// The parts are applied in this order: Added, Leases, Schedules, Removed,
// Marks, Gaps, Events, Feeds, Totals.
type Commit struct {
	// At is when the commit was made. The boot times in it are of the boot that
	// State.Boot names.
	At Instant

	// Items are added at the tail, with consecutive sequence numbers from the
	// one that Reserve returned. They are ready unless they occur in Leases or
	// Schedules too.
	Items []Item
	// Added sums up Items.
	Added Added

	// Leases are the leases that begin and those that are extended. An item
	// that was ready or scheduled becomes leased; the lease of one that was
	// leased is replaced.
	Leases []Lease
	// Schedules are the items that become scheduled, under the id they have.
	Schedules []Scheduled
	// Removed are sequence numbers of items that are gone.
	Removed []uint64

	// Origin is set when Items came from another partition.
	Origin *Origin

	// Events are what the deliverer of events is to learn of the commit; nil if
	// nothing. A store that reads the commit back fills in where it found them.
	Events *EventBatch
	// Marks are those of the State's EventBook after the commit, nil if they have
	// not changed; Gaps are new in it.
	Marks *EventMarks
	Gaps  []Gap

	// Feeds are the marks of feeds that are moved, usually because Items came from
	// one.
	Feeds []FeedMark

	// Totals are the partition's totals after the commit, not differences, so
	// that a replay can be checked and nothing has to be added up again.
	Totals Totals

	// Sync asks that the commit, and every one before it, is on flash when
	// Commit returns nil. Without it the commit is in the kernel's hands only:
	// it survives the end of the process, not a power cut.
	Sync bool
}

// Added sums up the items that a commit adds.
type Added struct {
	First uint64 // sequence number of the first
	Count uint32
	// MinExpire is the earliest expire deadline of the items that are not
	// scheduled (wall clock, nanoseconds since 1970); math.MaxInt64 if none.
	MinExpire int64
	// MaxExpire is the latest; math.MinInt64 if none.
	MaxExpire int64
	// Ordered says that the expire deadlines never fall from one item to the
	// next.
	Ordered bool
}

// Lease is the exclusive right to work on an item until its deadline.
type Lease struct {
	Seq uint64
	// Deadline is the end of the lease in boot time (nanoseconds); it decides.
	// Values below 0 say that the lease is over and what is to become of the
	// item: LeaseDying, LeaseLapsed, LeaseMoving, LeaseReturning.
	Deadline int64
	// Wall is the same moment by the wall clock of the moment the lease was
	// given, in nanoseconds since 1970; it is shown, and decides nothing. For
	// LeaseDying and LeaseMoving it is the destination instead: the first eight
	// bytes of the tag of the partition that the item goes to.
	Wall     int64
	Attempts int32

	// The rest is a copy of facts of the item that the engine wants at hand. It
	// is in checkpoints, not in commit records; a store that recovers a lease
	// from a record fills it from the item.
	Created int64  // CreatedAt, nanoseconds since 1970
	Expire  int64  // ExpireDeadline, nanoseconds since 1970
	Size    uint32 // Item.Size
	// ExpireMono is Expire in boot time, or math.MaxInt64 when only the wall
	// clock can tell. It is not stored; the engine fills it.
	ExpireMono int64

	// mark is the engine's, to find an item that one request names twice.
	mark uint64
	// holder is who ends the lease by ending, 0 for nobody; released says that it
	// has ended. They are the engine's: after a restart nobody watches the holder.
	holder   uint64
	released bool
}

// end returns the boot time at which the lease is over.
func (l *Lease) end() int64 {
	if l.released {
		return 0
	}
	return min(l.Deadline, l.ExpireMono)
}

// Special values of Lease.Deadline. They are on flash, so that a power cut
// cannot make the engine change its mind between the two halves of a move.
const (
	// LeaseDying: the item is on its way to a dead queue.
	LeaseDying = math.MinInt64
	// LeaseLapsed: the lease ended with the boot that it was given in.
	LeaseLapsed = math.MinInt64 + 1
	// LeaseMoving: the item is on its way to another queue, by redrive.
	LeaseMoving = math.MinInt64 + 2
	// LeaseReturning: a retry gave the item back; it goes to the tail whatever
	// its attempts.
	LeaseReturning = math.MinInt64 + 3
)

// IsMoving reports whether the item is on its way to another partition, and
// belongs to no lease any more.
func (l *Lease) IsMoving() bool { return l.Deadline == LeaseDying || l.Deadline == LeaseMoving }

// IsOver reports whether the lease is over although the item is still in its
// old place.
func (l *Lease) IsOver() bool { return l.Deadline < 0 }

// Scheduled is an item that cannot be leased before it is due.
type Scheduled struct {
	Seq uint64
	// Due is the moment by the wall clock, nanoseconds since 1970.
	Due int64
	// DueMono is the moment in boot time when a delay was meant (a retry in so
	// many seconds), 0 when a time of day was meant. It holds in its own boot
	// only; after that Due decides.
	DueMono  int64
	Attempts int32
	Size     uint32
}

// Origin tells where the items of a commit came from, so that a move that a
// power cut interrupted between the two partitions is not done twice: each
// source has at most one move under way, so the last one is all that has to be
// remembered.
type Origin struct {
	From Tag
	Seqs []uint64 // what the items were called there
}

// Totals are the sums that a partition keeps.
type Totals struct {
	// Cursor: every item below it is leased, scheduled or gone.
	Cursor uint64
	// Ready is the number of items that can be leased; ReadyCreated the sum of
	// their CreatedAt in milliseconds since 1970, for the average age.
	Ready        int64
	ReadyCreated int64
	// Bytes is the sum of Item.Size over all items held.
	Bytes  int64
	Ledger Ledger
}
