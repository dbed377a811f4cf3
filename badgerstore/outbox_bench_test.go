package badgerstore_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

const (
	pairCompletes = 50  // completes of a side in one pair
	pairBatch     = 100 // items in each
)

// BenchmarkCompleteEvents has two stores complete the same items by turns, one
// with events and one without: as many pairs as -benchtime says, such as 20x, of
// 50 completes of 100 items each. A pair compares the medians, since what else the
// machine does is in single completes. It reports the median of what the rate with
// events is of that without, and what one complete costs, with what the store does
// in the background meanwhile.
func BenchmarkCompleteEvents(b *testing.B) {
	sides := []*completer{newCompleter(b, nil), newCompleter(b, &queue.OutboxOptions{})}
	for _, c := range sides {
		defer c.close()
		c.complete() // The first is another matter.
		c.took, c.allocated, c.written, c.syncs = nil, 0, 0, 0
	}
	ratios := make([]float64, b.N)
	for i := range ratios {
		for range pairCompletes {
			first := rand.IntN(2)
			sides[first].complete()
			sides[1-first].complete()
		}
		ratios[i] = sides[0].median(pairCompletes).Seconds() / sides[1].median(pairCompletes).Seconds()
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "with/without")
	b.ReportMetric(ratios[0], "least")
	b.ReportMetric(ratios[len(ratios)-1], "greatest")
	b.ReportMetric(0, "ns/op")
	for i, name := range []string{"without", "with"} {
		n := float64(len(sides[i].took))
		b.ReportMetric(float64(sides[i].allocated)/n, "B-allocated-"+name)
		b.ReportMetric(float64(sides[i].written)/n, "B-written-"+name)
		b.ReportMetric(float64(sides[i].syncs)/n, "syncs-"+name)
	}
}

// completer is a store of which only the completes are measured.
type completer struct {
	*session
	q              *queue.Queue
	took           []time.Duration
	allocated      uint64
	written, syncs int64
}

func newCompleter(b *testing.B, outbox *queue.OutboxOptions) *completer {
	c := &completer{session: openForwarding(b, b.TempDir(), outbox)}
	err := c.svc.Create(context.Background(), queue.Info{Name: "q", LeaseTimeout: time.Hour, ExpireTimeout: time.Hour, RequestedPartitions: 1})
	if err == nil {
		c.q, err = c.svc.Queue("q")
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// median returns that of the last n completes.
func (c *completer) median(n int) time.Duration {
	last := slices.Clone(c.took[len(c.took)-n:])
	slices.Sort(last)
	return last[n/2]
}

func (c *completer) must(err error) {
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *completer) usage() queue.Usage {
	s, err := c.q.Stats(context.Background())
	c.must(err)
	return s.Partitions[0].Usage
}

// complete completes the items of one batch.
func (c *completer) complete() {
	ctx := context.Background()
	items := make([]queue.Item, pairBatch)
	for i := range items {
		items[i] = queue.Item{Payload: bytes.Repeat([]byte("x"), 256)}
	}
	c.must(c.q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
	r, err := c.q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: pairBatch, RequestTimeout: time.Minute})
	c.must(err)
	ids := make([]string, len(r.Items))
	for i := range r.Items {
		ids[i] = r.Items[i].ID.String()
	}
	use := c.usage()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	c.must(c.q.Complete(ctx, &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids}))
	c.took = append(c.took, time.Since(begin))
	runtime.ReadMemStats(&after)
	c.allocated += after.TotalAlloc - before.TotalAlloc
	now := c.usage()
	c.written, c.syncs = c.written+now.Written-use.Written, c.syncs+now.Syncs-use.Syncs
}

// BenchmarkReadEvents reads events of 100 in a commit, 250 at a time; an operation
// is one event.
func BenchmarkReadEvents(b *testing.B) {
	c := newCompleter(b, &queue.OutboxOptions{})
	defer c.close()
	for range 50 {
		c.complete()
	}
	o := c.svc.Outboxes()[0]
	b.ReportAllocs()
	b.ResetTimer()
	after := uint64(0)
	for n := 0; n < b.N; {
		events, err := o.Read(context.Background(), after, 250, 256<<10, false)
		c.must(err)
		if len(events) == 0 {
			after = 0
			continue
		}
		after, n = events[len(events)-1].Seq, n+len(events)
	}
}
