package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// fullStorage is a memory store on a disk that others fill to the last byte.
type fullStorage struct {
	queue.Storage
	full atomic.Bool
	// floor: there is no room for new items, but for so many that are there; 0 is off.
	floor atomic.Int64
	halt  atomic.Int64 // how long the next look takes: the process is halted, or the device suspended
}

func (s *fullStorage) check() error {
	time.Sleep(time.Duration(s.halt.Swap(0)))
	if s.full.Load() {
		return &queue.Error{Kind: queue.ErrFull, Msg: "the disk is full"}
	}
	return nil
}

func (s *fullStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	ps, err := s.Storage.OpenPartition(key)
	return &fullPartition{PartitionStore: ps, storage: s}, err
}

// freeAfter makes room after some d: between two looks of a partition, not in the
// middle of one, which would find room for its record and none for what moves.
func (s *fullStorage) freeAfter(d time.Duration) {
	time.AfterFunc(d+10*time.Millisecond, func() { s.full.Store(false) })
}

type fullPartition struct {
	queue.PartitionStore
	storage *fullStorage
}

func (p *fullPartition) Reserve(items int, bytes int64) (uint64, error) {
	if err := p.storage.check(); err != nil {
		return 0, err
	}
	if items > 0 && p.storage.floor.Load() > 0 {
		return 0, &queue.Error{Kind: queue.ErrFull, Msg: "the disk is full"}
	}
	return p.PartitionStore.Reserve(items, bytes)
}

func (p *fullPartition) ReserveMove(items int, bytes int64) (uint64, error) {
	if err := p.storage.check(); err != nil {
		return 0, err
	}
	if floor := p.storage.floor.Load(); floor > 0 && items > int(floor) {
		return 0, &queue.Error{Kind: queue.ErrFull, Msg: "the disk is full"}
	}
	return p.PartitionStore.ReserveMove(items, bytes)
}

// inFullWorld runs fn with a service over a fullStorage, and a queue of three
// items of which the first is leased.
func inFullWorld(t *testing.T, fn func(w *world, s *fullStorage, q *queue.Queue, leased []queue.Item)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, meta: memstore.NewMeta(), clock: queuetest.NewClock(time.Now())}
		s := &fullStorage{Storage: memstore.New(memstore.Options{MaxBytes: 1 << 20, Boot: w.clock.Boot()})}
		open := func() {
			svc, err := queue.Open(w.ctx(), queue.Config{
				Meta: w.meta, Clock: w.clock, Storages: []queue.NamedStorage{{Name: "mem", Storage: s, Affinity: 1}},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.svc = svc
		}
		open()
		q := w.create("q")
		w.produce(q, "a", "b", "c")
		leased := w.lease(q, 1, "a")
		fn(w, s, q, leased)
		s.full.Store(true)
		w.stop()
		open()
		s.freeAfter(time.Second / 2)
		w.complete(w.queue("q"), leased...) // It waits while opening finds no room.
		w.stop()
		synctest.Wait()
	})
}

// What is about items that are there waits for room: others may let go of it soon.
func TestWaitForRoom(t *testing.T) {
	inFullWorld(t, func(w *world, s *fullStorage, q *queue.Queue, leased []queue.Item) {
		s.full.Store(true)
		began := time.Now()
		items := []queue.Item{{Payload: []byte("d")}}
		err := q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items})
		if !errors.Is(err, queue.ErrFull) || time.Since(began) > 100*time.Millisecond {
			t.Errorf("produce: %v after %s, want ErrFull at once", err, time.Since(began))
		}
		s.freeAfter(time.Second)
		w.retry(q, queue.RetryItem{}, leased...)
		if d := time.Since(began); d < time.Second || d > 1100*time.Millisecond {
			t.Errorf("retry was answered after %s, want it when there was room", d)
		}
		s.full.Store(true)
		s.freeAfter(time.Second)
		if got := w.tryLease(q, 2, time.Minute); len(got) != 2 {
			t.Errorf("leased %q, want b and c", payloads(got))
		}
		copy(leased, w.lease(q, 1, "a"))
		w.counts(q, 0, 3, 0)
	})
}

