package queuetest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// verify compares everything that the store says with the model.
func (d *driver) verify() {
	d.t.Helper()
	d.verifyState()
	ready := d.seqs((*heldItem).isReady)
	for i, limit := range []struct {
		items int
		bytes int64
	}{{1 << 20, 1 << 30}, {7, 1 << 30}, {1 << 20, 3000}} {
		if i > 0 && len(ready) > 5000 {
			break // Small chunks of much are slow and tell nothing new.
		}
		d.verifyRead(ready, limit.items, limit.bytes)
	}
	d.verifyGet()
	for seq, it := range d.held {
		if it.item.SourceID == "" {
			continue
		}
		got, found, err := d.ps.FindSource(it.item.SourceID)
		if err != nil || !found || got != seq {
			d.t.Fatalf("%s: find source %q: %d, %t, %v; want %d", d.key, it.item.SourceID, got, found, err, seq)
		}
	}
}

func (d *driver) verifyRead(ready []uint64, maxItems int, maxBytes int64) {
	d.t.Helper()
	at := d.totals.Cursor
	for n := 0; ; {
		items, next := d.readNext(at, maxItems, maxBytes)
		for i := range items {
			if n == len(ready) {
				d.t.Fatalf("%s: read returned %d, which is not ready", d.key, items[i].Seq())
			}
			if items[i].Seq() != ready[n] {
				d.t.Fatalf("%s: read returned %d, want %d", d.key, items[i].Seq(), ready[n])
			}
			d.verifyItem(&items[i])
			n++
		}
		if at = next; at >= d.st.Next {
			if n != len(ready) {
				d.t.Fatalf("%s: read returned %d items, want %d; the next would be %d", d.key, n, len(ready), ready[n])
			}
			return
		}
	}
}

// verifyGet gets all leased and scheduled items and some of the ready ones, in
// an order that is not theirs.
func (d *driver) verifyGet() {
	d.t.Helper()
	n := 0
	seqs := d.seqs(func(it *heldItem) bool { n++; return !it.isReady() || n%50 == 0 })
	slices.SortFunc(seqs, func(a, b uint64) int { return int(a*7919%1009) - int(b*7919%1009) })
	for part := range slices.Chunk(seqs, 1000) {
		items, err := d.ps.Get(part)
		if err != nil || len(items) != len(part) {
			d.t.Fatalf("%s: get %d items: %d, %v", d.key, len(part), len(items), err)
		}
		for i := range items {
			if items[i].Seq() != part[i] {
				d.t.Fatalf("%s: get returned %d, want %d", d.key, items[i].Seq(), part[i])
			}
			d.verifyItem(&items[i])
		}
	}
}

func (d *driver) verifyItem(got *queue.Item) {
	d.t.Helper()
	it := d.held[got.Seq()]
	if it == nil {
		d.t.Fatalf("%s: store returned %d, which is gone", d.key, got.Seq())
	}
	want := it.item
	want.SameBoot = it.boot == d.p.boot
	if diff := diffItems(got, &want); diff != "" {
		d.t.Fatalf("%s: item %d: %s", d.key, got.Seq(), diff)
	}
}

