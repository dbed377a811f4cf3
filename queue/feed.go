package queue

import (
	"context"
	"slices"
	"time"
)

// A feed is something outside that offers items in the order of numbers of its
// own, such as a stream on a server. Taking from it exactly once asks for one
// thing: how far it was taken in has to be on flash together with the items. So
// the mark of a feed is in the commit that adds its items, and in the State; no
// crash comes between them, and a store that is set back to an earlier day is set
// back with its marks, so that it takes again what it has lost, and nothing twice.
//
// A mark is moved only from where its owner believes it to be. So a request whose
// outcome was never learnt, and that is carried out late, cannot add its items
// behind the same items of a second try: one of the two is refused.

// FeedMark is how far a partition has taken in what a feed offers. What Made,
// Seq and At mean is the business of whoever takes; the engine keeps them.
type FeedMark struct {
	// Feed names the feed: 1 to MaxFeedName bytes.
	Feed string
	// Made is when the feed was made, in nanoseconds since 1970 by its own clock: a
	// feed that was removed and made again under its name has another.
	Made int64
	// Seq is the number up to which everything was taken, and At the time of that
	// by the feed's clock.
	Seq uint64
	At  int64
	// Taken is how many numbers became items, or were known as items already;
	// Skipped how many could not become one; Missed how many were gone before they
	// could be taken, at most.
	Taken, Skipped, Missed uint64
}

const (
	// MaxFeedName bounds FeedMark.Feed, in bytes.
	MaxFeedName = 1024
	// maxFeeds bounds State.Feeds. Beyond it the one that was moved longest ago is
	// forgotten: a queue takes from one feed at a time, and more are there only
	// when it was told to take from others over the years.
	maxFeeds = 16
)

// FeedRequest adds items that a feed offers, and moves its mark in the same
// commit. They go to partition 0.
type FeedRequest struct {
	// RequestTimeout is that of ProduceRequest.
	RequestTimeout time.Duration
	// From is the mark as it has to be now, without Feed and everything else if
	// there is none yet; To is what it becomes.
	From, To FeedMark
	// Items are those of ProduceRequest; there may be none.
	Items []Item
}

func (r *FeedRequest) validate(l *Limits) error {
	switch n := len(r.To.Feed); {
	case n == 0 || n > MaxFeedName:
		return invalid("feed is invalid; the name has %d bytes, 1 to %d are allowed", n, MaxFeedName)
	case r.From.Feed != "" && r.From.Feed != r.To.Feed:
		return invalid("feed is invalid; a mark of '%s' cannot become one of '%s'", r.From.Feed, r.To.Feed)
	case len(r.Items) > l.MaxProduceBatch:
		return invalid("items is invalid; max_produce_batch_size is %d but received %d", l.MaxProduceBatch, len(r.Items))
	}
	return validateTimeout(r.RequestTimeout, true, true)
}

// Feed returns the mark of the feed of that name; one without a name if there is
// none.
func (q *Queue) Feed(ctx context.Context, name string) (FeedMark, error) {
	var m FeedMark
	p := q.core.parts[0]
	if err := q.look(ctx, p, func() { m = p.st.Feed(name) }); err != nil {
		return FeedMark{}, err // See call.
	}
	return m, nil
}

// TakeFeed adds the items and moves the mark, both or neither; they are on flash
// when it returns nil. The error is of kind ErrDuplicate when the mark is not what
// From says: somebody else has moved it, or an earlier try did whose outcome was
// unknown. Every other error is one of Produce.
func (q *Queue) TakeFeed(ctx context.Context, req *FeedRequest) error {
	if err := req.validate(q.limits); err != nil {
		return err
	}
	p := q.core.parts[0]
	r := newRequest(kindProduce)
	r.items, r.count, r.feed = req.Items, len(req.Items), &feedStep{from: req.From, to: req.To}
	for i := range r.items {
		r.bytes += r.items[i].Size()
	}
	p.pending.Add(int64(r.count))
	return q.submit(ctx, p, r, req.RequestTimeout)
}

// feedStep is a mark that is to be moved.
type feedStep struct{ from, to FeedMark }

// checkFeed refuses a step that does not begin where the mark is.
func (g *group) checkFeed(s *feedStep) error {
	if s == nil || g.p.st.Feed(s.to.Feed) == s.from {
		return nil
	}
	return &Error{Kind: ErrDuplicate, Op: "take", Queue: g.p.key.Queue, Partition: g.p.key.Partition,
		Msg: "the feed was taken from by somebody else meanwhile; read its mark again"}
}

// moveFeed moves the mark, in the commit of the items.
func (g *group) moveFeed(s *feedStep) {
	if s == nil {
		return
	}
	g.p.st.SetFeed(s.to)
	g.c.Feeds = append(g.c.Feeds, s.to)
	g.c.Sync = true
}

// Feed returns the mark of the feed of that name; one without a name if there is
// none.
func (s *State) Feed(name string) FeedMark {
	for i := range s.Feeds {
		if s.Feeds[i].Feed == name {
			return s.Feeds[i]
		}
	}
	return FeedMark{}
}

// SetFeed moves the mark of a feed, or sets it.
func (s *State) SetFeed(m FeedMark) {
	s.Feeds = slices.DeleteFunc(s.Feeds, func(o FeedMark) bool { return o.Feed == m.Feed })
	if len(s.Feeds) >= maxFeeds {
		s.Feeds = slices.Delete(s.Feeds, 0, 1)
	}
	s.Feeds = append(s.Feeds, m)
}
