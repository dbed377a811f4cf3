package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

// Partitions are dealt by affinity over all queues, however they come.
func TestAffinity(t *testing.T) {
	for _, per := range []int{1, 3, 10} {
		meta := memstore.NewMeta()
		storage := func() queue.Storage { return memstore.New(memstore.Options{}) }
		svc, err := queue.Open(t.Context(), queue.Config{Meta: meta, Storages: []queue.NamedStorage{
			{Name: "large", Storage: storage(), Affinity: 7}, {Name: "small", Storage: storage(), Affinity: 3},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 90; n += per {
			err := svc.Create(t.Context(), queue.Info{Name: fmt.Sprint("q", n), LeaseTimeout: time.Minute,
				ExpireTimeout: time.Hour, RequestedPartitions: per})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := svc.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		defs, err := meta.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, d := range defs {
			for _, p := range d.Places {
				got[p.Storage]++
			}
		}
		if got["large"] != 63 || got["small"] != 27 {
			t.Errorf("with %d partitions a queue: %v, want 63 and 27 of 90", per, got)
		}
	}
}

func TestUnknownStorage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create("q")
		w.stop()
		defer w.start()
		_, err := queue.Open(w.ctx(), queue.Config{Meta: w.meta, Clock: w.clock, Storages: []queue.NamedStorage{
			{Name: "other", Storage: w.storage, Affinity: 1}}})
		wantErr(t, err, queue.ErrInvalid, "invalid partition storage; queue 'q' references 'mem' which is undefined")
	})
}