// verifyState compares the state with the model.
func (d *driver) verifyState() {
	d.t.Helper()
	st := d.st
	if st.Tag != d.key.Tag || st.Boot != d.p.boot {
		d.t.Fatalf("%s: state is of %x, %q; want %x, %q", d.key, st.Tag, st.Boot, d.key.Tag, d.p.boot)
	}
	if st.Totals != d.totals {
		d.t.Fatalf("%s: totals\n%+v, want\n%+v", d.key, st.Totals, d.totals)
	}
	if st.Next < d.next {
		d.t.Fatalf("%s: next is %d, want at least %d", d.key, st.Next, d.next)
	}
	leases, scheds := 0, 0
	for seq, it := range d.held {
		switch {
		case it.lease != nil:
			leases++
			got := st.Leases[seq]
			if got == nil {
				d.t.Fatalf("%s: the lease of %d is not there", d.key, seq)
			}
			l := *got
			l.ExpireMono = it.lease.ExpireMono // Not stored.
			if l != *it.lease {
				d.t.Fatalf("%s: lease\n%+v, want\n%+v", d.key, l, *it.lease)
			}
		case it.sched != nil:
			scheds++
			got := st.Scheduled[seq]
			if got == nil || *got != *it.sched {
				d.t.Fatalf("%s: scheduled item %d\n%+v, want\n%+v", d.key, seq, got, *it.sched)
			}
		case !st.IsReady(seq):
			d.t.Fatalf("%s: %d is not ready", d.key, seq)
		}
	}
	if len(st.Leases) != leases || len(st.Scheduled) != scheds || st.Held() != int64(len(d.held)) {
		d.t.Fatalf("%s: %d leases, %d scheduled, %d held; want %d, %d, %d", d.key,
			len(st.Leases), len(st.Scheduled), st.Held(), leases, scheds, len(d.held))
	}
	if len(d.st.Feeds) != len(d.feeds) {
		d.t.Fatalf("%d marks of feeds, want %d", len(d.st.Feeds), len(d.feeds))
	}
	for name, want := range d.feeds {
		if got := d.st.Feed(name); got != want {
			d.t.Fatalf("the mark of feed %q is %+v, want %+v", name, got, want)
		}
	}
	for from, want := range d.origins {
		if got := st.LastFrom(from); !slices.Equal(got, want) {
			d.t.Fatalf("%s: last from %x: %v, want %v", d.key, from, got, want)
		}
	}
	if d.spans != nil && !slices.Equal(st.Spans, d.spans) {
		d.t.Fatalf("%s: spans\n%+v, want\n%+v", d.key, st.Spans, d.spans)
	}
	d.spans = nil
}

// verifyKept sees that items which the store returned earlier are as they were.
func (d *driver) verifyKept() {
	d.t.Helper()
	for i := range d.kept {
		if diff := diffItems(&d.kept[i].got, &d.kept[i].copy); diff != "" {
			d.t.Fatalf("%s: item %d changed after it was returned: %s", d.key, d.kept[i].copy.Seq(), diff)
		}
	}
}

// diffItems says how two items differ; empty if they do not.
func diffItems(got, want *queue.Item) string {
	g, w := *got, *want
	g.Payload, w.Payload = nil, nil
	if reflect.DeepEqual(&g, &w) && bytes.Equal(got.Payload, want.Payload) {
		return "" // The quick answer; it does not see that two times are the same.
	}
	for _, f := range []struct {
		name      string
		got, want any
	}{
		{"id", got.ID, want.ID},
		{"source id", got.SourceID, want.SourceID},
		{"encoding", got.Encoding, want.Encoding},
		{"kind", got.Kind, want.Kind},
		{"reference", got.Reference, want.Reference},
		{"attempts", got.Attempts, want.Attempts},
		{"max attempts", got.MaxAttempts, want.MaxAttempts},
		{"is leased", got.IsLeased, want.IsLeased},
		{"written", got.Written, want.Written},
		{"same boot", got.SameBoot, want.SameBoot},
	} {
		if f.got != f.want {
			return fmt.Sprintf("%s is %v, want %v", f.name, f.got, f.want)
		}
	}
	for _, f := range []struct {
		name      string
		got, want time.Time
	}{
		{"created at", got.CreatedAt, want.CreatedAt},
		{"expire deadline", got.ExpireDeadline, want.ExpireDeadline},
		{"lease deadline", got.LeaseDeadline, want.LeaseDeadline},
		{"enqueue at", got.EnqueueAt, want.EnqueueAt},
	} {
		if !f.got.Equal(f.want) || f.got.IsZero() != f.want.IsZero() || f.got.Location() != time.UTC {
			return fmt.Sprintf("%s is %v, want %v", f.name, f.got, f.want.UTC())
		}
	}
	if !bytes.Equal(got.Payload, want.Payload) {
		return fmt.Sprintf("payload has %d bytes %.40q, want %d bytes %.40q", len(got.Payload), got.Payload, len(want.Payload), want.Payload)
	}
	return ""
}