// When nobody lets go they are refused, after a while, with the reason.
func TestNoRoom(t *testing.T) {
	inFullWorld(t, func(w *world, s *fullStorage, q *queue.Queue, leased []queue.Item) {
		s.full.Store(true)
		for name, call := range map[string]func() error{
			"complete": func() error {
				return q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids(leased)})
			},
			"retry": func() error {
				return q.Retry(w.ctx(), &queue.RetryRequest{Items: []queue.RetryItem{{ID: ids(leased)[0]}}})
			},
			"extend": func() error {
				_, err := q.Extend(w.ctx(), &queue.ExtendRequest{IDs: ids(leased)})
				return err
			},
			"lease": func() error {
				_, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "long", BatchSize: 1, RequestTimeout: time.Minute})
				return err
			},
		} {
			began := time.Now()
			if err := call(); !errors.Is(err, queue.ErrFull) || time.Since(began) < time.Second || time.Since(began) > 3*time.Second {
				t.Errorf("%s: %v after %s, want ErrFull after some 2 s", name, err, time.Since(began))
			}
		}
		// A lease that would not wait for so long says why there is nothing, too.
		began := time.Now()
		_, err := q.Lease(w.ctx(), &queue.LeaseRequest{ClientID: "short", BatchSize: 1, RequestTimeout: 50 * time.Millisecond})
		if !errors.Is(err, queue.ErrFull) || time.Since(began) > 200*time.Millisecond {
			t.Errorf("short lease: %v after %s, want ErrFull", err, time.Since(began))
		}
		s.full.Store(false)
		w.counts(q, 2, 1, 0)
	})
}

// While the process is halted nobody looks for room, however long that lasts.
func TestHaltedWithoutRoom(t *testing.T) {
	inFullWorld(t, func(w *world, s *fullStorage, q *queue.Queue, leased []queue.Item) {
		s.full.Store(true)
		time.AfterFunc(time.Second/2, func() { s.halt.Store(int64(10 * time.Second)) })
		began := time.Now()
		s.freeAfter(10*time.Second + time.Second)
		w.retry(q, queue.RetryItem{}, leased...)
		if d := time.Since(began); d < 10*time.Second+time.Second || d > 10*time.Second+1100*time.Millisecond {
			t.Errorf("retry was answered after %s, want it when there was room", d)
		}
		copy(leased, w.lease(q, 1, "b"))
	})
}

// A partition that cannot be opened for want of room is opened when there is some,
// however long that took; until then it says so.
func TestOpenOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, meta: memstore.NewMeta(), clock: queuetest.NewClock(time.Now())}
		s := &fullStorage{Storage: memstore.New(memstore.Options{MaxBytes: 1 << 20, Boot: w.clock.Boot()})}
		failures := 0
		svc, err := queue.Open(w.ctx(), queue.Config{
			Meta: w.meta, Clock: w.clock, Storages: []queue.NamedStorage{{Name: "mem", Storage: s, Affinity: 1}},
			Events: queue.Events{PartitionFailed: func(string, int, error) { failures++ }},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.svc = svc
		s.full.Store(true)
		q := w.create("q")
		produce := func() (time.Duration, error) {
			began := time.Now()
			err := q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: []byte("a")}}})
			return time.Since(began), err
		}
		for range 3 {
			time.Sleep(time.Minute)
			if d, err := produce(); !errors.Is(err, queue.ErrFull) || d > 100*time.Millisecond {
				t.Errorf("produce: %v after %s, want ErrFull at once", err, d)
			}
		}
		if failures != 1 {
			t.Errorf("%d failures were reported, want 1", failures)
		}
		s.full.Store(false)
		if d, err := produce(); err != nil || d > 100*time.Millisecond {
			t.Errorf("produce: %v after %s, want it at once since there is room", err, d)
		}
		w.complete(q, w.lease(q, 1, "a")...)
		w.stop()
		synctest.Wait()
	})
}

// Items whose leases end come back although the disk takes no new ones, and somebody
// tries to add some all the time; when there is room for a few at a time, too. Nothing
// else might ever give room back.
func TestLapsedOnFullDisk(t *testing.T) {
	inFullWorld(t, func(w *world, s *fullStorage, q *queue.Queue, leased []queue.Item) {
		const n = 40
		for i := range n {
			w.produce(q, fmt.Sprint(i))
		}
		if got := w.tryLease(q, n+2, time.Minute); len(got) != n+2 {
			t.Fatalf("leased %d items", len(got))
		}
		s.floor.Store(1)
		ctx, cancel := context.WithCancel(w.ctx())
		var hammer sync.WaitGroup
		hammer.Go(func() {
			for ctx.Err() == nil {
				err := q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: []byte("x")}}})
				if !errors.Is(err, queue.ErrFull) && ctx.Err() == nil {
					t.Errorf("produce: %v, want ErrFull", err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		w.pass(time.Minute)
		time.Sleep(20 * time.Second)
		cancel()
		hammer.Wait()
		w.counts(q, n+3, 0, 0)
		s.floor.Store(0)
		copy(leased, w.tryLease(q, 1, time.Minute))
	})
}
