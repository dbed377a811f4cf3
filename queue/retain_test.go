package queue_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/kapetan-io/querator-edge/queue"
)

// The body of a request, which its items lie in, is let go of when the request was
// answered, and not only when the partition is asked for something again.
func TestBodiesAreLetGo(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.create("q")
		body := make([]byte, 1<<20)
		left := weak.Make(&body[0])
		err := q.Produce(w.ctx(), &queue.ProduceRequest{
			RequestTimeout: time.Minute,
			Items:          []queue.Item{{Payload: body[:10:10]}},
		})
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if left.Value() != nil {
			t.Error("the body of an answered request is still held")
		}
		w.counts(q, 1, 0, 0)
	})
}
