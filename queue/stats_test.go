package queue_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// idleStorage counts how often its partitions were said to be idle.
type idleStorage struct {
	queue.Storage
	idle atomic.Int64
}

func (s *idleStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	ps, err := s.Storage.OpenPartition(key)
	return &idlePartition{ps, &s.idle}, err
}

type idlePartition struct {
	queue.PartitionStore
	idle *atomic.Int64
}

func (p *idlePartition) Maintain(idle bool) error {
	if idle {
		p.idle.Add(1)
	}
	return p.PartitionStore.Maintain(idle)
}

// A device that is watched closes the stores that nobody uses all the same.
func TestStatsAreNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := &idleStorage{Storage: memstore.New(memstore.Options{})}
		svc, err := queue.Open(t.Context(), queue.Config{
			Meta: memstore.NewMeta(), Clock: queuetest.NewClock(time.Now()), Limits: queue.Limits{IdleClose: time.Minute},
			Storages: []queue.NamedStorage{{Name: "mem", Storage: storage, Affinity: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, svc: svc}
		defer w.stop()
		q := w.create("q")
		w.produce(q, "a", "bcd")
		for range 20 {
			time.Sleep(10 * time.Second)
			s, err := q.Stats(t.Context())
			if err != nil || s.Partitions[0].Ready != 2 || s.Partitions[0].Payload != 4 {
				t.Fatalf("%+v, %v", s, err)
			}
			if err := svc.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := storage.idle.Load(); n != 1 {
			t.Errorf("the partition was said to be idle %d times in 200 s of being looked at, want once", n)
		}
		w.lease(q, 2, "a", "bcd")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := storage.idle.Load(); n != 2 {
			t.Errorf("after a lease the partition was idle %d times, want twice", n)
		}
	})
}
