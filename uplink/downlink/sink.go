package downlink

import (
	"context"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Into returns the queues of a service as a sink.
func Into(s *queue.Service) Sink { return &service{s} }

type service struct{ s *queue.Service }

// takeTimeout bounds a commit. What becomes of one that takes longer is seen from the mark.
const takeTimeout = time.Minute

// Mark implements Sink.
func (s *service) Mark(ctx context.Context, name, feed string) (queue.FeedMark, bool, error) {
	q, err := s.s.Queue(name)
	if err != nil {
		return queue.FeedMark{}, false, err
	}
	m, err := q.Feed(ctx, feed)
	return m, q.Paused(), err
}

// Take implements Sink.
func (s *service) Take(ctx context.Context, name string, from, to queue.FeedMark, items []queue.Item) error {
	q, err := s.s.Queue(name)
	if err != nil {
		return err
	}
	// The engine owns the items, and may still have those of a try that took too long.
	return q.TakeFeed(ctx, &queue.FeedRequest{RequestTimeout: takeTimeout, From: from, To: to, Items: slices.Clone(items)})
}
