package badgerstore_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// forwarded is a store with events that is to be damaged.
type forwarded struct {
	prepared
	names  []string        // of the completed items, by the number of the event
	epochs []uint64        // of the events
	sent   uint64          // events up to this one are delivered
	all    map[string]bool // names of all items ever
}

// prepareEvents makes a store of three segments. In each, items are produced and
// some completed, of the segment and of the one before; the first two events are
// delivered. killed says that the newest segment was not closed.
func prepareEvents(t testing.TB, killed bool) *forwarded {
	t.Helper()
	f := &forwarded{prepared: prepared{dir: t.TempDir(), alive: make(map[string]bool), killed: killed}, sent: 2, all: make(map[string]bool)}
	for round := range damageRounds {
		s := openForwarding(t, f.dir, &queue.OutboxOptions{})
		if round == 0 {
			must(t, s.svc.Create(t.Context(), queue.Info{Name: "readings", LeaseTimeout: time.Hour, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1}))
		}
		f.round(s, round)
		if killed && round == damageRounds-1 {
			to := t.TempDir()
			badgerstore.WaitForBackground(s.storage)
			copyUsed(t, f.dir, to)
			s.close()
			f.dir = to
			break
		}
		s.close()
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// round produces six items in three commits, and completes four of those there
// are in two, and delivers events.
func (f *forwarded) round(s *session, round int) {
	s.t.Helper()
	ctx := context.Background()
	q, err := s.svc.Queue("readings")
	must(s.t, err)
	for batch, size := range []int{100, 4000, 100} { // The second is a block in the value log.
		var items []queue.Item
		for i := range 2 {
			n := 2*batch + i
			items = append(items, queue.Item{Payload: sealedPayload(round, n, size)})
			name := fmt.Sprintf("%d/%d", round, n)
			f.alive[name], f.all[name] = true, true
		}
		must(s.t, q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
	}
	for range 2 {
		for _, name := range completeSome(s, 2) {
			delete(f.alive, name)
			f.names = append(f.names, name)
		}
	}
	o := s.svc.Outboxes()[0]
	st, err := o.State(ctx)
	must(s.t, err)
	for uint64(len(f.epochs)) < st.Head {
		f.epochs = append(f.epochs, st.Epoch)
	}
	if round == 0 {
		must(s.t, o.Delivered(ctx, f.sent, 77))
	}
}

// completeSome leases n items, completes them, and returns their names.
func completeSome(s *session, n int) (names []string) {
	s.t.Helper()
	q, err := s.svc.Queue("readings")
	must(s.t, err)
	r, err := q.Lease(context.Background(), &queue.LeaseRequest{ClientID: "c", BatchSize: n, RequestTimeout: time.Minute})
	must(s.t, err)
	req := &queue.CompleteRequest{RequestTimeout: time.Minute}
	for i := range r.Items {
		name, whole := nameOf(r.Items[i].Payload)
		if !whole {
			s.t.Errorf("item %s has a wrong payload", r.Items[i].ID)
		}
		names, req.IDs = append(names, name), append(req.IDs, r.Items[i].ID.String())
	}
	must(s.t, q.Complete(context.Background(), req))
	return names
}

// TestEventDamage damages one file of a store with events in each way that there
// is; with QUERATOR_LONG in every segment. What can be read are the events that there were, numbered without a gap, each
// with its item or saying that it is lost, and a gap for those that are lost; the
// books agree, and new events follow.
func TestEventDamage(t *testing.T) {
	for _, killed := range []bool{false, true} {
		name := "closed"
		if killed {
			name = "killed"
		}
		f := prepareEvents(t, killed)
		t.Run(name, func(t *testing.T) {
			dirs := roundDirs(t, f.dir)
			for _, rel := range f.files(t) {
				round := slices.Index(dirs, filepath.Dir(filepath.Join(f.dir, rel)))
				// Older segments are alike, and do not know how the newest ended.
				isAlike := round == 1 || round == 0 && (killed || testing.Short())
				if round < 0 || isAlike && os.Getenv("QUERATOR_LONG") == "" {
					continue
				}
				for _, how := range slices.Sorted(maps.Keys(damages())) {
					if !holdsEvents(rel, how) {
						continue
					}
					t.Run(rel+" "+how, func(t *testing.T) {
						t.Parallel()
						f.damaged(t, rel, damages()[how])
					})
				}
			}
		})
	}
}

// holdsEvents reports whether the case is run: files of which each part matters in
// all ways, those that Badger does not open without in few.
func holdsEvents(rel, how string) bool {
	switch filepath.Ext(rel) {
	case ".mem", ".sst", ".vlog":
		return true
	}
	return strings.HasSuffix(rel, "MANIFEST") && (how == "emptied" || how == "removed")
}

// damaged damages a file of a copy and looks what is left.
func (f *forwarded) damaged(t *testing.T, rel string, damage func(string, []byte) error) {
	dir := t.TempDir()
	copyUsed(t, f.dir, dir)
	path := filepath.Join(dir, rel)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, damage(path, bytes.TrimRight(data, "\x00")))
	s := openForwarding(t, dir, &queue.OutboxOptions{})
	found := f.compare(s)
	more := completeSome(s, 1)[0]
	events := s.events("readings")
	last := &events[len(events)-1]
	if name, _ := nameOf(last.Item.Payload); len(events) != len(found)+1 || name != more || slices.Contains(f.epochs, last.Epoch) {
		t.Errorf("%d events; after item %s was completed %d, the last of %s in epoch %x", len(found), more, len(events), name, last.Epoch)
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("reports:\n  %s", s.reported())
	}
	s.close()

	// What was given up stays given up, and is not reported again.
	again := openForwarding(t, dir, &queue.OutboxOptions{})
	defer again.close()
	same := again.events("readings")
	if !slices.EqualFunc(same, events, func(a, b queue.Event) bool {
		return a.Seq == b.Seq && a.Epoch == b.Epoch && a.Type == b.Type && a.ItemLost == b.ItemLost && bytes.Equal(a.Item.Payload, b.Item.Payload)
	}) {
		t.Errorf("after another start the events are others: %d, before %d", len(same), len(events))
	}
	// Lost items of events are met again when these are read.
	if text := again.reported(); strings.Contains(text, "lost events") || strings.Contains(text, "set aside") {
		t.Errorf("reported again:\n  %s", text)
	}
	auditEvents(again)
}

// compare compares the events of a damaged store with those that there were.
func (f *forwarded) compare(s *session) []queue.Event {
	s.t.Helper()
	here, events := s.items("readings"), s.events("readings")
	told := make(map[string]bool)
	next, lost := uint64(1), 0
	for i := range events {
		e := &events[i]
		first := e.Seq
		if e.Gap != nil {
			first = e.Gap.First
		}
		if i == 0 && first > 1 && first <= f.sent+1 {
			next = first // Those before are delivered.
		}
		if first != next || e.Seq > uint64(len(f.names)) {
			s.t.Errorf("event %d follows event %d; there were %d", first, next-1, len(f.names))
			return events
		}
		next = e.Seq + 1
		name, whole := nameOf(e.Item.Payload)
		switch {
		case e.Gap != nil:
			lost++
			if e.Gap.Reason != queue.GapQuarantined || e.Gap.Completed != e.Gap.Events() {
				s.t.Errorf("gap %+v", e.Gap)
			}
			continue
		case e.ItemLost:
			lost++
			name = f.names[e.Seq-1]
		case !whole || name != f.names[e.Seq-1]:
			s.t.Errorf("event %d is of item %q (whole: %t), it was of %q", e.Seq, name, whole, f.names[e.Seq-1])
		}
		if e.Epoch != f.epochs[e.Seq-1] {
			s.t.Errorf("event %d has epoch %x, it had %x", e.Seq, e.Epoch, f.epochs[e.Seq-1])
		}
		told[name] = true
	}
	for name := range here {
		if told[name] || !f.all[name] {
			s.t.Errorf("item %s is there, and its event too: %t", name, told[name])
		}
		if !f.alive[name] {
			lost++ // The complete is lost, and with it the event.
		}
	}
	if back := uint64(len(f.names)) - (next - 1); lost == 0 && back > 0 || lost > 0 && s.reported() == "" {
		s.t.Errorf("%d events are lost and %d are not there; reported: %s", lost, back, s.reported())
	}
	auditEvents(s)
	return events
}

// auditEvents has the store count its events and items.
func auditEvents(s *session) {
	s.t.Helper()
	q, err := s.svc.Queue("readings")
	must(s.t, err)
	for _, a := range q.Audit(context.Background()) {
		o := a.Outbox
		if a.Failure != nil || len(a.Differences) > 0 || o.Delivered > o.Head || o.Pending > o.Head-o.Delivered {
			s.t.Errorf("audit: %v %v, %+v", a.Failure, a.Differences, o)
		}
	}
}
