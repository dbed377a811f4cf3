package queue

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Outbox gives the events of one partition to whoever delivers them, in order.
// Its methods are safe for use by any goroutine; one deliverer uses it at a
// time. They return errors of kind ErrUnavailable while the partition cannot be
// used, and of kind ErrClosed when the queue was deleted or the service is shut
// down.
type Outbox struct {
	queue *Queue
	p     *partition
}

// OutboxState are the figures of an outbox at one moment.
type OutboxState struct {
	// Epoch is that of the events that are written now.
	Epoch uint64
	// Head is the number of the last event that is on flash; 0 if there was none
	// yet. It never falls.
	Head uint64
	// Delivered is the number of the last event known to be delivered, and Fence
	// what Outbox.Delivered was told with it.
	Delivered, Fence uint64
	// Retained is the number of the oldest event that can still be read; Head+1
	// if there is none.
	Retained uint64
	// Gaps is how many gaps are still to be delivered, Dropped how many events
	// are and were in gaps since the partition was created: Head is Dropped, and
	// what was delivered beside it, and Pending.
	Gaps    int
	Dropped uint64
	// Pending is how many events are to be delivered, without those in gaps.
	Pending uint64
	// Bytes is what is occupied on the device for the sake of events alone.
	Bytes int64
	// Oldest is when the oldest event that is not delivered happened, OldestAge
	// how long ago that is, counted while the device ran. Zero if there is none.
	Oldest    Instant
	OldestAge time.Duration
	// Full: completes are refused now (OutboxOptions.Block).
	Full bool
	// Pressing: the items of the events to be delivered have more than half of
	// OutboxOptions.MaxBytes, so that waiting much longer would cost events.
	Pressing bool
	// Epochs are those that events were written with, with the number of the first
	// event of each, ascending; the oldest are forgotten beyond 256.
	Epochs []EpochStart
}

// EpochStart is the first event of an epoch.
type EpochStart struct {
	Epoch uint64
	First uint64
}

// Queue returns the name of the queue.
func (o *Outbox) Queue() string { return o.p.key.Queue }

// Partition returns the number of the partition in its queue.
func (o *Outbox) Partition() int { return o.p.key.Partition }

// State returns the outbox's figures.
func (o *Outbox) State(ctx context.Context) (OutboxState, error) {
	var s OutboxState
	err := o.queue.call(ctx, o.p, func() error {
		s = o.p.outboxState()
		return nil
	})
	if err != nil {
		return OutboxState{}, err // See Queue.call.
	}
	return s, nil
}

// Read returns events with numbers above after that are on flash, in order: at
// most maxEvents (at least 1) of them, and items of about maxBytes, at least one
// event if there is any. It begins with the oldest that can be read when after
// is before that. Payloads are read only if payload is set; the memory of the
// events is theirs. Reading on where the last call ended is cheap.
func (o *Outbox) Read(ctx context.Context, after uint64, maxEvents int, maxBytes int64, payload bool) ([]Event, error) {
	var events []Event
	err := o.queue.call(ctx, o.p, func() (err error) {
		events, err = o.p.readOutbox(after, max(1, maxEvents), maxBytes, payload)
		return err
	})
	if err != nil {
		return nil, err // See Queue.call.
	}
	return events, nil
}

// Delivered says that the events up to number seq are stored where they were
// delivered to. fence is kept with it, for the caller. It counts from now on, and
// is on flash within OutboxOptions.SaveEvery. A number that is not above an
// earlier one changes nothing but the fence; one beyond the Head is an error of
// kind ErrInvalid.
func (o *Outbox) Delivered(ctx context.Context, seq, fence uint64) error {
	return o.queue.call(ctx, o.p, func() error { return o.p.delivered(seq, fence) })
}

// Outboxes returns the outboxes of all partitions whose events are wanted, by
// queue and partition; none without Config.Outbox. Changed is poked when there
// may be others.
func (s *Service) Outboxes() []*Outbox {
	var all []*Outbox
	s.mu.RLock()
	for _, q := range s.queues {
		for _, p := range q.core.parts {
			if p.outbox != nil {
				all = append(all, &Outbox{queue: q, p: p})
			}
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Outbox) int {
		if c := strings.Compare(a.Queue(), b.Queue()); c != 0 {
			return c
		}
		return a.Partition() - b.Partition()
	})
	return all
}

// Changed returns the channel that gets a value, unless it holds one already,
// when an outbox has events on flash that it did not have, and when there are
// other outboxes. It is always the same, for one receiver.
func (s *Service) Changed() <-chan struct{} { return s.changed }

// poke puts a value into a channel that holds one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
