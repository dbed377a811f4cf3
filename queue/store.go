package queue

import (
	"context"
	"fmt"
)

// PartitionKey names one partition of one queue.
type PartitionKey struct {
	Queue     string
	Partition int
	// Tag is the mark that the partition was created with.
	Tag Tag
}

// String returns the form used in logs: queue/partition.
func (k PartitionKey) String() string { return fmt.Sprintf("%s/%d", k.Queue, k.Partition) }

// Storage is a place that partitions live in, such as a directory on one
// device. Its methods are safe for use by any goroutine.
type Storage interface {
	// OpenPartition opens the partition, creating it when it is not there, and
	// recovers its state. The caller owns the result and closes it; a partition
	// is open at most once.
	OpenPartition(key PartitionKey) (PartitionStore, error)
	// RemovePartition removes a partition that is not open, with all its items.
	// It is durable when it returns nil; a partition that is not there is no
	// error.
	RemovePartition(key PartitionKey) error
	// Partitions returns the keys of the partitions that are there, as far as
	// they can be told, to find those of which the definition was lost. A zero
	// tag says that any will do.
	Partitions() ([]PartitionKey, error)
	// Close releases the place. All its partitions are closed by then.
	Close() error
}

// PartitionStore keeps the items of one partition. It knows no rules: the
// engine decides, the store writes. All its methods are called from one
// goroutine, the partition's loop, which also owns the State.
//
// A method that reads, Read, Get or FindSource, returns a *Damage when it cannot
// read some items; everything else goes on. After a method has returned any
// other error, but those of kind ErrFull, what is on flash is unknown. The store then refuses everything but Close, with the
// same error; opening the partition again shows what is there.
type PartitionStore interface {
	// State returns the partition's state as it was recovered. The engine and
	// the store share it: the engine changes it, always together with a Commit,
	// and the store reads it (to know what is alive, and for checkpoints).
	State() *State

	// Reserve makes room for a commit of up to so many items and so many bytes
	// (the sum of Item.Size), and returns the sequence number that its first
	// item gets. It is called before the state is changed for that commit. An
	// error of kind ErrFull says that there is no room on the disk; a commit
	// without items (Reserve(0, 0)) still finds room then.
	Reserve(items int, bytes int64) (first uint64, err error)

	// ReserveMove is Reserve for items that are there already, whose copies take
	// the place of what is removed with the same commit. There is room for them on a
	// disk that takes no new items, or those whose leases end could block it for ever.
	ReserveMove(items int, bytes int64) (first uint64, err error)

	// Commit writes c; the State has its changes already. It may keep nothing
	// of c after it returns. It may let Items have their payloads in other memory.
	Commit(c *Commit) error

	// Sync puts on flash what was committed without Sync.
	Sync() error

	// Read returns ready items with sequence numbers of at least from, in
	// order: at most maxItems and about maxBytes of them, at least one if there
	// is any. next is where to go on; next at or beyond State.Next says that
	// there are no more. They come in chunks, none of them empty, as they lie in the
	// store. The chunks are the caller's, and so are the bytes of the items, which
	// may lie in memory that they share: those of a chunk take a quarter of what they
	// hold at least.
	Read(from uint64, maxItems int, maxBytes int64) (chunks Chunks, next uint64, err error)

	// ReadySize returns about how many bytes the first ready item with a sequence
	// number of at least from has, and no less than that if they are more than 256
	// KiB; 0 if there is none. It is asked before large items are read, and does not
	// read the item.
	ReadySize(from uint64) (int64, error)

	// Get returns the items with these sequence numbers, in the same order,
	// ready or not. Each must be alive, or one that an event of the State's
	// EventBook is about. Attempts and the lease are as they were
	// when the item was written; the State knows the present ones.
	Get(seqs []uint64) ([]Item, error)

	// Place says where the commit that Reserve was called for is going to be, for
	// EventBatch.Span and EventBatch.Pos.
	Place() (span, pos uint64)

	// Events returns the events of the run from number from on, a number in the
	// run, in order: those of whole commits, the first of which may begin before
	// from; of about n events or more, unless the run ends. It returns an
	// *EventDamage when the next ones cannot be read.
	Events(run *EventRun, from uint64, n int) ([]StoredEvents, error)

	// HeldForEvents returns how many bytes are occupied for the sake of events
	// alone: by segments of which no item is alive, and that State.HasEvents needs.
	HeldForEvents() int64

	// FindSource returns the sequence number of the stored item with this
	// source id, and whether there is one.
	FindSource(sourceID string) (seq uint64, found bool, err error)

	// Damage returns what opening the partition found to be damaged or missing,
	// once; nil if it found nothing. The State is then as near to the truth as
	// can be had, and its sums need not agree with it.
	Damage() []*Damage

	// SetAside puts the damaged files of a span, or a copy, where they are kept
	// for people to look into, and returns where that is. It is called when the
	// items concerned were removed; those left in the span can still be read.
	SetAside(span uint64, reason string) (path string, err error)

	// Maintain does what the store has to do now and then, in the background
	// where it takes long: removing what is done, closing what is not used. The
	// loop calls it after commits. With idle set, when nothing has been asked of
	// the partition for a while, it lets go of all that costs memory or space that
	// it does not need, and returns when that is done; the next Reserve opens what it
	// needs again.
	Maintain(idle bool) error

	// Yield lets go of what costs memory, since others need it, and returns when that
	// is done. The partition is likely to be used again soon: where it can, the store
	// does so without writing anything, and the next Reserve takes as little.
	Yield() error

	// Usage tells what the partition occupies.
	Usage() Usage

	// Close syncs and closes.
	Close() error
}

