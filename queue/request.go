package queue

import (
	"fmt"
	"strings"
	"time"
)

// Bounds of request timeouts. The wire contract fixes them.
const (
	MinRequestTimeout = 10 * time.Millisecond // a timeout must be longer
	MaxRequestTimeout = 15 * time.Minute
)

// ProduceRequest adds items to a queue, all of them to one partition.
type ProduceRequest struct {
	// RequestTimeout is required: more than 10ms, less than 15m. A produce that
	// is already being written is not taken back when it passes.
	RequestTimeout time.Duration
	// Items need SourceID (optional), Encoding, Kind, Reference, Payload and
	// EnqueueAt only; the rest is filled here. The engine owns them from the
	// call on.
	Items []Item
	// More is how many items the request has beside Items. A request with more than
	// Limits.MaxProduceBatch is refused for their number alone, so that nobody has to
	// hold them all to learn that.
	More int
	// Released, if set, is called once, when the engine has let go of the items'
	// memory: before Produce returns, or later if the request timeout or the end of
	// the context came first and the partition had begun with them. It may be called
	// from any goroutine and must not block.
	Released func()
}

// LeaseRequest asks for items.
type LeaseRequest struct {
	// ClientID is unique among the requests that wait on the queue.
	ClientID string
	// BatchSize is the greatest number of items wanted.
	BatchSize int
	// RequestTimeout is how long to wait for the first item: more than 10ms, at
	// most 15m.
	RequestTimeout time.Duration
	// LeaseTimeout replaces the queue's for this lease; 0 is the queue's.
	LeaseTimeout time.Duration
	// Holder names who works on the items, so that Service.ReleaseHolders can end
	// the leases when it is gone; 0 is nobody.
	Holder uint64
}

// LeaseResult is what a lease request got: at least one item, in FIFO order,
// all of one partition.
type LeaseResult struct {
	Partition int
	Items     []Item

	bytes     int64
	outOfTurn bool
	deliver   *delivery
}

// Release says that the items are out of the caller's hands, which matters when
// Limits.DeliverBytes is set. It is called once, by any goroutine; the leases
// are not touched.
func (r *LeaseResult) Release() { r.deliver.release(r.bytes, r.outOfTurn) }

// CompleteRequest completes leased items of one partition, all or none.
type CompleteRequest struct {
	Partition      int
	RequestTimeout time.Duration // more than 0, at most 15m
	IDs            []string
}

// RetryItem is one leased item that is given back.
type RetryItem struct {
	ID string
	// RetryAt is when the item is to be ready again; zero or past is at once.
	RetryAt time.Time
	// Dead sends the item to the dead queue at once, or drops it without one.
	Dead bool
}

// RetryRequest gives leased items of one partition back, all or none.
type RetryRequest struct {
	Partition int
	Items     []RetryItem
}

// ExtendRequest moves the lease deadline of leased items of one partition to a
// lease timeout from now, all or none.
type ExtendRequest struct {
	Partition int
	IDs       []string
	// LeaseTimeout replaces the queue's; 0 is the queue's.
	LeaseTimeout time.Duration
	// Holder is who holds the leases from now on; 0 changes nothing.
	Holder uint64
}

// ClearRequest removes items from all partitions. One of Ready and Scheduled
// is required.
type ClearRequest struct {
	Ready     bool // the items that are ready
	Scheduled bool // the items that are scheduled
	// Destructive removes leased and scheduled items with the ready ones.
	Destructive bool
}

// ListRequest asks for items of one partition in the order of their ids.
type ListRequest struct {
	Partition int
	// Pivot is the least id wanted, which need not exist; empty is the first.
	Pivot string
	// Limit is the greatest number of items; 0 is 1000.
	Limit int
	// MaxBytes is about how many bytes of items are wanted at most, beyond the
	// first item; 0 is Limits.MaxListBytes.
	MaxBytes int64
	// MaxItem keeps an item of more bytes from being read: the list ends before it,
	// and when it is the first the error is a *LargeItem. It need not hold for less
	// than 256 KiB. 0 reads any.
	MaxItem int64
}

// LargeItem is the error of a list that begins with an item of more than
// ListRequest.MaxItem. The caller makes room for it and asks for more.
type LargeItem struct {
	Bytes int64 // about how many it has, and no less
}

// Error says so.
func (e *LargeItem) Error() string {
	return fmt.Sprintf("the first item has %d bytes, which is more than was to be read", e.Bytes)
}

// ImportRequest adds items as they are, with their leases, deadlines and
// attempts, in one commit. Ids and creation times are replaced. An item whose
// source id is stored already is skipped.
type ImportRequest struct {
	Partition int
	Items     []Item
	// Released is as that of ProduceRequest.
	Released func()
}

// DeleteRequest removes items of one partition by id, leased or not. Unknown
// ids are ignored.
type DeleteRequest struct {
	Partition int
	IDs       []string
}

// RedriveRequest moves ready items of this queue, usually a dead queue, to
// another queue, oldest first, with attempts at 0.
type RedriveRequest struct {
	To    string
	Limit int // 0 is all that are ready now
}

// Stats are the exact figures of a queue at one moment for each partition.
type Stats struct {
	LeaseWaiting int // lease requests that wait for items
	InFlight     int // requests inside, waiting leases included
	Partitions   []PartitionStats
}

