package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// brokenStorage is a memory store of which some items cannot be read: those
// whose payload contains "broken".
type brokenStorage struct {
	queue.Storage
	aside []uint64
}

func (s *brokenStorage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	ps, err := s.Storage.OpenPartition(key)
	if err != nil {
		return nil, err
	}
	return &brokenPartition{PartitionStore: ps, storage: s}, nil
}

type brokenPartition struct {
	queue.PartitionStore
	storage *brokenStorage
}

func damageOf(it *queue.Item) error {
	if !strings.Contains(string(it.Payload), "broken") {
		return nil
	}
	return &queue.Damage{Span: queue.Span(it.Seq()), First: it.Seq(), Last: it.Seq(), Path: "/file", Err: errors.New("bit flip")}
}

func (p *brokenPartition) Read(from uint64, maxItems int, maxBytes int64) (queue.Chunks, uint64, error) {
	chunks, next, err := p.PartitionStore.Read(from, maxItems, maxBytes)
	items := slices.Concat(chunks...)
	for i := range items {
		damage := damageOf(&items[i])
		switch {
		case damage == nil:
		case i > 0:
			return queue.Chunks{items[:i]}, items[i].Seq(), nil
		default:
			return nil, 0, damage
		}
	}
	return chunks, next, err
}

func (p *brokenPartition) Get(seqs []uint64) ([]queue.Item, error) {
	items, err := p.PartitionStore.Get(seqs)
	for i := range items {
		if damage := damageOf(&items[i]); damage != nil {
			return nil, damage
		}
	}
	return items, err
}

func (p *brokenPartition) FindSource(id string) (uint64, bool, error) {
	seq, found, err := p.PartitionStore.FindSource(id)
	if !found || err != nil {
		return seq, found, err
	}
	_, err = p.Get([]uint64{seq})
	return seq, found, err
}

func (p *brokenPartition) SetAside(span uint64, _ string) (string, error) {
	p.storage.aside = append(p.storage.aside, span)
	return "/quarantine", nil
}

// inBrokenWorld runs fn in a world whose store cannot read some items. It
// checks that reports and the ledger agree on how many were given up.
func inBrokenWorld(t *testing.T, want int, fn func(w *world, q *queue.Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, meta: memstore.NewMeta(), clock: queuetest.NewClock(time.Now())}
		// Nothing is kept in memory, so that items come from the store.
		w.limits.ReadAhead, w.limits.ReadAheadTotal = 1, 1
		storage := &brokenStorage{Storage: memstore.New(memstore.Options{MaxBytes: 256 << 20, Boot: w.clock.Boot()})}
		reported := 0
		svc, err := queue.Open(w.ctx(), queue.Config{
			Meta: w.meta, Clock: w.clock, Limits: w.limits,
			Storages: []queue.NamedStorage{{Name: "mem", Storage: storage, Affinity: 1}},
			Events: queue.Events{
				PartitionFailed: func(q string, p int, err error) { t.Errorf("partition %s/%d failed: %v", q, p, err) },
				Quarantined: func(q queue.Quarantine) {
					reported += q.Items
					if q.Queue != "work" || q.Path != "/quarantine" || !errors.Is(q.Err, queue.ErrCorrupt) || q.Items > 0 && q.First.IsZero() {
						t.Errorf("reported: %+v", q)
					}
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.svc = svc
		defer w.stop()
		w.create("dead")
		q := w.create("work", func(i *queue.Info) { i.DeadQueue = "dead" })
		fn(w, q)
		stats, err := q.Stats(w.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if got := stats.Partitions[0].Ledger.Quarantined; got != uint64(want) || reported != want || len(storage.aside) == 0 {
			t.Errorf("quarantined %d items, reported %d, set aside %v; want %d", got, reported, storage.aside, want)
		}
		for _, q := range []*queue.Queue{q, w.queue("dead")} {
			for _, a := range q.Audit(w.ctx()) {
				if a.Failure != nil || len(a.Differences) > 0 {
					t.Errorf("audit of %s: %v %v", a.Queue, a.Failure, a.Differences)
				}
			}
		}
	})
}

func TestDamageMetByLease(t *testing.T) {
	inBrokenWorld(t, 3, func(w *world, q *queue.Queue) {
		w.produce(q, "broken 1", "a", "broken 2", "b", "c", "broken 3")
		w.lease(q, 2, "a", "b")
		w.complete(q, w.lease(q, 9, "c")...)
		w.counts(q, 0, 2, 0)
	})
}

func TestDamageMetByList(t *testing.T) {
	inBrokenWorld(t, 2, func(w *world, q *queue.Queue) {
		later := time.Now().Add(time.Hour)
		w.produce(q, "a", "broken 1", "b")
		w.produceItems(q, queue.Item{Payload: []byte("broken 2"), EnqueueAt: later}, queue.Item{Payload: []byte("c"), EnqueueAt: later})
		items, err := q.List(w.ctx(), &queue.ListRequest{})
		if err != nil || fmt.Sprint(payloads(items)) != "[a b]" {
			t.Fatalf("listed %q, %v", payloads(items), err)
		}
		if items, err = q.ListScheduled(w.ctx(), &queue.ListRequest{}); err != nil || fmt.Sprint(payloads(items)) != "[c]" {
			t.Fatalf("listed as scheduled %q, %v", payloads(items), err)
		}
		w.counts(q, 2, 0, 1)
	})
}

func TestDamageMetByAudit(t *testing.T) {
	inBrokenWorld(t, 1, func(w *world, q *queue.Queue) {
		w.produce(q, "a", "broken", "b")
		if a := q.Audit(w.ctx())[0]; a.Ready != 2 || a.Failure != nil || len(a.Differences) > 0 {
			t.Errorf("audit: %+v", a)
		}
		w.counts(q, 2, 0, 0)
	})
}

func TestDamageMetByDueItems(t *testing.T) {
	inBrokenWorld(t, 1, func(w *world, q *queue.Queue) {
		due := time.Now().Add(time.Second)
		w.produceItems(q, queue.Item{Payload: []byte("a"), EnqueueAt: due}, queue.Item{Payload: []byte("broken"), EnqueueAt: due})
		w.pass(2 * time.Second)
		w.lease(q, 9, "a")
		w.counts(q, 0, 1, 0)
	})
}

func TestDamageMetByExpiry(t *testing.T) {
	inBrokenWorld(t, 2, func(w *world, q *queue.Queue) {
		w.produce(q, "broken 1", "a", "broken 2")
		w.pass(90 * time.Minute)
		w.counts(q, 0, 0, 0)
		w.lease(w.queue("dead"), 9, "a")
	})
}

func TestDamageMetByDeletion(t *testing.T) {
	inBrokenWorld(t, 1, func(w *world, q *queue.Queue) {
		first := queue.Item{Payload: []byte("a"), SourceID: "s"}
		w.produceItems(q, first, queue.Item{Payload: []byte("broken"), SourceID: "t"}, queue.Item{Payload: []byte("b")})
		w.produceItems(q, queue.Item{Payload: []byte("c"), SourceID: "t"}) // Not a double: what was there is lost.
		w.lease(q, 9, "a", "b", "c")
		w.counts(q, 0, 3, 0)
	})
}
