package queuetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// RunOutbox tests the outbox of the engine over a store whose segments are small:
// some 100 KB. open is called in bubbles of testing/synctest.
func RunOutbox(t *testing.T, open func(t testing.TB) Harness) {
	for name, test := range map[string]func(b *outboxBench){
		"Restarts": testRestarts, "DropOldest": testDropOldest, "Block": testBlock, "InFlight": testInFlight,
		"MaxAge": testMaxAge, "Off": testOff, "DeletedQueue": testDeletedQueue, "Cleared": testCleared, "Fields": testEventFields,
		"Retained": testRetained, "Pressing": testPressing,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := NewClock(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC))
				b := &outboxBench{engine: &engine{t: t, h: open(t), clock: clock}, clock: clock}
				test(b)
				b.audit()
				b.end()
			})
		})
	}
}

// outboxBench is an engine with one queue, q.
type outboxBench struct {
	*engine
	clock *Clock
	n     int
}

func (b *outboxBench) start(o queue.OutboxOptions) {
	b.t.Helper()
	b.outbox = &o
	b.open()
	b.create(queue.Info{Name: "q", LeaseTimeout: time.Minute, ExpireTimeout: 1000 * time.Hour, RequestedPartitions: 1})
}

func (b *outboxBench) restart() {
	b.t.Helper()
	b.close()
	b.open()
}

