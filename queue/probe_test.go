package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// stuckStorage is a memory store of which opening and committing wait for a gate,
// and commits fail when told to.
type stuckStorage struct {
	queue.Storage
	open, commit chan struct{} // closed: nothing waits
	fail         error
	commits      atomic.Int64 // that were begun
}

func (s *stuckStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	<-s.open
	ps, err := s.Storage.OpenPartition(key)
	if err != nil {
		return nil, err
	}
	return &stuckPartition{PartitionStore: ps, storage: s}, nil
}

type stuckPartition struct {
	queue.PartitionStore
	storage *stuckStorage
}

func (p *stuckPartition) Commit(c *queue.Commit) error {
	p.storage.commits.Add(1)
	<-p.storage.commit
	if p.storage.fail != nil {
		return p.storage.fail
	}
	return p.PartitionStore.Commit(c)
}

// inStuckWorld runs fn with a service of one queue, whose partition is open.
func inStuckWorld(t *testing.T, fn func(t *testing.T, s *stuckStorage, svc *queue.Service, q *queue.Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		clock := queuetest.NewClock(time.Now())
		s := &stuckStorage{
			Storage: memstore.New(memstore.Options{MaxBytes: 1 << 20, Boot: clock.Boot()}),
			open:    make(chan struct{}), commit: make(chan struct{}),
		}
		svc, err := queue.Open(t.Context(), queue.Config{
			Meta: memstore.NewMeta(), Clock: clock, Storages: []queue.NamedStorage{{Name: "mem", Storage: s, Affinity: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		err = svc.Create(t.Context(), queue.Info{Name: "q", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, RequestedPartitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		q, err := svc.Queue("q")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		fn(t, s, svc, q)
		if err := svc.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	})
}

// probe asks with a patience of a minute.
func probe(t *testing.T, svc *queue.Service) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return svc.Probe(ctx)
}

func produceOne(t *testing.T, q *queue.Queue) {
	err := q.Produce(t.Context(), &queue.ProduceRequest{RequestTimeout: 10 * time.Minute, Items: []queue.Item{{Payload: []byte("x")}}})
	if err != nil && !errors.Is(err, queue.ErrUnavailable) {
		t.Error(err)
	}
}

// A commit that hangs is noticed, and one that only takes long is not.
func TestProbeNoticesACommitThatHangs(t *testing.T) {
	inStuckWorld(t, func(t *testing.T, s *stuckStorage, svc *queue.Service, q *queue.Queue) {
		if o := svc.Overview(); o.Queues != 1 || o.Partitions != 1 || o.Opening != 1 {
			t.Errorf("before the partition is open: %+v", o)
		}
		if err := probe(t, svc); err != nil {
			t.Errorf("a partition that is being opened: %v", err)
		}
		close(s.open)
		synctest.Wait()
		if err := probe(t, svc); err != nil {
			t.Errorf("a partition without work: %v", err)
		}
		go produceOne(t, q)
		synctest.Wait()
		for range 2 {
			if err := probe(t, svc); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "q/0") {
				t.Errorf("a commit that hangs: %v", err)
			}
		}
		time.AfterFunc(50*time.Second, func() { close(s.commit) })
		if err := probe(t, svc); err != nil {
			t.Errorf("a commit of 50 seconds: %v", err)
		}
		synctest.Wait()
		if o := svc.Overview(); o.Opening != 0 || o.Failed != 0 || o.Ready != 1 || o.Held != 1 {
			t.Errorf("with an item: %+v", o)
		}
	})
}

func TestProbeNoticesAFailedPartition(t *testing.T) {
	inStuckWorld(t, func(t *testing.T, s *stuckStorage, svc *queue.Service, q *queue.Queue) {
		close(s.open)
		close(s.commit)
		synctest.Wait()
		s.fail = errors.New("input/output error")
		produceOne(t, q)
		if err := probe(t, svc); err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("a failed partition: %v", err)
		}
		if o := svc.Overview(); o.Failed != 1 || o.Opening != 0 {
			t.Errorf("with a failed partition: %+v", o)
		}
	})
}

// A queue that goes is not waited for.
func TestProbeOfAQueueThatGoes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create("q")
		w.create("other")
		if err := w.svc.Delete(w.ctx(), "other"); err != nil {
			t.Fatal(err)
		}
		if err := probe(w.t, w.svc); err != nil {
			t.Fatal(err)
		}
	})
}

// However many ask while a commit takes long, they wait for that one commit and no more,
// and one who gives up does not spoil it for the others.
func TestProbesAtATime(t *testing.T) {
	inStuckWorld(t, func(t *testing.T, s *stuckStorage, svc *queue.Service, q *queue.Queue) {
		close(s.open)
		synctest.Wait()
		go produceOne(t, q)
		synctest.Wait()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			var e *queue.Error
			if err := svc.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Queue != "q" {
				t.Errorf("a commit that takes longer than the probe: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				if err := probe(t, svc); err != nil {
					t.Error(err)
				}
			})
		}
		time.AfterFunc(3*time.Second, func() { close(s.commit) })
		all.Wait()
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("they took %s, the commit 3 s", took)
		}
	})
}
