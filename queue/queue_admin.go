package queue

import (
	"context"
	"time"
)

// Clear removes items from all partitions.
func (q *Queue) Clear(ctx context.Context, r *ClearRequest) error {
	if !r.Ready && !r.Scheduled {
		return invalid("invalid clear request; one of 'queue', 'scheduled' must be true")
	}
	for _, p := range q.core.parts {
		if err := q.call(ctx, p, func() error { return p.clearItems(r) }); err != nil {
			return err
		}
	}
	return nil
}

// Stats returns the queue's figures. A partition that is not available has its
// Failure set and no figures.
func (q *Queue) Stats(ctx context.Context) (*Stats, error) {
	s := &Stats{LeaseWaiting: q.core.waiters.size(), InFlight: int(q.inFlight.Load())}
	for _, p := range q.core.parts {
		row := PartitionStats{Partition: p.key.Partition}
		if f := p.failed.Load(); f != nil {
			row.Failure = f
		} else if got, err := q.statsOf(ctx, p); err != nil {
			row.Failure = err
		} else {
			row = got
		}
		s.Partitions = append(s.Partitions, row)
	}
	return s, nil
}

func (q *Queue) statsOf(ctx context.Context, p *partition) (PartitionStats, error) {
	var s PartitionStats
	if err := q.look(ctx, p, func() { s = p.stats() }); err != nil {
		return PartitionStats{}, err // See call.
	}
	return s, nil
}

// Reload checks that the partitions answer. Their counters are always exact, so
// there is nothing to read again.
func (q *Queue) Reload(ctx context.Context) error {
	for _, p := range q.core.parts {
		if err := q.call(ctx, p, func() error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// listLimit is the limit of a list request that names none.
const listLimit = 1000

// List returns ready and leased items in the order of their ids. It returns
// fewer than asked for when they have more than Limits.MaxListBytes together.
func (q *Queue) List(ctx context.Context, r *ListRequest) ([]Item, error) {
	return q.list(ctx, r, (*partition).list)
}

// ListScheduled returns scheduled items in the order of their ids.
func (q *Queue) ListScheduled(ctx context.Context, r *ListRequest) ([]Item, error) {
	return q.list(ctx, r, (*partition).listScheduled)
}

func (q *Queue) list(ctx context.Context, r *ListRequest, fn func(*partition, uint64, *collector) error) ([]Item, error) {
	if err := q.CheckPartition(r.Partition); err != nil {
		return nil, err
	}
	p := q.core.parts[r.Partition]
	var from uint64
	if r.Pivot != "" {
		id, err := ParseID(r.Pivot)
		if err != nil {
			return nil, errMalformedID(r.Pivot, err)
		}
		from = id.Seq()
		if tag := p.key.Tag; string(id[8:]) > string(tag[:]) && from != unknownSeq {
			from++ // The pivot sorts behind the id with its sequence number.
		}
	}
	limit := r.Limit
	if limit < 0 {
		return nil, invalid("limit is invalid; limit cannot be negative")
	}
	if limit == 0 {
		limit = listLimit
	}
	maxBytes := q.limits.MaxListBytes
	if r.MaxBytes > 0 {
		maxBytes = min(maxBytes, r.MaxBytes)
	}
	var c *collector
	err := q.call(ctx, p, func() error {
		return p.reading(func() error {
			c = &collector{limit: limit, maxBytes: maxBytes, maxItem: r.MaxItem} // A new one for each try.
			return fn(p, from, c)
		})
	})
	switch {
	case err != nil:
		return nil, err // See call.
	case len(c.items) == 0 && c.large > 0:
		return nil, &LargeItem{Bytes: c.large}
	}
	return c.items, nil
}

// Import adds items as they are and returns them as they are stored now. A
// skipped item is returned as it was given.
func (q *Queue) Import(ctx context.Context, r *ImportRequest) ([]Item, error) {
	err := q.CheckPartition(r.Partition)
	if err == nil && len(r.Items) == 0 {
		err = invalid("items is invalid; cannot be empty")
	}
	if err != nil {
		if r.Released != nil {
			r.Released()
		}
		return nil, err
	}
	p := q.core.parts[r.Partition]
	var items []Item
	sent := newRequest(kindCall)
	sent.released = r.Released
	sent.call = func() (err error) {
		items, err = p.importItems(r.Items)
		return err
	}
	if err := q.submit(ctx, p, sent, AdminTimeout); err != nil {
		return nil, err // See call.
	}
	return items, nil
}

// DeleteItems removes items by id, leased or not.
func (q *Queue) DeleteItems(ctx context.Context, r *DeleteRequest) error {
	if err := q.CheckPartition(r.Partition); err != nil {
		return err
	}
	if len(r.IDs) == 0 {
		return invalid("ids is invalid; cannot be empty")
	}
	p := q.core.parts[r.Partition]
	seqs, err := parseIDs(r.IDs, p.key.Tag)
	if err != nil {
		return err
	}
	return q.call(ctx, p, func() error { return p.deleteItems(seqs) })
}

// Redrive moves ready items to another queue and returns how many are on their
// way or there. It returns when they are there, or with an error while the rest
// follows by itself.
func (q *Queue) Redrive(ctx context.Context, r *RedriveRequest) (int, error) {
	to, err := q.finder(r.To)
	if err != nil {
		return 0, err
	}
	switch {
	case to == q:
		return 0, invalid("target queue is invalid; '%s' is the queue itself", r.To)
	case r.Limit < 0:
		return 0, invalid("limit is invalid; limit cannot be negative")
	}
	total := 0
	for _, p := range q.core.parts {
		// What comes in meanwhile is not redriven, or it might never end.
		left := int(p.ready.Load())
		if r.Limit > 0 {
			left = min(left, r.Limit-total)
		}
		for left > 0 {
			n, err := q.redriveSome(ctx, p, to, min(left, maxMove))
			total += n
			left -= n
			if err != nil {
				return total, err
			}
			if n == 0 {
				break
			}
		}
	}
	return total, nil
}

// redriveSome moves up to n ready items of a partition and waits for it.
func (q *Queue) redriveSome(ctx context.Context, p *partition, to *Queue, n int) (int, error) {
	settled := make(chan error, 1)
	marked := 0
	dest := to.producePartition(nil)
	err := q.call(ctx, p, func() (err error) {
		marked, err = p.markRedrive(n, dest.key.Tag, settled)
		return err
	})
	if err != nil {
		return 0, err // See call.
	}
	if marked == 0 {
		return 0, nil
	}
	timer := time.NewTimer(AdminTimeout)
	defer timer.Stop()
	select {
	case err := <-settled:
		return marked, err
	case <-timer.C:
		return marked, errFailing(p.key.Partition, context.DeadlineExceeded)
	case <-ctx.Done():
		return marked, errFailing(p.key.Partition, context.Cause(ctx))
	}
}
