package queuetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// told is what the events of a queue have to tell of, and what they told.
type told struct {
	completed []int       // items that were completed, in order
	deaths    map[int]int // how often an item died

	seenCompleted int         // so many of completed had their event
	seenDeaths    map[int]int // events of items that died
	events        []queue.Event
}

func (t *told) died(n int) {
	if t.deaths == nil {
		t.deaths, t.seenDeaths = make(map[int]int), make(map[int]int)
	}
	t.deaths[n]++
}

// read is the number of the last event that was read.
func (t *told) read() uint64 { return uint64(len(t.events)) }

// see enters the next event.
func (t *told) see(e *queue.Event) error {
	if e.Seq != t.read()+1 {
		return fmt.Errorf("event %d follows event %d", e.Seq, t.read())
	}
	if e.ItemLost || e.Gap != nil {
		return fmt.Errorf("event %d: %s, item lost %t", e.Seq, e.Type, e.ItemLost)
	}
	n, err := numberOf(&e.Item)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	switch e.Type {
	case queue.EventCompleted:
		if t.seenCompleted >= len(t.completed) || t.completed[t.seenCompleted] != n {
			return fmt.Errorf("event %d says that item %d was completed; %d of %v have been told of", e.Seq, n, t.seenCompleted, t.completed)
		}
		t.seenCompleted++
	case queue.EventDead, queue.EventExpired:
		if t.seenDeaths[n]++; t.seenDeaths[n] > t.deaths[n] {
			return fmt.Errorf("event %d says that item %d is %s; it died %d times", e.Seq, n, e.Type, t.deaths[n])
		}
	default:
		return fmt.Errorf("event %d is of type %s", e.Seq, e.Type)
	}
	t.events = append(t.events, *e)
	return nil
}

// end sees whether everything was told.
func (t *told) end() error {
	if t.seenCompleted != len(t.completed) {
		return fmt.Errorf("%d items were completed, %d events say so", len(t.completed), t.seenCompleted)
	}
	if !maps.Equal(t.deaths, t.seenDeaths) {
		return fmt.Errorf("items died so often: %v; events say %v", t.deaths, t.seenDeaths)
	}
	return nil
}

// outboxOf returns the outbox of the queue's only partition.
func (e *engine) outboxOf(name string) *queue.Outbox {
	e.t.Helper()
	for _, o := range e.svc.Outboxes() {
		if o.Queue() == name {
			return o
		}
	}
	e.t.Fatalf("queue %q has no outbox", name)
	return nil
}

// lookAtEvents reads the new events of the queue, and compares them with what
// became of items in the model. Now and then some are delivered, and old ones
// are read again.
func (r *runner) lookAtEvents(q *modelQueue) {
	r.t.Helper()
	ctx, o := r.t.Context(), r.outboxOf(q.name)
	for {
		events, err := o.Read(ctx, q.told.read(), 1+r.rng.IntN(50), int64(r.rng.IntN(5000)), true)
		r.check("read events", err, nil)
		if len(events) == 0 {
			break
		}
		for i := range events {
			if err := q.told.see(&events[i]); err != nil {
				r.fatalf("queue %q: %v", q.name, err)
			}
		}
	}
	if err := q.told.end(); err != nil {
		r.fatalf("queue %q: %v", q.name, err)
	}
	s, err := o.State(ctx)
	r.check("outbox state", err, nil)
	if s.Head != q.told.read() || s.Delivered > s.Head || s.Retained > s.Delivered+1 || s.Pending != s.Head-s.Delivered || s.Dropped != 0 {
		r.fatalf("queue %q: %d events were read, the outbox says %+v", q.name, q.told.read(), s)
	}
	switch r.rng.IntN(10) {
	case 0:
		r.readAgain(q, o, &s)
	case 1, 2, 3:
		seq := s.Delivered + r.rng.Uint64N(s.Head-s.Delivered+1)
		r.note("events of %s up to %d of %d delivered", q.name, seq, s.Head)
		r.check("delivered", o.Delivered(ctx, seq, seq*7), nil)
	}
}

// readAgain reads all events that can still be read.
func (r *runner) readAgain(q *modelQueue, o *queue.Outbox, s *queue.OutboxState) {
	r.t.Helper()
	for seq := s.Retained; seq <= s.Head; {
		events, err := o.Read(r.t.Context(), seq-1, 7, 1<<20, true)
		r.check("read events again", err, nil)
		if len(events) == 0 || events[0].Seq != seq {
			r.fatalf("queue %q: %d events from %d on", q.name, len(events), seq)
		}
		for i := range events {
			if err := sameEvent(&events[i], &q.told.events[seq-1]); err != nil {
				r.fatalf("queue %q: event %d: %v", q.name, seq, err)
			}
			seq++
		}
	}
	if s.Delivered > 0 && s.Fence != s.Delivered*7 {
		r.fatalf("queue %q: fence is %d after %d were delivered", q.name, s.Fence, s.Delivered)
	}
}

// sameEvent compares an event with what it was when it was read first.
func sameEvent(got, want *queue.Event) error {
	a, b := *got, *want
	for _, e := range []*queue.Event{&a, &b} {
		e.Item.SameBoot, e.Item.Written = false, queue.Instant{}
		if len(e.Item.Payload) == 0 {
			e.Item.Payload = nil
		}
	}
	if !slices.Equal(a.Item.Payload, b.Item.Payload) {
		return fmt.Errorf("payload %q, was %q", a.Item.Payload, b.Item.Payload)
	}
	a.Item.Payload, b.Item.Payload = nil, nil
	if x, y := fmt.Sprintf("%+v", withoutTimes(a)), fmt.Sprintf("%+v", withoutTimes(b)); x != y {
		return fmt.Errorf("it is\n%s, was\n%s", x, y)
	}
	for i, t := range times(&a.Item) {
		if !t.Equal(*times(&b.Item)[i]) {
			return fmt.Errorf("time %d is %v, was %v", i, t, times(&b.Item)[i])
		}
	}
	return nil
}

func times(it *queue.Item) []*time.Time {
	return []*time.Time{&it.CreatedAt, &it.ExpireDeadline, &it.LeaseDeadline, &it.EnqueueAt}
}

func withoutTimes(e queue.Event) queue.Event {
	for _, t := range times(&e.Item) {
		*t = time.Time{}
	}
	return e
}