// complete has n items of so many random bytes produced, leased and completed.
func (b *outboxBench) complete(n, size int) error {
	b.t.Helper()
	req := &queue.ProduceRequest{RequestTimeout: time.Minute}
	for range n {
		b.n++
		payload := fmt.Appendf(make([]byte, 0, size+8), "%d ", b.n)
		for len(payload) < size {
			payload = append(payload, byte(rand.Uint32()))
		}
		req.Items = append(req.Items, queue.Item{Kind: "k", SourceID: fmt.Sprint("s", b.n), Reference: "r", Payload: payload})
	}
	q := b.queue("q")
	if err := q.Produce(b.t.Context(), req); err != nil {
		b.t.Fatal(err)
	}
	r, err := q.Lease(b.t.Context(), &queue.LeaseRequest{ClientID: "c", BatchSize: n, RequestTimeout: time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	ids := make([]string, len(r.Items))
	for i := range r.Items {
		ids[i] = r.Items[i].ID.String()
	}
	err = q.Complete(b.t.Context(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids})
	synctest.Wait()
	return err
}

func (b *outboxBench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *outboxBench) state() queue.OutboxState {
	b.t.Helper()
	s, err := b.outboxOf("q").State(b.t.Context())
	b.must(err)
	return s
}

// read returns all events above after, which must follow each other.
func (b *outboxBench) read(after uint64) []queue.Event {
	b.t.Helper()
	var all []queue.Event
	for {
		events, err := b.outboxOf("q").Read(b.t.Context(), after, 100, 1<<20, false)
		b.must(err)
		if len(events) == 0 {
			return all
		}
		for i := range events {
			e := &events[i]
			if first := e.Seq; len(all) > 0 {
				if e.Gap != nil {
					first = e.Gap.First
				}
				if first != after+1 {
					b.t.Fatalf("event %d follows %d", first, after)
				}
			}
			after = e.Seq
		}
		all = append(all, events...)
	}
}

func (b *outboxBench) delivered(seq uint64) {
	b.t.Helper()
	b.must(b.outboxOf("q").Delivered(b.t.Context(), seq, seq))
	synctest.Wait()
}

// audit has the events counted: written = delivered + dropped + held.
func (b *outboxBench) audit() {
	b.t.Helper()
	q, err := b.svc.Queue("q")
	if errors.Is(err, queue.ErrNotFound) {
		return
	}
	b.must(err)
	for _, a := range q.Audit(b.t.Context()) {
		if a.Failure != nil || len(a.Differences) > 0 {
			b.t.Errorf("audit: %v, %v", a.Failure, a.Differences)
		}
	}
}

// testEventFields: what an event says, and that somebody is told of it.
func testEventFields(b *outboxBench) {
	b.start(queue.OutboxOptions{})
	b.must(b.complete(3, 100))
	select {
	case <-b.svc.Changed():
	default:
		b.t.Error("nobody was told of the events")
	}
	for _, payload := range []bool{true, false} {
		events, err := b.outboxOf("q").Read(b.t.Context(), 0, 10, 1<<20, payload)
		b.must(err)
		if len(events) != 3 {
			b.t.Fatalf("%d events, want 3", len(events))
		}
		for i := range events {
			e := &events[i]
			if e.Seq != uint64(i+1) || e.Type != queue.EventCompleted || e.Epoch == 0 || e.Epoch != b.state().Epoch || e.Boot != "boot-1" ||
				e.Item.Kind != "k" || e.Item.Reference != "r" || e.Item.SourceID != fmt.Sprint("s", i+1) || e.Item.Attempts != 1 ||
				e.PayloadSize != 100 || payload != (len(e.Item.Payload) == 100) || e.At.Wall == 0 {
				b.t.Errorf("event %d: %+v", i, e)
			}
		}
	}
	if err := b.outboxOf("q").Delivered(b.t.Context(), 4, 0); !errors.Is(err, queue.ErrInvalid) {
		b.t.Errorf("delivered what there is not: %v", err)
	}
}

// testRestarts: after each commit and a restart or kill everything is as before,
// and new events have another epoch.
func testRestarts(b *outboxBench) {
	b.start(queue.OutboxOptions{})
	var known []queue.Event
	for round := range 12 {
		b.must(b.complete(1+round%3, 2000))
		if round%2 == 0 || !b.kill() {
			b.restart()
		}
		events := b.read(0)
		for i := range known {
			if err := sameEvent(&events[i], &known[i]); err != nil {
				b.t.Fatalf("event %d: %v", i+1, err)
			}
		}
		if n := len(known); n > 0 && events[n].Epoch == known[n-1].Epoch {
			b.t.Fatalf("events %d and %d have one epoch, in two processes", n, n+1)
		}
		known = events
		if s := b.state(); s.Head != uint64(b.n) || len(events) != b.n || len(s.Epochs) != round+1 {
			b.t.Fatalf("%d items, %d events, %+v", b.n, len(events), s)
		}
	}
}

// testDropOldest: the oldest events make room for new ones, and a gap says
// exactly which they were.
func testDropOldest(b *outboxBench) {
	b.start(queue.OutboxOptions{MaxBytes: 1 << 20})
	for range 150 {
		b.must(b.complete(4, 5000))
	}
	s := b.state()
	if s.Bytes > 1<<20 || s.Dropped == 0 || s.Pending == 0 || s.Head != 600 || s.Dropped+s.Pending != 600 {
		b.t.Fatalf("after 600 events of 5000 bytes: %+v", s)
	}
	for range 2 {
		events := b.read(0)
		g := events[0].Gap
		if g == nil || g.First != 1 || g.Last != s.Dropped || g.Completed != s.Dropped || g.Reason != queue.GapFull || events[0].Seq != g.Last {
			b.t.Fatalf("the first event is %+v, gap %+v", events[0], g)
		}
		if uint64(len(events)-1) != s.Pending {
			b.t.Fatalf("%d events behind the gap, want %d", len(events)-1, s.Pending)
		}
		b.restart()
	}
	b.delivered(s.Head)
	if after := b.state(); after.Pending != 0 || after.Gaps != 0 || after.Dropped != s.Dropped {
		b.t.Errorf("after all was delivered: %+v", after)
	}
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	if after := b.state(); after.Bytes != 0 {
		b.t.Errorf("%d bytes are held ten minutes after all was delivered", after.Bytes)
	}
}

// testRetained: 40 events a second of 250 bytes can be read for five minutes
// after they were delivered.
func testRetained(b *outboxBench) {
	b.start(queue.OutboxOptions{})
	for range 5 * 60 / 10 {
		b.must(b.complete(400, 250))
		b.delivered(b.state().Head)
		time.Sleep(10 * time.Second)
	}
	if s := b.state(); s.Retained > 401 {
		b.t.Errorf("after five minutes of 40 events a second they can be read from %d of %d on", s.Retained, s.Head)
	}
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	if s := b.state(); s.Retained != s.Head+1 {
		b.t.Errorf("they can still be read ten minutes later, from %d of %d on", s.Retained, s.Head)
	}
}

// testInFlight: what was read and not delivered is not dropped; what was dropped
// and turns out to be delivered is taken out of the gap.
func testInFlight(b *outboxBench) {
	b.start(queue.OutboxOptions{MaxBytes: 1 << 20})
	b.must(b.complete(4, 5000))
	shown, err := b.outboxOf("q").Read(b.t.Context(), 0, 2, 1<<20, false)
	b.must(err)
	for range 150 {
		b.must(b.complete(4, 5000))
	}
	events := b.read(0)
	if len(shown) != 2 || events[0].Gap != nil || events[1].Seq != 2 {
		b.t.Fatalf("what was on its way is gone: %+v", events[0])
	}
	s := b.state()
	b.delivered(2)
	for range 150 {
		b.must(b.complete(4, 5000))
	}
	var gap *queue.Gap
	for _, e := range b.read(0) {
		if e.Gap != nil {
			gap = e.Gap
		}
	}
	if gap == nil {
		b.t.Fatalf("nothing was dropped: %+v", b.state())
	}
	cut := gap.First + 5
	s = b.state()
	b.delivered(cut)
	b.restart()
	after := b.state()
	if after.Delivered != cut || after.Dropped != s.Dropped-6 {
		b.t.Fatalf("before: %+v\nafter %d was delivered: %+v", s, cut, after)
	}
	if e := b.read(cut)[0]; e.Gap == nil || e.Gap.First != cut+1 || e.Gap.Completed != e.Gap.Events() {
		b.t.Fatalf("the rest of the gap is %+v", e.Gap)
	}
}

// testBlock: completes are refused when the outbox is full, and nothing happens
// to their items.
func testBlock(b *outboxBench) {
	b.start(queue.OutboxOptions{MaxBytes: 1 << 20, Block: true})
	var err error
	for range 200 {
		if err = b.complete(4, 5000); err != nil {
			break
		}
	}
	s := b.state()
	if !errors.Is(err, queue.ErrFull) || !s.Full || s.Dropped != 0 {
		b.t.Fatalf("complete: %v; %+v", err, s)
	}
	stats, err := b.queue("q").Stats(b.t.Context())
	b.must(err)
	if stats.Partitions[0].Leased != 4 || s.Head != uint64(b.n-4) {
		b.t.Fatalf("%d items, %d events, %d leased", b.n, s.Head, stats.Partitions[0].Leased)
	}
	b.delivered(s.Head)
	b.must(b.complete(1, 10))
}

// testPressing: an outbox presses when its items have more than half of what it may
// hold, and no more when they are delivered.
func testPressing(b *outboxBench) {
	b.start(queue.OutboxOptions{MaxBytes: 1 << 20})
	for b.n*5000 < 400<<10 {
		b.must(b.complete(4, 5000))
	}
	if s := b.state(); s.Pressing {
		b.t.Errorf("%d items of 5 kB press: %+v", b.n, s)
	}
	for b.n*5000 < 700<<10 {
		b.must(b.complete(4, 5000))
	}
	if s := b.state(); !s.Pressing || s.Dropped != 0 {
		b.t.Errorf("%d items of 5 kB do not press: %+v", b.n, s)
	}
	b.restart()
	if s := b.state(); !s.Pressing {
		b.t.Errorf("after a restart: %+v", s)
	}
	b.delivered(b.state().Head)
	if s := b.state(); s.Pressing {
		b.t.Errorf("delivered events press: %+v", s)
	}
}

// testMaxAge: events go when they are too old, by the time that the device ran.
func testMaxAge(b *outboxBench) {
	b.start(queue.OutboxOptions{MaxAge: 3 * time.Hour})
	b.must(b.complete(2, 100))
	b.close()
	b.clock.Reboot("boot-2")
	b.clock.SetWall(time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC))
	b.open()
	time.Sleep(2 * time.Hour)
	b.must(b.complete(1, 100))
	if s := b.state(); s.Dropped != 0 {
		b.t.Fatalf("dropped too soon: %+v", s)
	}
	time.Sleep(2 * time.Hour)
	synctest.Wait()
	events := b.read(0)
	if len(events) != 2 || events[0].Gap == nil || events[0].Gap.Last != 2 || events[0].Gap.Reason != queue.GapAge || events[1].Seq != 3 {
		b.t.Fatalf("events: %+v", events)
	}
}

// testOff: a queue that is no longer forwarded gives its events up; the gap is
// told when it is forwarded again.
func testOff(b *outboxBench) {
	b.start(queue.OutboxOptions{})
	b.must(b.complete(5, 3000))
	b.delivered(2)
	b.close()
	b.outbox = nil
	b.open()
	if n := len(b.svc.Outboxes()); n != 0 {
		b.t.Fatalf("%d outboxes, want none", n)
	}
	b.must(b.complete(5, 3000))
	b.close()
	if len(b.lost) != 1 || b.lost[0].Events() != 3 {
		b.t.Errorf("reported as lost: %+v", b.lost)
	}
	b.outbox = &queue.OutboxOptions{}
	b.open()
	b.must(b.complete(1, 10))
	events := b.read(0)
	if len(events) != 2 || events[0].Gap == nil || events[0].Gap.First != 3 || events[0].Gap.Last != 5 ||
		events[0].Gap.Reason != queue.GapOff || events[1].Seq != 6 {
		b.t.Fatalf("events: %+v", events)
	}
}

// testDeletedQueue: the events of a deleted queue are reported as lost; a new
// queue of that name begins with another epoch.
func testDeletedQueue(b *outboxBench) {
	b.start(queue.OutboxOptions{})
	b.must(b.complete(5, 100))
	b.delivered(1)
	epoch := b.state().Epoch
	b.must(b.svc.Delete(b.t.Context(), "q"))
	if len(b.lost) != 1 || b.lost[0].First != 2 || b.lost[0].Last != 5 || b.lost[0].Completed != 4 || b.lost[0].Reason != queue.GapDeleted {
		b.t.Errorf("reported as lost: %+v", b.lost)
	}
	b.create(queue.Info{Name: "q", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, RequestedPartitions: 1})
	b.must(b.complete(1, 10))
	if s := b.state(); s.Head != 1 || s.Epoch == epoch {
		b.t.Errorf("a new queue has %+v", s)
	}
}

// testCleared: clearing a queue leaves the events of what was completed.
func testCleared(b *outboxBench) {
	b.start(queue.OutboxOptions{})
	b.must(b.complete(20, 5000))
	b.must(b.queue("q").Clear(b.t.Context(), &queue.ClearRequest{Ready: true, Scheduled: true, Destructive: true}))
	b.restart()
	events := b.read(0)
	if len(events) != 20 || events[19].ItemLost || events[19].PayloadSize != 5000 {
		b.t.Fatalf("%d events", len(events))
	}
}
