package queue

import (
	"fmt"
	"math"
	"time"
)

// EventType says what an event tells of.
type EventType uint8

// The types of events. They are on flash; the numbers never change.
const (
	// EventCompleted: the item was completed.
	EventCompleted EventType = iota
	// EventDead: the item used up its attempts or was given up; it is on its way
	// to the dead queue, or gone where there is none.
	EventDead
	// EventExpired: the item passed its expire deadline; then as EventDead.
	EventExpired
	// EventDropped: the queue's full policy gave the item up.
	EventDropped
	// EventGap stands for events that can no longer be had; see Gap.
	EventGap

	eventTypes = int(EventGap) // the types that are about an item
)

// String returns the word for it: completed, dead, expired, dropped or gap.
func (t EventType) String() string {
	switch t {
	case EventCompleted:
		return "completed"
	case EventDead:
		return "dead"
	case EventExpired:
		return "expired"
	case EventDropped:
		return "dropped"
	case EventGap:
		return "gap"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Event tells what became of an item, or which events are missing.
type Event struct {
	// Epoch is a random number that is new each time the partition is opened; an
	// event keeps the one that it was written with. A gap has that of the opening
	// in which it was made.
	Epoch uint64
	// Seq counts the events of the partition from 1, without gaps, on and on
	// across epochs and restarts. A gap has the number of the last event that it
	// stands for, so that the number after it follows.
	Seq  uint64
	Type EventType
	// At is when it happened, Boot the boot that At.Mono belongs to.
	At   Instant
	Boot string

	// Item is the item as it was then; nothing for a gap. Its Payload is nil
	// unless it was asked for.
	Item Item
	// PayloadSize is the length of the item's payload, in bytes.
	PayloadSize int64
	// ItemLost: the item cannot be read any more, since a file is damaged. Only
	// its ID and its Attempts are known.
	ItemLost bool

	// Gap is set for EventGap only.
	Gap *Gap
}

// Reasons of gaps.
const (
	GapFull        = "outbox-full" // more than OutboxOptions.MaxBytes
	GapAge         = "max-age"     // older than OutboxOptions.MaxAge
	GapQuarantined = "quarantined" // a damaged file
	GapOff         = "outbox-off"  // the queue was no longer to be forwarded
	GapDeleted     = "queue-deleted"
)

// Gap is a range of events that can no longer be had.
type Gap struct {
	First, Last uint64 // numbers of the first and last event
	// What the events told of. They add up to Last-First+1, but where a file was
	// damaged, or a part of the range turned out to be delivered, the share of
	// each is a guess.
	Completed, Dead, Expired, Dropped uint64
	// Bytes is the sum of Item.Size of the items.
	Bytes  int64
	Reason string
	At     Instant // when it was found, or made
	Boot   string
	Epoch  uint64
}

// Events returns how many events the gap stands for.
func (g *Gap) Events() uint64 { return g.Last - g.First + 1 }

// counts returns the numbers by type.
func (g *Gap) counts() [eventTypes]*uint64 {
	return [eventTypes]*uint64{&g.Completed, &g.Dead, &g.Expired, &g.Dropped}
}

// add adds what another gap counts.
func (g *Gap) add(o *Gap) {
	c, d := g.counts(), o.counts()
	for i := range c {
		*c[i] += *d[i]
	}
	g.Bytes += o.Bytes
}

// cut moves the beginning to first. The types of what is cut off are guessed.
func (g *Gap) cut(first uint64) {
	n, all := first-g.First, g.Events()
	if g.Bytes > 0 {
		g.Bytes -= int64(float64(g.Bytes) * (float64(n) / float64(all)))
	}
	g.First = first
	for _, c := range g.counts() {
		take := min(n, *c)
		*c -= take
		n -= take
	}
}

// OutboxOptions say which events are written and how much of them is kept. The
// zero value of a number means its default.
type OutboxOptions struct {
	// Forward says whether the events of a queue are wanted; nil is all queues.
	// It is called when a queue is created or loaded, by any goroutine. Events
	// that a queue has from a time when they were wanted become a gap.
	Forward func(queue string) bool
	// Completed items always have an event; these say which others have one.
	Dead, Expired, Dropped bool

	// MaxBytes bounds what each partition occupies on its device for the sake of
	// events alone: segments of which no item is alive. Segments are some 16 MB,
	// and at least one stays. 64 MiB
	MaxBytes int64
	// MaxAge is after how long, counted while the device runs, events that are
	// not delivered are given up; 0 is never.
	MaxAge time.Duration
	// Block has a complete refused with ErrFull, before anything is changed, when
	// there is no room for events. Without it the oldest events make room and a
	// gap takes their place. Items that die or expire by themselves cannot be
	// refused: the oldest events make room for theirs when they take twice
	// MaxBytes.
	Block bool

	// RetainAge is how long a delivered event can still be read. 5 min
	RetainAge time.Duration
	// RetainBytes is how many bytes of items (Item.Size) the delivered events that
	// can still be read are about, more or less; beyond it the oldest go sooner.
	// They stay where the items were written, cost no memory each, and are the
	// first to go when there is no room. 16 MiB, or a quarter of MaxBytes if that
	// is less
	RetainBytes int64
	// SaveEvery is how long it may take until Outbox.Delivered is on flash when
	// nothing else is written. 5 s
	SaveEvery time.Duration
}

func (o OutboxOptions) withDefaults() *OutboxOptions {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 64 << 20
	}
	if o.RetainAge <= 0 {
		o.RetainAge = 5 * time.Minute
	}
	if o.RetainBytes <= 0 {
		o.RetainBytes = min(16<<20, o.MaxBytes/4)
	}
	if o.SaveEvery <= 0 {
		o.SaveEvery = 5 * time.Second
	}
	return &o
}

// wants reports whether events of that type are written.
func (o *OutboxOptions) wants(t EventType) bool {
	switch t {
	case EventDead:
		return o.Dead
	case EventExpired:
		return o.Expired
	case EventDropped:
		return o.Dropped
	}
	return t == EventCompleted
}

// forwards reports whether the events of the queue are wanted.
func (o *OutboxOptions) forwards(queue string) bool {
	return o.Forward == nil || o.Forward(queue)
}

// maxAge returns MaxAge in nanoseconds, or a time that never comes.
func (o *OutboxOptions) maxAge() int64 {
	if o.MaxAge <= 0 {
		return math.MaxInt64
	}
	return int64(o.MaxAge)
}
