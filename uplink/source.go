package uplink

import (
	"context"

	"github.com/kapetan-io/querator-edge/queue"
)

// Source is where events come from. Its methods are safe for use by any goroutine.
type Source interface {
	// Outboxes returns the outboxes of all partitions that are forwarded.
	Outboxes() []Outbox
	// Changed has room for one value and gets one when any outbox has new events on flash.
	Changed() <-chan struct{}
}

// Outbox is the events of one partition. Its methods are safe for use by any goroutine.
type Outbox interface {
	Queue() string
	Partition() int
	// State says where the outbox stands.
	State(ctx context.Context) (queue.OutboxState, error)
	// Read returns events after a sequence, in order, only what is on flash, at least one if there is one:
	// it goes back to OutboxState.Retained. maxBytes bounds payloads and labels together, but for the first
	// event. A gap stands in the place of events that are gone, with the number of the last of them.
	Read(ctx context.Context, after uint64, maxEvents int, maxBytes int64, payload bool) ([]queue.Event, error)
	// Delivered says that the server has stored all events up to seq, the last of them as message fence of the
	// stream. They are kept for a while; a crash may forget the call. A part of a gap that turns out to be
	// delivered is cut off the gap.
	Delivered(ctx context.Context, seq, fence uint64) error
}
