package badgerstore_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// BenchmarkCompleteEvents completes batches of 100 items of 256 bytes, without
// events and with; only the completes are measured. Compare them interleaved:
// -count=6.
func BenchmarkCompleteEvents(b *testing.B) {
	for name, outbox := range map[string]*queue.OutboxOptions{"without": nil, "with": {}} {
		b.Run(name, func(b *testing.B) {
			s := openForwarding(b, b.TempDir(), outbox)
			defer s.close()
			ctx := context.Background()
			if err := s.svc.Create(ctx, queue.Info{Name: "q", LeaseTimeout: time.Hour, ExpireTimeout: time.Hour, RequestedPartitions: 1}); err != nil {
				b.Fatal(err)
			}
			q, err := s.svc.Queue("q")
			if err != nil {
				b.Fatal(err)
			}
			items := make([]queue.Item, 100)
			for range b.N {
				b.StopTimer()
				for i := range items {
					items[i] = queue.Item{Payload: bytes.Repeat([]byte("x"), 256)}
				}
				if err := q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}); err != nil {
					b.Fatal(err)
				}
				r, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: 100, RequestTimeout: time.Minute})
				if err != nil {
					b.Fatal(err)
				}
				ids := make([]string, len(r.Items))
				for i := range r.Items {
					ids[i] = r.Items[i].ID.String()
				}
				b.StartTimer()
				if err := q.Complete(ctx, &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
