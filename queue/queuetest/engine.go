package queuetest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// RunEngine tests the engine over a store. open is called for each test, some
// of them in a bubble of testing/synctest, and returns a harness over an empty
// place.
func RunEngine(t *testing.T, open func(t testing.TB) Harness) {
	t.Run("Model", func(t *testing.T) { runModelIn(t, open, false) })
	t.Run("Linearizable", func(t *testing.T) { runLinear(t, open(t), Seed(t)) })
}

// RunWrongClock is the model test of RunEngine with a wall clock that is set to
// anything, in the middle of a boot and by reboots.
func RunWrongClock(t *testing.T, open func(t testing.TB) Harness) { runModelIn(t, open, true) }

func runModelIn(t *testing.T, open func(t testing.TB) Harness, wrongClock bool) {
	seed, steps := Seed(t), amount(300, 600, 6000)
	synctest.Test(t, func(t *testing.T) { runModel(t, open(t), seed, steps, wrongClock) })
}

// engine is a service over a harness's place.
type engine struct {
	t      testing.TB
	h      Harness
	clock  queue.Clock
	limits queue.Limits
	outbox *queue.OutboxOptions
	lostMu sync.Mutex
	lost   []queue.Gap // events that were reported as lost; guarded by lostMu
	stores Stores
	svc    *queue.Service
	isOpen bool
}

func (e *engine) open() {
	e.t.Helper()
	if e.svc == nil {
		e.t.Cleanup(func() { // After a failure.
			if e.isOpen {
				e.close()
			}
		})
	}
	e.stores = e.h.Open(e.t, e.clock.Boot())
	svc, err := queue.Open(e.t.Context(), queue.Config{
		Meta: e.stores.Meta, Storages: []queue.NamedStorage{{Name: "main", Storage: e.stores.Storage, Affinity: 1}},
		Clock: e.clock, Limits: e.limits, Outbox: e.outbox,
		Events: queue.Events{
			PartitionFailed: func(name string, partition int, err error) {
				e.t.Errorf("partition %s/%d failed: %v", name, partition, err)
			},
			EventsLost: func(_ string, _ int, gap queue.Gap) {
				e.lostMu.Lock()
				defer e.lostMu.Unlock()
				e.lost = append(e.lost, gap)
			},
		},
	})
	if err != nil {
		e.t.Fatalf("open: %v", err)
	}
	e.svc, e.isOpen = svc, true
}

func (e *engine) close() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e.isOpen = false
	if err := e.svc.Shutdown(ctx); err != nil {
		e.t.Fatalf("shutdown: %v", err)
	}
	if err := e.stores.Storage.Close(); err != nil {
		e.t.Fatalf("close storage: %v", err)
	}
	if err := e.stores.Meta.Close(); err != nil {
		e.t.Fatalf("close meta store: %v", err)
	}
}

// kill goes on over a copy of the place as it is now, as after a kill of the
// process; false if nothing survives one.
func (e *engine) kill() bool {
	e.t.Helper()
	if e.h.Copy == nil {
		return false
	}
	h := e.h.Copy(e.t)
	e.close()
	e.h = h
	e.open()
	return true
}

// end closes the engine and has the store checked.
func (e *engine) end() {
	e.t.Helper()
	e.close()
	if e.h.Check != nil {
		e.h.Check(e.t)
	}
}

func (e *engine) queue(name string) *queue.Queue {
	e.t.Helper()
	q, err := e.svc.Queue(name)
	if err != nil {
		e.t.Fatalf("queue %q: %v", name, err)
	}
	return q
}

func (e *engine) create(info queue.Info) {
	e.t.Helper()
	if err := e.svc.Create(e.t.Context(), info); err != nil {
		e.t.Fatalf("create %q: %v", info.Name, err)
	}
}
