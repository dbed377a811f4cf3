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
// with events and one without: as many pairs as -benchtime says, such as 20x. It
// reports the median of what the rate with events is of that without, and what is
// allocated for one complete of 100 items, the store's work in the background
// included.
func BenchmarkCompleteEvents(b *testing.B) {
	sides := []*completer{newCompleter(b, nil), newCompleter(b, &queue.OutboxOptions{})}
	for _, c := range sides {
		defer c.close()
		c.round(pairCompletes)
		c.took, c.allocated, c.done = 0, 0, 0
	}
	ratios := make([]float64, b.N)
	for i := range ratios {
		var took [2]time.Duration
		first := rand.IntN(2)
		for _, side := range []int{first, 1 - first} {
			took[side] = sides[side].round(pairCompletes)
		}
		ratios[i] = took[0].Seconds() / took[1].Seconds()
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "with/without")
	b.ReportMetric(ratios[0], "least")
	b.ReportMetric(0, "ns/op")
	for i, name := range []string{"B/complete-without", "B/complete-with"} {
		b.ReportMetric(float64(sides[i].allocated)/float64(sides[i].done), name)
	}
}

// completer is a store of which only the completes are measured.
type completer struct {
	*session
	q         *queue.Queue
	took      time.Duration
	allocated uint64
	done      int
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

// round makes so many completes, and returns how long they took.
func (c *completer) round(completes int) time.Duration {
	before := c.took
	for range completes {
		c.complete()
	}
	return c.took - before
}

// complete completes the items of one batch.
func (c *completer) complete() {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	items := make([]queue.Item, pairBatch)
	for i := range items {
		items[i] = queue.Item{Payload: bytes.Repeat([]byte("x"), 256)}
	}
	must(c.q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
	r, err := c.q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: pairBatch, RequestTimeout: time.Minute})
	must(err)
	ids := make([]string, len(r.Items))
	for i := range r.Items {
		ids[i] = r.Items[i].ID.String()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	must(c.q.Complete(ctx, &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids}))
	c.took += time.Since(begin)
	runtime.ReadMemStats(&after)
	c.allocated += after.TotalAlloc - before.TotalAlloc
	c.done++
}
