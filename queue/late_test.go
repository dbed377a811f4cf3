package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

// slowStorage is one whose partitions take their time to make room for items.
type slowStorage struct {
	*memstore.Storage
	pass func(time.Duration)
}

type slowStore struct {
	queue.PartitionStore
	pass func(time.Duration)
}

// slowRoom is how long a partition looks for room.
const slowRoom = 300 * time.Millisecond

func (s *slowStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	ps, err := s.Storage.OpenPartition(key)
	return &slowStore{ps, s.pass}, err
}

func (s *slowStore) Reserve(items int, bytes int64) (uint64, error) {
	if items > 0 {
		s.pass(slowRoom)
	}
	return s.PartitionStore.Reserve(items, bytes)
}

// A partition that is long at its work deals to whoever has begun to wait since,
// at other partitions. Such a lease lasts as long as any: from when it was given.
func TestLeaseOfALateComerLasts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stop()
		w.over = &slowStorage{w.storage, w.pass}
		w.start()
		const parts, timeout = 5, time.Second
		q := w.create("q", func(i *queue.Info) { i.RequestedPartitions = parts })
		var wg sync.WaitGroup
		wg.Go(func() { w.produce(q, make([]string, parts)...) })
		w.pass(slowRoom * 2 / 3)
		sent := w.clock.Now()
		for i := range parts {
			wg.Go(func() {
				r, err := q.Lease(w.ctx(), &queue.LeaseRequest{
					ClientID: fmt.Sprint("c", i), BatchSize: 1, RequestTimeout: time.Minute / 2, LeaseTimeout: timeout,
				})
				if err != nil {
					t.Error(err)
					return
				}
				if got := r.Items[0].LeaseDeadline; got.Before(sent.Add(timeout)) {
					t.Errorf("the lease ends %v before its time", sent.Add(timeout).Sub(got))
				}
			})
		}
		wg.Wait()
	})
}

// Who gives up waiting for a partition gets an error and nothing else: what the
// partition finds out later is nobody's. The race detector sees who reads it.
func TestGivenUpCalls(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stop()
		w.over = &slowStorage{w.storage, w.pass}
		w.start()
		q := w.create("q")
		for name, call := range map[string]func(ctx context.Context) error{
			"Stats": func(ctx context.Context) error {
				s, err := q.Stats(ctx)
				return errors.Join(err, s.Partitions[0].Failure)
			},
			"Audit": func(ctx context.Context) error { return q.Audit(ctx)[0].Failure },
			"Feed": func(ctx context.Context) error {
				_, err := q.Feed(ctx, "f")
				return err
			},
			"List": func(ctx context.Context) error {
				_, err := q.List(ctx, &queue.ListRequest{Limit: 10})
				return err
			},
			"Import": func(ctx context.Context) error {
				_, err := q.Import(ctx, &queue.ImportRequest{Items: []queue.Item{{Payload: []byte("x")}}})
				return err
			},
		} {
			var wg sync.WaitGroup
			wg.Go(func() { w.produce(q, "x") })
			w.pass(slowRoom / 3)
			ctx, cancel := context.WithTimeout(w.ctx(), slowRoom/3)
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
			wg.Wait()
			w.pass(2 * slowRoom)
		}
	})
}
