package queue_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// countingStorage counts the partitions that are open for writing: those that
// have reserved room and were not told to let go of it since.
type countingStorage struct {
	queue.Storage
	open, most atomic.Int64
	opened     atomic.Int64 // in all
}

type countingStore struct {
	queue.PartitionStore
	of     *countingStorage
	isOpen bool
}

func (c *countingStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	ps, err := c.Storage.OpenPartition(key)
	if err != nil {
		return nil, err
	}
	return &countingStore{PartitionStore: ps, of: c}, nil
}

func (s *countingStore) Reserve(items int, bytes int64) (uint64, error) {
	if !s.isOpen {
		s.isOpen = true
		time.Sleep(5 * time.Millisecond) // In the bubble: opening takes a while.
		s.of.opened.Add(1)
		n := s.of.open.Add(1)
		for {
			most := s.of.most.Load()
			if n <= most || s.of.most.CompareAndSwap(most, n) {
				break
			}
		}
	}
	return s.PartitionStore.Reserve(items, bytes)
}

func (s *countingStore) Maintain(idle bool) error {
	err := s.PartitionStore.Maintain(idle)
	if idle {
		s.close()
	}
	return err
}

func (s *countingStore) Yield() error {
	err := s.PartitionStore.Yield()
	s.close()
	return err
}

func (s *countingStore) Close() error {
	s.close()
	return s.PartitionStore.Close()
}

func (s *countingStore) close() {
	if s.isOpen {
		time.Sleep(5 * time.Millisecond)
		s.isOpen = false
		s.of.open.Add(-1)
	}
}

// inNarrowWorld runs fn with a bound of open partitions.
func inNarrowWorld(t *testing.T, open int, fn func(w *world, c *countingStorage)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.stop()
		c := &countingStorage{Storage: w.storage}
		w.limits.MaxOpen, w.over = open, c
		w.start()
		fn(w, c)
		synctest.Wait() // For the loops.
		if n := c.most.Load(); n > int64(open) {
			t.Errorf("%d partitions were open at a time, the bound is %d", n, open)
		}
	})
}

// use produces an item to a queue, leases and completes it, and returns how long
// that took.
func (w *world) use(q *queue.Queue, n int) (time.Duration, error) {
	begin := time.Now()
	err := q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: []byte("x")}}})
	if err != nil {
		return 0, err
	}
	r, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: fmt.Sprint(n), BatchSize: 1, RequestTimeout: time.Minute})
	if err != nil {
		return 0, err
	}
	err = q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids(r.Items)})
	return time.Since(begin), err
}

// All of many queues are in use without a pause, and few may be open: everybody
// gets a turn, and nobody much more than another.
func TestSeatsAllBusy(t *testing.T) {
	inNarrowWorld(t, 3, func(w *world, c *countingStorage) {
		const queues = 20
		var done [queues]int
		var slowest [queues]time.Duration
		var wg sync.WaitGroup
		end := time.Now().Add(20 * time.Second)
		for i := range queues {
			q := w.create(fmt.Sprint("q", i))
			wg.Go(func() {
				for time.Now().Before(end) {
					took, err := w.use(q, i)
					if err != nil {
						t.Error(err)
						return
					}
					done[i]++
					slowest[i] = max(slowest[i], took)
					time.Sleep(time.Millisecond / 2) // Less than what counts as not in use.
				}
			})
		}
		wg.Wait()
		for i := range queues {
			if done[i] == 0 || slowest[i] > 6*time.Second {
				t.Errorf("queue %d was used %d times, it took %s at most", i, done[i], slowest[i])
			}
		}
		if n := c.opened.Load(); n > 2000 {
			t.Errorf("stores were opened %d times in 20 s", n)
		}
	})
}

// What opening takes is no pause of whoever has asked for it: a partition that others
// wait for has its turn all the same when it is in use.
func TestSeatsTurnBeginsWhenOpen(t *testing.T) {
	inNarrowWorld(t, 1, func(w *world, c *countingStorage) {
		end := time.Now().Add(6 * time.Second)
		var wg sync.WaitGroup
		for i := range 2 {
			q := w.create(fmt.Sprint("q", i))
			wg.Go(func() {
				for time.Now().Before(end) {
					if _, err := w.use(q, i); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Millisecond / 2) // Less than what counts as not in use.
				}
			})
		}
		wg.Wait()
		// A turn of 50 ms, and 5 ms each to open and to close, of which some is in the turn.
		if n := c.opened.Load(); n > 6000/50+3 {
			t.Errorf("the stores of two queues were opened %d times in 6 s", n)
		}
	})
}

// Partitions that wait for a seat are well, and that is known without waiting for them.
func TestSeatsAreNoFailure(t *testing.T) {
	inNarrowWorld(t, 1, func(w *world, _ *countingStorage) {
		var queues []*queue.Queue
		for i := range 4 {
			queues = append(queues, w.create(fmt.Sprint("q", i)))
		}
		w.produce(queues[0], "x") // It has the seat, and its turn has just begun.
		var wg sync.WaitGroup
		for i, q := range queues[1:] {
			wg.Go(func() {
				if _, err := w.use(q, i); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		before := time.Now()
		if err := w.svc.Probe(w.ctx()); err != nil {
			t.Error(err)
		}
		for _, q := range queues {
			if a := q.Availability(); len(a) != 1 || !a[0].Open || a[0].Failure != nil {
				t.Errorf("%s is not available: %+v", q.Info().Name, a)
			}
		}
		// One of them is being closed or opened, which takes 5 ms; their turns take longer.
		if took := time.Since(before); took > 10*time.Millisecond {
			t.Errorf("to ask took %s", took)
		}
		wg.Wait()
	})
}

// A seat that is not used goes at once to who wants it.
func TestSeatsIdle(t *testing.T) {
	inNarrowWorld(t, 1, func(w *world, _ *countingStorage) {
		a, b := w.create("a"), w.create("b")
		for i := range 5 {
			for _, q := range []*queue.Queue{a, b} {
				took, err := w.use(q, i)
				if err != nil || took > 100*time.Millisecond {
					t.Fatalf("round %d of %s took %s: %v", i, q.Info().Name, took, err)
				}
				w.pass(time.Second)
			}
		}
	})
}

// Items move to the dead queue although only one partition may be open at a time.
func TestSeatsMove(t *testing.T) {
	inNarrowWorld(t, 1, func(w *world, _ *countingStorage) {
		dead := w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.DeadQueue, i.MaxAttempts = "dead", 1 })
		other := w.create("other")
		for i := range 20 {
			w.produce(q, fmt.Sprint(i))
		}
		w.retry(q, queue.RetryItem{Dead: true}, w.tryLease(q, 20, time.Second)...)
		for i := range 5 {
			if _, err := w.use(other, i); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(5 * time.Second)
		w.counts(dead, 20, 0, 0)
		w.counts(q, 0, 0, 0)
	})
}

// Those who wait for a seat are told when the service ends.
func TestSeatsShutdown(t *testing.T) {
	inNarrowWorld(t, 1, func(w *world, c *countingStorage) {
		var wg sync.WaitGroup
		for i := range 5 {
			q := w.create(fmt.Sprint("q", i))
			wg.Go(func() {
				for j := 0; ; j++ {
					_, err := w.use(q, j)
					if errors.Is(err, queue.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		w.pass(time.Second)
		w.restart()
		wg.Wait()
		if n := c.open.Load(); n != 0 {
			t.Errorf("%d partitions are open", n)
		}
	})
}
