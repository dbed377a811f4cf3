package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

func TestClear(t *testing.T) {
	for _, c := range []struct {
		r                        queue.ClearRequest
		ready, leased, scheduled int64
		cleared                  uint64
	}{
		{queue.ClearRequest{Ready: true}, 0, 2, 1, 3},
		{queue.ClearRequest{Scheduled: true}, 3, 2, 0, 1},
		{queue.ClearRequest{Ready: true, Scheduled: true}, 0, 2, 0, 4},
		{queue.ClearRequest{Ready: true, Destructive: true}, 0, 0, 0, 6},
	} {
		inWorld(t, func(w *world) {
			q := w.create("q")
			w.produce(q, "a", "b", "c", "d", "e")
			w.produceItems(q, queue.Item{EnqueueAt: w.clock.Now().Add(time.Minute)})
			held := w.lease(q, 2, "a", "b")
			if err := q.Clear(w.ctx(), &c.r); err != nil {
				t.Fatal(err)
			}
			if l := w.counts(q, c.ready, c.leased, c.scheduled); l.Cleared != c.cleared {
				t.Fatalf("cleared %+v: ledger %+v", c.r, l)
			}
			w.restart()
			q = w.queue("q")
			w.counts(q, c.ready, c.leased, c.scheduled)
			if c.leased > 0 {
				w.complete(q, held...)
			}
			w.produce(q, "f")
			want := []string{"f"}
			if c.ready > 0 {
				want = []string{"c", "d", "e", "f"}
			}
			w.lease(q, 10, want...)
		})
	}
}

// neighbour is the id directly before (-1) or behind (1) id. The last bytes are
// random, so that one step carries now and then.
func neighbour(id queue.ID, step int64) queue.ID {
	n := new(big.Int).SetBytes(id[:])
	n.Add(n, big.NewInt(step)).FillBytes(id[:])
	return id
}

func TestListAndDelete(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a", "b", "c", "d", "e")
		w.lease(q, 2, "a", "b")
		list := func(pivot string, limit int) []queue.Item {
			items, err := q.List(w.ctx(), &queue.ListRequest{Pivot: pivot, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			return items
		}
		all := list("", 0)
		if got := fmt.Sprint(payloads(all)); got != "[a b c d e]" || !all[1].IsLeased || all[2].IsLeased {
			t.Fatalf("list: %v", got)
		}
		if got := fmt.Sprint(payloads(list(all[1].ID.String(), 2))); got != "[b c]" {
			t.Fatalf("page: %v", got)
		}
		before := neighbour(all[0].ID, -1)
		if got := fmt.Sprint(payloads(list(before.String(), 1))); got != "[a]" {
			t.Fatalf("pivot just before the first: %v", got)
		}
		after := neighbour(all[0].ID, 1)
		if got := fmt.Sprint(payloads(list(after.String(), 1))); got != "[b]" {
			t.Fatalf("pivot just behind the first: %v", got)
		}
		err := q.DeleteItems(w.ctx(), &queue.DeleteRequest{IDs: []string{
			all[1].ID.String(), all[3].ID.String(), queue.NewID(1<<40, queue.Tag{}).String()}})
		if err != nil {
			t.Fatal(err)
		}
		w.counts(q, 2, 1, 0)
		w.restart()
		q = w.queue("q")
		if got := fmt.Sprint(payloads(list("", 0))); got != "[a c e]" {
			t.Fatalf("after delete: %v", got)
		}
		w.lease(q, 5, "c", "e")
	})
}

// With MaxItem a list ends before an item that is larger, wherever the items are, and
// says how large it is when it is the first. Page after page, none is left out.
func TestListWithoutLargeItems(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		const size = 1 << 20
		large := func(name string) string { return name + strings.Repeat(".", size) }
		w.produce(q, large("A"), "b", large("C")) // Leased.
		for range 3 {
			w.tryLease(q, 1, time.Second) // Large items are leased one at a time.
		}
		w.counts(q, 0, 3, 0)
		w.produce(q, "d", large("E"), "f", "g", large("H"))
		later := w.clock.Now().Add(time.Hour)
		w.produceItems(q, queue.Item{Payload: []byte("i"), EnqueueAt: later}, queue.Item{Payload: []byte(large("J")), EnqueueAt: later})
		walk := func(list func(context.Context, *queue.ListRequest) ([]queue.Item, error)) string {
			var pages []string
			r := queue.ListRequest{MaxItem: size / 2}
			for {
				items, err := list(w.ctx(), &r)
				var beyond *queue.LargeItem
				if errors.As(err, &beyond) {
					if beyond.Bytes < size || beyond.Bytes > size+1000 {
						t.Fatalf("an item of %d bytes is said to have %d", size, beyond.Bytes)
					}
					r.MaxItem, r.Limit = beyond.Bytes, 1
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(items) == 0 {
					return strings.Join(pages, " ")
				}
				page := ""
				for _, it := range items {
					page += string(it.Payload[:1])
				}
				pages = append(pages, page)
				r = queue.ListRequest{MaxItem: size / 2, Pivot: neighbour(items[len(items)-1].ID, 1).String()}
			}
		}
		if got := walk(q.List); got != "A b C d E fg H" {
			t.Errorf("the pages are %q", got)
		}
		if got := walk(q.ListScheduled); got != "i J" {
			t.Errorf("the pages of scheduled items are %q", got)
		}
	})
}