// StoredEvents are the events of one commit as they are on flash.
type StoredEvents struct {
	EventBatch
	At   Instant
	Boot string // the boot that At.Mono belongs to
}

// EventDamage is the error of a store that cannot read some events, while the
// rest of the partition can be used. It Is ErrCorrupt.
type EventDamage struct {
	Span        uint64
	First, Last uint64 // numbers of the events concerned
	Path        string // where the damaged file or directory is
	Err         error
}

// Error says which events cannot be read and why.
func (d *EventDamage) Error() string {
	return fmt.Sprintf("events %d to %d cannot be read: %v", d.First, d.Last, d.Err)
}

// Is reports whether target is ErrCorrupt.
func (d *EventDamage) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns the cause.
func (d *EventDamage) Unwrap() error { return d.Err }

// Usage is what a partition occupies and has cost.
type Usage struct {
	DiskBytes int64 // on the device, now
	Written   int64 // bytes given to the device since the partition was opened
	Syncs     int64 // syncs since the partition was opened
	Segments  int
	Open      int // segments that are open
}

// MetaStore keeps the definitions of queues. Its methods are safe for use by
// any goroutine; a definition is on flash when Put or Remove returns nil.
type MetaStore interface {
	Load(ctx context.Context) ([]Definition, error)
	Put(ctx context.Context, d *Definition) error
	Remove(ctx context.Context, queue string) error
	// Damage says, after Load, why definitions may be missing; nil if none can
	// be.
	Damage() error
	// Failure says why nothing can be changed any more, since what is on flash is
	// unknown; nil if it can.
	Failure() error
	Close() error
}

// Definition is all that is stored of a queue beside its items.
type Definition struct {
	Info
	// Places has an entry for each partition: the storage it lives in and its
	// tag. It is never shortened.
	Places []Place
	// Paused: leases are refused until the queue is resumed.
	Paused bool
	// Deleting: the queue is gone for everybody, its partitions may still be
	// there. The service finishes that when it starts.
	Deleting bool
	// Restoring: the queue is being restored from a back-up; what there is of it
	// when the service starts is removed.
	Restoring bool
}

// Place says where a partition is.
type Place struct {
	Storage string // name of the storage in the configuration
	Tag     Tag
}
