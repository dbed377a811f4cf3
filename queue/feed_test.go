package queue_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// take adds n items of a feed and moves its mark.
func (w *world) take(q *queue.Queue, from, to queue.FeedMark, n int) error {
	items := make([]queue.Item, n)
	for i := range items {
		items[i].Payload = fmt.Appendf(nil, "%s %d", to.Feed, to.Seq-uint64(n)+uint64(i)+1)
	}
	return q.TakeFeed(w.ctx(), &queue.FeedRequest{RequestTimeout: time.Minute, From: from, To: to, Items: items})
}

func (w *world) feed(q *queue.Queue, name string) queue.FeedMark {
	w.t.Helper()
	m, err := q.Feed(w.ctx(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// TestTakeFeed: items and mark come together, and a mark is moved only from where
// it is.
func TestTakeFeed(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		if m := w.feed(q, "f"); m != (queue.FeedMark{}) {
			t.Errorf("a new queue has the mark %+v", m)
		}
		one := queue.FeedMark{Feed: "f", Made: 7, Seq: 3, At: 9, Taken: 3}
		if err := w.take(q, queue.FeedMark{}, one, 3); err != nil {
			t.Fatal(err)
		}
		two := queue.FeedMark{Feed: "f", Made: 7, Seq: 5, At: 11, Taken: 5, Skipped: 1}
		for _, from := range []queue.FeedMark{{}, {Feed: "f", Made: 8, Seq: 3, At: 9, Taken: 3}, two} {
			if err := w.take(q, from, two, 2); !errors.Is(err, queue.ErrDuplicate) {
				t.Errorf("from %+v: %v, want an error of kind ErrDuplicate", from, err)
			}
		}
		if m := w.feed(q, "f"); m != one {
			t.Errorf("the mark is %+v, want %+v", m, one)
		}
		if err := w.take(q, one, two, 2); err != nil {
			t.Fatal(err)
		}
		// A mark alone, and one of another feed.
		idle := queue.FeedMark{Feed: "f", Made: 7, Seq: 900, At: 12, Taken: 5, Skipped: 1}
		if err := w.take(q, two, idle, 0); err != nil {
			t.Fatal(err)
		}
		if err := w.take(q, queue.FeedMark{}, queue.FeedMark{Feed: "g", Seq: 1}, 1); err != nil {
			t.Fatal(err)
		}
		w.restart()
		q = w.queue("q")
		if m := w.feed(q, "f"); m != idle {
			t.Errorf("after a restart the mark is %+v, want %+v", m, idle)
		}
		if l := w.counts(q, 6, 0, 0); l.Produced != 6 {
			t.Errorf("%d produced, want 6", l.Produced)
		}
	})
}

// TestTakeFeedAtOnce: of many that take the same, one does.
func TestTakeFeedAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		to := queue.FeedMark{Feed: "f", Seq: 2, Taken: 2}
		results := make(chan error)
		const many = 20
		for range many {
			go func() { results <- w.take(q, queue.FeedMark{}, to, 2) }()
		}
		done := 0
		for range many {
			switch err := <-results; {
			case err == nil:
				done++
			case !errors.Is(err, queue.ErrDuplicate):
				t.Error(err)
			}
		}
		if w.counts(q, 2, 0, 0); done != 1 {
			t.Errorf("%d took it, want 1", done)
		}
	})
}

// TestTakeFeedFull: where there is no room for the items the mark stays; a mark
// alone needs none.
func TestTakeFeedFull(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q", func(i *queue.Info) { i.MaxItems = 4 })
		one := queue.FeedMark{Feed: "f", Seq: 3, Taken: 3}
		if err := w.take(q, queue.FeedMark{}, one, 3); err != nil {
			t.Fatal(err)
		}
		two := queue.FeedMark{Feed: "f", Seq: 5, Taken: 5}
		if err := w.take(q, one, two, 2); !errors.Is(err, queue.ErrFull) {
			t.Fatalf("%v, want an error of kind ErrFull", err)
		}
		if err := w.take(q, one, queue.FeedMark{Feed: "f", Seq: 9, Taken: 8}, 5); !errors.Is(err, queue.ErrInvalid) {
			t.Fatalf("%v, want an error of kind ErrInvalid", err)
		}
		if m := w.feed(q, "f"); m != one {
			t.Errorf("the mark is %+v, want %+v", m, one)
		}
		skipped := queue.FeedMark{Feed: "f", Seq: 4, Taken: 3, Skipped: 1}
		if err := w.take(q, one, skipped, 0); err != nil {
			t.Error(err)
		}
	})
}

// TestTakeFeedTwice: items whose source ids are stored count as taken.
func TestTakeFeedTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		items := func() []queue.Item { return []queue.Item{{SourceID: "f/1"}, {SourceID: "f/2"}} }
		for i := range 2 {
			m := queue.FeedMark{Feed: "f", Made: int64(i), Seq: 2, Taken: uint64(2 * (i + 1))}
			err := q.TakeFeed(w.ctx(), &queue.FeedRequest{RequestTimeout: time.Minute, From: w.feed(q, "f"), To: m, Items: items()})
			if err != nil {
				t.Fatal(err)
			}
		}
		if l := w.counts(q, 2, 0, 0); l.Produced != 2 {
			t.Errorf("%d produced, want 2", l.Produced)
		}
	})
}

// TestTakeFeedBounds: names are bounded, and so is the number of marks.
func TestTakeFeedBounds(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		for _, to := range []queue.FeedMark{{}, {Feed: strings.Repeat("x", queue.MaxFeedName+1)}} {
			if err := w.take(q, queue.FeedMark{}, to, 1); !errors.Is(err, queue.ErrInvalid) {
				t.Errorf("a name of %d bytes: %v, want an error of kind ErrInvalid", len(to.Feed), err)
			}
		}
		if err := w.take(q, queue.FeedMark{Feed: "a"}, queue.FeedMark{Feed: "b"}, 1); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("from one feed to another: %v, want an error of kind ErrInvalid", err)
		}
		for i := range 20 {
			if err := w.take(q, queue.FeedMark{}, queue.FeedMark{Feed: fmt.Sprint("f", i), Seq: 1}, 1); err != nil {
				t.Fatal(err)
			}
		}
		if m := w.feed(q, "f3"); m.Seq != 0 {
			t.Errorf("the oldest of 20 marks is still there: %+v", m)
		}
		if m := w.feed(q, "f4"); m.Seq != 1 {
			t.Error("one of the last 16 marks is gone")
		}
	})
}
