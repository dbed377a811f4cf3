package badgerstore_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// events returns all events of the queue that can be read.
func (s *session) events(name string) []queue.Event {
	s.t.Helper()
	for _, o := range s.svc.Outboxes() {
		if o.Queue() != name {
			continue
		}
		var all []queue.Event
		for after := uint64(0); ; after = all[len(all)-1].Seq {
			events, err := o.Read(context.Background(), after, 100, 1<<20, true)
			if err != nil {
				s.t.Fatal(err)
			}
			if len(events) == 0 {
				return all
			}
			all = append(all, events...)
		}
	}
	s.t.Fatalf("queue %q has no outbox", name)
	return nil
}

// TestGoldenEvents opens a store with events that the first version with events
// wrote.
func TestGoldenEvents(t *testing.T) {
	if flag.Lookup("golden").Value.String() == "true" {
		writeGolden(t, goldenEventDir, &queue.OutboxOptions{})
	}
	dir := t.TempDir()
	copyDir(t, goldenEventDir, dir)
	s := openForwarding(t, dir, &queue.OutboxOptions{})
	defer s.close()
	events := s.events("readings")
	if len(events) != 2 || events[0].Epoch == events[1].Epoch {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	for i, want := range []string{"s-0-0", "s-0-2"} {
		e := &events[i]
		if e.Seq != uint64(i+1) || e.Type != queue.EventCompleted || e.Item.SourceID != want || e.Item.Attempts != 1 || e.ItemLost {
			t.Errorf("event %d: %+v, want item %s", i, e, want)
		}
	}
	if len(s.items("readings")) != 10 || s.reported() != "" {
		t.Errorf("%d items; reported: %s", len(s.items("readings")), s.reported())
	}
}

// TestFormatRises: a store is of format 1 until it has an event.
func TestFormatRises(t *testing.T) {
	dir := t.TempDir()
	copyDir(t, goldenDir, dir)
	format := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "FORMAT"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:2])
	}
	s := openForwarding(t, dir, &queue.OutboxOptions{})
	if n := len(s.events("readings")); n != 0 {
		t.Errorf("%d events before the first", n)
	}
	before := format()
	completeOne(s, "readings")
	if after := format(); before != "1 " || after != "2 " {
		t.Errorf("format %q, after an event %q", before, after)
	}
	s.close()
}

// completeOne leases an item of the queue and completes it.
func completeOne(s *session, name string) {
	s.t.Helper()
	q, err := s.svc.Queue(name)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := q.Lease(context.Background(), &queue.LeaseRequest{ClientID: "c", BatchSize: 1, RequestTimeout: time.Minute})
	if err != nil {
		s.t.Fatal(err)
	}
	err = q.Complete(context.Background(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: []string{r.Items[0].ID.String()}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// writeEvents makes a store of so many segments, in each of which three items
// are produced and completed.
func writeEvents(t *testing.T, dir string, segments int) {
	t.Helper()
	for round := range segments {
		s := openForwarding(t, dir, &queue.OutboxOptions{})
		ctx := context.Background()
		if round == 0 {
			if err := s.svc.Create(ctx, queue.Info{Name: "q", LeaseTimeout: time.Hour, ExpireTimeout: 1000 * time.Hour, RequestedPartitions: 1}); err != nil {
				t.Fatal(err)
			}
		}
		q, err := s.svc.Queue("q")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			item := queue.Item{SourceID: fmt.Sprint(round, "-", i), Payload: bytes.Repeat([]byte{byte(i)}, 100)}
			if err := q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{item}}); err != nil {
				t.Fatal(err)
			}
			completeOne(s, "q")
		}
		s.close()
	}
}

// TestDamagedEvents: events of a segment that is gone become a gap, all others
// are there, and the books agree.
func TestDamagedEvents(t *testing.T) {
	const rounds = 4
	origin := t.TempDir()
	writeEvents(t, origin, rounds)
	found, err := filepath.Glob(filepath.Join(origin, "q-*", "0*"))
	if err != nil || len(found) != rounds {
		t.Fatalf("%d segments, want %d: %v", len(found), rounds, err)
	}
	for i := range rounds - 1 {
		dir := t.TempDir()
		copyDir(t, origin, dir)
		rel, _ := filepath.Rel(origin, found[i])
		if err := os.RemoveAll(filepath.Join(dir, rel)); err != nil {
			t.Fatal(err)
		}
		s := openForwarding(t, dir, &queue.OutboxOptions{})
		events := s.events("q")
		if again := s.events("q"); len(again) != len(events) {
			t.Errorf("segment %d: %d events, then %d", i, len(events), len(again))
		}
		first := uint64(3*i + 1)
		seq := uint64(1)
		for j := range events {
			e := &events[j]
			if g := e.Gap; g != nil && (g.First != first || g.Last != first+2 || g.Completed != 3 || g.Reason != queue.GapQuarantined) {
				t.Errorf("segment %d: gap %+v", i, g)
			} else if g != nil {
				seq += 2
			} else if want := fmt.Sprint((seq-1)/3, "-", (seq-1)%3); e.Item.SourceID != want || e.ItemLost {
				t.Errorf("segment %d: event %d is of item %q, want %q", i, e.Seq, e.Item.SourceID, want)
			}
			if e.Seq != seq {
				t.Errorf("segment %d: event %d where %d should be", i, e.Seq, seq)
			}
			seq++
		}
		if seq != 3*rounds+1 {
			t.Errorf("segment %d: events up to %d, want %d", i, seq-1, 3*rounds)
		}
		q, err := s.svc.Queue("q")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range q.Audit(context.Background()) {
			if a.Failure != nil || len(a.Differences) > 0 || a.Outbox.Dropped != 3 || a.Events != 3*(rounds-1) {
				t.Errorf("segment %d: audit: %v %v, %+v", i, a.Failure, a.Differences, a.Outbox)
			}
		}
		if s.reported() == "" {
			t.Errorf("segment %d: nothing was reported", i)
		}
		s.close()
	}
}
