package badgerstore_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

// noise returns a payload like a picture's, always the same.
func noise(size int) []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	b := make([]byte, size)
	_, _ = rnd.Read(b) // Never fails.
	return b
}

// queueOn makes a queue on a storage.
func queueOn(ctx context.Context, t *testing.T, s queue.Storage) *queue.Queue {
	t.Helper()
	svc, err := queue.Open(ctx, queue.Config{Meta: memstore.NewMeta(), Storages: []queue.NamedStorage{{Name: "s", Storage: s, Affinity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := svc.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := svc.Create(ctx, queue.Info{Name: "q", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, RequestedPartitions: 1}); err != nil {
		t.Fatal(err)
	}
	q, err := svc.Queue("q")
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// A large item that cannot be compressed is written from the memory that it came in.
func TestLargeItemIsNotCopied(t *testing.T) {
	const size = 5_000_000
	s, err := badgerstore.New(badgerstore.Options{Dir: t.TempDir(), Boot: "boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	q := queueOn(ctx, t, s)
	const rounds = 3
	for range rounds {
		payload := noise(size)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: payload}}}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > size/4 {
			t.Errorf("%d bytes were allocated to write an item of %d", n, size)
		}
	}
	res, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: rounds, RequestTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Items) == 0 || !bytes.Equal(res.Items[0].Payload, noise(size)) {
		t.Errorf("%d items were leased, the first is not what was produced", len(res.Items))
	}
}
