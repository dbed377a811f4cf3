package badgerstore_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// complete completes n items of the queue.
func (d *device) complete(name string, n int) {
	d.t.Helper()
	for n > 0 {
		r, err := d.queue(name).Lease(d.t.Context(), &queue.LeaseRequest{ClientID: "c", BatchSize: min(n, 50), RequestTimeout: time.Minute})
		must(d.t, err)
		req := &queue.CompleteRequest{Partition: r.Partition, RequestTimeout: time.Minute}
		for i := range r.Items {
			req.IDs = append(req.IDs, r.Items[i].ID.String())
		}
		must(d.t, d.queue(name).Complete(d.t.Context(), req))
		n -= len(r.Items)
		r.Release()
	}
}

// outbox returns the only outbox, its figures, and all events behind those that
// are delivered.
func (d *device) outbox() (*queue.Outbox, queue.OutboxState, []queue.Event) {
	d.t.Helper()
	all := d.Outboxes()
	if len(all) != 1 {
		d.t.Fatalf("%d outboxes, want 1", len(all))
	}
	st, err := all[0].State(d.t.Context())
	must(d.t, err)
	var events []queue.Event
	for after := st.Delivered; after < st.Head; after = events[len(events)-1].Seq {
		more, err := all[0].Read(d.t.Context(), after, 100, 1<<20, true)
		must(d.t, err)
		if len(more) == 0 {
			d.t.Fatalf("no events behind %d of %+v", after, st)
		}
		events = append(events, more...)
	}
	return all[0], st, events
}

// sameEvents compares events of two devices. A restored partition has another tag,
// which is a part of its ids, and all of it is of an earlier boot.
func sameEvents(t *testing.T, got, want []queue.Event) {
	t.Helper()
	same := func(a, b queue.Event) bool {
		return a.Epoch == b.Epoch && a.Seq == b.Seq && a.Type == b.Type && a.At == b.At && !a.ItemLost && a.Gap == nil &&
			a.Item.ID.Seq() == b.Item.ID.Seq() && a.Item.SourceID == b.Item.SourceID && a.Item.Attempts == b.Item.Attempts &&
			bytes.Equal(a.Item.Payload, b.Item.Payload)
	}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Fatalf("event %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

// Segments that are there for the sake of events alone are in a back-up, whole or
// in parts, and all events come out of it as they were. What is completed after the
// restore has an epoch of its own: the device that the back-up was taken of may
// have given the same numbers to other events.
func TestBackupOfEvents(t *testing.T) {
	t.Parallel()
	d := startForwarding(t, t.TempDir(), &queue.OutboxOptions{})
	d.create("a", "", 1)
	var files [][]byte
	var head *backup.Head
	for round := range 3 {
		d.produce("a", 1000*round, 200) // Two segments.
		d.complete("a", 200)
		o, st, _ := d.outbox()
		if st.Bytes == 0 {
			t.Fatal("no segment is there for events alone")
		}
		must(t, o.Delivered(t.Context(), uint64(100*round+1), 5))
		if round == 1 {
			d.stop()
			d = startForwarding(t, d.dir, &queue.OutboxOptions{})
		}
		var b []byte
		head, b = d.take(head)
		files = append(files, b)
		_, st, want := d.outbox()

		to := startForwarding(t, t.TempDir(), &queue.OutboxOptions{})
		done, err := to.put(merged(t, backup.Selection{Partition: -1}, files...))
		if err != nil || len(done.Notes) != 0 || done.Items != 0 {
			t.Fatalf("round %d: %+v, %v", round, done, err)
		}
		_, restored, events := to.outbox()
		sameEvents(t, events, want)
		if restored.Head != st.Head || restored.Delivered != st.Delivered || restored.Fence != 5 || restored.Pending != st.Pending {
			t.Errorf("round %d: restored %+v, it was %+v", round, restored, st)
		}
		to.produce("a", 9000, 10)
		to.complete("a", 10)
		_, after, events := to.outbox()
		if first := &events[len(events)-10]; after.Head != st.Head+10 || first.Seq != st.Head+1 || first.Epoch != after.Epoch ||
			slices.ContainsFunc(st.Epochs, func(e queue.EpochStart) bool { return e.Epoch == after.Epoch }) || after.Epoch == st.Epoch {
			t.Errorf("round %d: event %d of epoch %x follows event %d, %+v", round, first.Seq, first.Epoch, st.Head, after)
		}
		to.audit()
		to.stop()
	}
	d.stop()
}

// A device without an uplink that takes a back-up with events gives them up, and
// what they occupied.
func TestBackupOfEventsNotWanted(t *testing.T) {
	d := startForwarding(t, t.TempDir(), &queue.OutboxOptions{})
	d.create("a", "", 1)
	d.produce("a", 0, 400)
	d.complete("a", 400)
	_, whole := d.take(nil)
	d.stop()
	to := startDevice(t, t.TempDir())
	_, err := to.put(whole)
	must(t, err)
	to.produce("a", 1000, 10)
	to.complete("a", 10)
	s, err := to.queue("a").Stats(t.Context())
	must(t, err)
	if n := s.Partitions[0].Usage.Segments; n > 2 {
		t.Errorf("%d segments are left", n)
	}
	to.audit()
	to.stop()
}