func TestImport(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "first")
		now := w.clock.Now()
		in := []queue.Item{
			{Payload: []byte("held"), IsLeased: true, LeaseDeadline: now.Add(time.Minute), ExpireDeadline: now.Add(time.Hour), Attempts: 10000, SourceID: "s1"},
			{Payload: []byte("free"), LeaseDeadline: now.Add(time.Hour), ExpireDeadline: now.Add(time.Hour), MaxAttempts: 3},
			{Payload: []byte("again"), SourceID: "s1"},
		}
		out, err := q.Import(w.ctx(), &queue.ImportRequest{Items: in})
		if err != nil || len(out) != 3 {
			t.Fatalf("import: %+v, %v", out, err)
		}
		if !out[0].IsLeased || !out[0].LeaseDeadline.Equal(now.Add(time.Minute)) || out[0].Attempts != 10000 ||
			!out[1].LeaseDeadline.Equal(now.Add(time.Hour)) || out[1].ID.IsZero() || !out[2].ID.IsZero() {
			t.Fatalf("imported: %+v", out)
		}
		w.counts(q, 2, 1, 0)
		w.lease(q, 5, "first", "free")
		w.complete(q, out[0])
		if _, err := q.Import(w.ctx(), &queue.ImportRequest{Items: []queue.Item{{SourceID: "s1", ExpireDeadline: now.Add(time.Hour)}}}); err != nil {
			t.Fatal(err)
		}
		w.counts(q, 1, 2, 0)
	})
}

func TestSourceID(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.RequestedPartitions = 3 })
		item := func(id, payload string) queue.Item { return queue.Item{SourceID: id, Payload: []byte(payload)} }
		w.produceItems(q, item("a", "1"), item("b", "2"), item("a", "3"))
		w.produceItems(q, item("a", "4"))
		w.counts(q, 2, 0, 0)
		w.restart()
		q = w.queue("q")
		w.produceItems(q, item("a", "5"))
		l := w.counts(q, 2, 0, 0)
		if l.Produced != 2 {
			t.Fatalf("ledger %+v", l)
		}
	})
}

func TestRedrive(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.DeadQueue = "dead" })
		w.produce(q, "a", "b", "c")
		w.retry(q, queue.RetryItem{Dead: true}, w.lease(q, 3, "a", "b", "c")...)
		synctest.Wait()
		w.counts(dead, 3, 0, 0)
		n, err := dead.Redrive(w.ctx(), &queue.RedriveRequest{To: "q", Limit: 2})
		if n != 2 || err != nil {
			t.Fatalf("redrive: %d, %v", n, err)
		}
		w.counts(dead, 1, 0, 0)
		items := w.lease(q, 5, "a", "b")
		if items[0].Attempts != 1 {
			t.Fatalf("redriven item: %+v", items[0])
		}
		_, err = dead.Redrive(w.ctx(), &queue.RedriveRequest{To: "nowhere"})
		wantErr(t, err, queue.ErrNotFound, "queue does not exist; no such queue named 'nowhere'")
	})
}

func TestDeleteAndCreateAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		w.produce(q, "a")
		old := w.lease(q, 1, "a")
		if err := w.svc.Delete(w.ctx(), "q"); err != nil {
			t.Fatal(err)
		}
		_, err := w.svc.Queue("q")
		wantErr(t, err, queue.ErrNotFound, "queue does not exist; no such queue named 'q'")
		q = w.create("q")
		w.counts(q, 0, 0, 0)
		w.produce(q, "b")
		w.lease(q, 1, "b")
		err = q.Complete(w.ctx(), &queue.CompleteRequest{RequestTimeout: time.Second, IDs: ids(old)})
		wantErr(t, err, queue.ErrNotFound, "invalid storage id; '"+old[0].ID.String()+"' does not exist")
	})
}

func TestUpdateMerges(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create("dead")
		q := w.create("q", func(i *queue.Info) { i.DeadQueue, i.Reference = "dead", "r" })
		if err := w.svc.Update(w.ctx(), queue.Info{Name: "q", MaxAttempts: 7}); err != nil {
			t.Fatal(err)
		}
		got := q.Info()
		if got.LeaseTimeout != time.Minute || got.ExpireTimeout != time.Hour || got.MaxAttempts != 7 ||
			got.DeadQueue != "" || got.Reference != "" || got.RequestedPartitions != 1 {
			t.Fatalf("updated to %+v", got)
		}
		err := w.svc.Update(w.ctx(), queue.Info{Name: "q", LeaseTimeout: 2 * time.Hour})
		wantErr(t, err, queue.ErrInvalid, "lease timeout is too long; 2h0m0s cannot be greater than the expire timeout 1h0m0s")
		w.restart()
		if again := w.queue("q").Info(); !again.UpdatedAt.Equal(got.UpdatedAt) || again.MaxAttempts != 7 {
			t.Fatalf("after a restart %+v, was %+v", again, got)
		}
	})
}
