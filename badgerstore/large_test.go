package badgerstore_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"weak"

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

// When a large item that cannot be compressed is in its block, nobody holds the
// memory any more that it came in.
func TestLargeItemIsInMemoryTwiceAtMost(t *testing.T) {
	const size = 5_000_000
	var body weak.Pointer[byte]
	collected, alive := 0, 0
	collect := func() {
		runtime.GC()
		if collected++; body.Value() != nil {
			alive++
		}
	}
	s, err := badgerstore.New(badgerstore.Options{Dir: t.TempDir(), Boot: "boot-1", Collect: collect})
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
		body = weak.Make(&payload[0])
		if err := q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: payload}}}); err != nil {
			t.Fatal(err)
		}
	}
	if collected != rounds || alive > 0 {
		t.Errorf("when the blocks of %d items were made, the bodies of %d were still held", collected, alive)
	}
	res, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: rounds, RequestTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Items) == 0 || !bytes.Equal(res.Items[0].Payload, noise(size)) {
		t.Errorf("%d items were leased, the first is not what was produced", len(res.Items))
	}
}