// PartitionStats are the figures of one partition.
type PartitionStats struct {
	Partition int
	Ready     int64
	Leased    int64
	Scheduled int64
	// Moving is how many items are on their way to another queue; they are
	// held, and neither ready nor leased.
	Moving int64
	// HeldForClock is how many scheduled items wait for a trusted clock.
	HeldForClock int64
	// AverageAge is over ready and leased items; AverageLeaseLeft is the time
	// left until the lease deadlines, which the wire calls leased age.
	AverageAge       time.Duration
	AverageLeaseLeft time.Duration
	Bytes            int64
	Ledger           Ledger
	Usage            Usage
	// Payload is the bytes of payloads that were produced and imported since the
	// partition was opened, as Usage.Written counts what they cost.
	Payload int64
	// Failure is why the partition is not available; nil if it is.
	Failure error
}

func validateTimeout(d time.Duration, exclusiveMax bool, floor bool) error {
	switch {
	case d == 0:
		return invalid("request timeout is required; '5m' is recommended, 15m is the maximum")
	case d > MaxRequestTimeout || exclusiveMax && d == MaxRequestTimeout:
		return invalid("request timeout is invalid; maximum timeout is '15m' but '%s' was requested", d)
	case floor && d <= MinRequestTimeout:
		return invalid("request timeout is invalid; minimum timeout is '10ms' but '%s' was requested", d)
	}
	return nil
}

func (r *ProduceRequest) validate(l *Limits) error {
	if err := validateTimeout(r.RequestTimeout, true, true); err != nil {
		return err
	}
	n := len(r.Items) + r.More
	if n == 0 {
		return invalid("items cannot be empty; at least one item is required")
	}
	if n > l.MaxProduceBatch || r.More > 0 {
		return invalid("items is invalid; max_produce_batch_size is %d but received %d", l.MaxProduceBatch, n)
	}
	return nil
}

func (r *LeaseRequest) validate(l *Limits) error {
	if strings.TrimSpace(r.ClientID) == "" {
		return invalid("invalid client id; cannot be empty")
	}
	if r.BatchSize <= 0 {
		return invalid("invalid batch size; must be greater than zero")
	}
	if r.BatchSize > l.MaxLeaseBatch {
		return invalid("invalid batch size; max_lease_batch_size is %d, but %d was requested", l.MaxLeaseBatch, r.BatchSize)
	}
	if err := validateTimeout(r.RequestTimeout, false, true); err != nil {
		return err
	}
	if r.LeaseTimeout < 0 {
		return invalid("lease timeout is invalid; cannot be negative")
	}
	return nil
}

func (r *CompleteRequest) validate(l *Limits) error {
	if len(r.IDs) == 0 {
		return invalid("ids is invalid; list of ids cannot be empty")
	}
	if len(r.IDs) > l.MaxCompleteBatch {
		return invalid("ids is invalid; max_complete_batch_size is %d but received %d", l.MaxCompleteBatch, len(r.IDs))
	}
	return validateTimeout(max(r.RequestTimeout, 0), false, false)
}

func (r *RetryRequest) validate(l *Limits) error {
	if len(r.Items) == 0 {
		return invalid("items is invalid; list of items cannot be empty")
	}
	if len(r.Items) > l.MaxCompleteBatch {
		return invalid("items is invalid; max_complete_batch_size is %d but received %d", l.MaxCompleteBatch, len(r.Items))
	}
	return nil
}

func (r *ExtendRequest) validate(l *Limits) error {
	if len(r.IDs) == 0 {
		return invalid("ids is invalid; list of ids cannot be empty")
	}
	if len(r.IDs) > l.MaxCompleteBatch {
		return invalid("ids is invalid; max_complete_batch_size is %d but received %d", l.MaxCompleteBatch, len(r.IDs))
	}
	if r.LeaseTimeout < 0 {
		return invalid("lease timeout is invalid; cannot be negative")
	}
	return nil
}

// parseIDs turns the ids of a request into sequence numbers of the partition
// with that tag. A well-formed id of another partition gets the number
// unknownSeq, which is never alive.
func parseIDs(texts []string, tag Tag) ([]uint64, error) {
	seqs := make([]uint64, len(texts))
	for i, text := range texts {
		seq, err := parseSeq(text, tag)
		if err != nil {
			return nil, err
		}
		seqs[i] = seq
	}
	return seqs, nil
}

// unknownSeq is a sequence number that no partition gives out.
const unknownSeq = ^uint64(0)

func parseSeq(text string, tag Tag) (uint64, error) {
	id, err := ParseID(text)
	if err != nil {
		return 0, errMalformedID(text, err)
	}
	if id.Tag() != tag {
		return unknownSeq, nil
	}
	return id.Seq(), nil
}

func errMalformedID(text string, err error) *Error {
	return invalid("invalid storage id; '%s': %s", text, err)
}

func errUnknownID(text string) *Error {
	return notFound("invalid storage id; '%s' does not exist", text)
}

func errItemNotLeased(verb, text string) *Error {
	return &Error{Kind: ErrNotLeased, Msg: fmt.Sprintf("item(s) cannot be %s; '%s' is not marked as leased", verb, text)}
}

func errPartition(p int) *Error {
	return invalid("partition is invalid; '%d' is not a valid partition", p)
}
