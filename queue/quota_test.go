package queue_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

func TestQuotaRejects(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.MaxItems = 3 })
		w.produce(q, "a", "b")
		produce := func(payloads ...string) error {
			items := make([]queue.Item, len(payloads))
			for i := range items {
				items[i].Payload = []byte(payloads[i])
			}
			return q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Second, Items: items})
		}
		wantErr(t, produce("c", "d"), queue.ErrFull, "queue is full; it holds 2 items, max_items is 3; try again later")
		if err := produce("c"); err != nil {
			t.Fatal(err)
		}
		held := w.lease(q, 1, "a")
		if err := produce("d"); !errors.Is(err, queue.ErrFull) {
			t.Fatalf("a leased item does not count: %v", err)
		}
		w.complete(q, held...)
		if err := produce("d"); err != nil {
			t.Fatal(err)
		}
		w.counts(q, 3, 0, 0)
		w.restart()
		q = w.queue("q")
		if err := produce("e"); !errors.Is(err, queue.ErrFull) {
			t.Fatalf("the limit is forgotten over a restart: %v", err)
		}
	})
}

func TestQuotaDropsTheOldest(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.MaxItems, i.FullPolicy = 3, queue.FullDropOldest })
		w.produce(q, "a", "b", "c")
		w.lease(q, 1, "a")
		w.produce(q, "d", "e")
		if l := w.counts(q, 2, 1, 0); l.Dropped != 2 {
			t.Fatalf("ledger %+v", l)
		}
		err := q.Produce(w.ctx(), &queue.ProduceRequest{RequestTimeout: time.Second, Items: make([]queue.Item, 4)})
		wantErr(t, err, queue.ErrInvalid, "items is invalid; max_items of the queue is 3 but received 4")
		w.counts(q, 2, 1, 0)
		w.restart()
		q = w.queue("q")
		w.lease(q, 5, "d", "e")
	})
}

func TestQuotaBytes(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.MaxBytes, i.FullPolicy = 10_000, queue.FullDropOldest })
		for range 50 {
			w.produce(q, string(make([]byte, 1000)), "x")
		}
		s, err := q.Stats(w.ctx())
		if err != nil || s.Partitions[0].Bytes > 10_000 || s.Partitions[0].Bytes < 8000 {
			t.Fatalf("stats %+v, %v", s.Partitions[0], err)
		}
	})
}
