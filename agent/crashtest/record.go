package crashtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// The methods of this file write down what was sent and what was answered.

// outcome is what an error says of a change.
type outcome int

const (
	done    outcome = iota
	refused         // nothing was done
	open            // it may be done, or not
)

// outcomeOf judges the error of a change.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return done
	case errors.Is(err, client.ErrInvalid), errors.Is(err, client.ErrNotFound), errors.Is(err, client.ErrLeaseLost),
		errors.Is(err, client.ErrFull), errors.Is(err, client.ErrDuplicate):
		return refused
	}
	return open
}

// newItems makes n items of a producer for a queue, and the book of their
// batch. shape makes the parts of each that the caller decides.
func (b *Book) newItems(queue string, producer, n int, shape func(it *item) client.ProduceItem) (*batch, []client.ProduceItem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bt := &batch{queue: queue}
	wire := make([]client.ProduceItem, n)
	for i := range wire {
		it := &item{n: b.next, home: queue, at: queue, producer: producer, batch: bt}
		it.kind = fmt.Sprintf("kind-%d", it.n%7)
		b.next++
		wire[i] = shape(it)
		wire[i].Kind, wire[i].SourceID, wire[i].EnqueueAt, wire[i].Reference = it.kind, it.sourceID, it.due, reference(it.n)
		it.size = len(wire[i].Payload)
		b.items[it.n] = it
		bt.items = append(bt.items, it)
		if it.sourceID != "" {
			bt.wire = append(bt.wire, wire[i].Payload)
		}
	}
	return bt, wire
}

// produced notes the answer to a produce.
func (b *Book) produced(bt *batch, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
	switch outcomeOf(err) {
	case done:
		b.arrived(bt)
		bt.wire = nil
		b.totals.Acknowledged += len(bt.items)
	case refused:
		b.forgetBatch(bt)
	case open:
		b.totals.Unknown += len(bt.items)
		for _, it := range bt.items {
			it.loose = true
		}
	}
}

// arrived notes that a batch is there. The caller holds mu.
func (b *Book) arrived(bt *batch) {
	if bt.acked {
		return
	}
	bt.acked = true
	if q := b.queues[bt.queue]; q != nil {
		q.produced += len(bt.items)
	}
}

// forgetBatch notes that a batch was never there. The caller holds mu.
func (b *Book) forgetBatch(bt *batch) {
	for _, it := range bt.items {
		delete(b.items, it.n)
	}
	bt.items = nil
}

// leaseStart returns what the order of a lease is to be judged by.
func (b *Book) leaseStart(queue string) map[track]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := make(map[track]uint64)
	if q := b.queues[queue]; q != nil {
		for t, n := range q.seen {
			before[t] = n
		}
	}
	return before
}

// leased notes the answer to a lease that was sent at the given time.
func (b *Book) leased(queue string, sent time.Time, timeout time.Duration, before map[track]uint64, got []client.Item, err error) *lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
	q := b.queues[queue]
	if err != nil {
		if outcomeOf(err) == open && !errors.Is(err, client.ErrEmpty) && q != nil {
			q.lost++
		}
		return nil
	}
	l := &lease{queue: queue, partition: got[0].Partition, until: sent.Add(timeout)}
	now := time.Now()
	for i := range got {
		it := b.find(got[i].Payload, fmt.Sprintf("leased from %s", queue))
		if it == nil {
			continue
		}
		l.ids, l.items = append(l.ids, got[i].ID), append(l.items, it)
		if bad := b.moved(it, queue, got[i].Attempts-1); bad != "" {
			b.problem("a lease: %s (the attempt before this one)", bad)
		}
		it.settle(queue, got[i].Attempts)
		b.arrived(it.batch)
		if got[i].Kind != it.kind {
			b.problem("%v was leased with kind %q, not %q", it, got[i].Kind, it.kind)
		}
		if now.Add(10 * time.Millisecond).Before(it.due) {
			b.problem("%v was leased %s before it was due", it, time.Until(it.due))
		}
		if q == nil || it.loose || !it.due.IsZero() || got[i].Attempts != 1 {
			continue
		}
		t := track{l.partition, it.producer}
		if last, ok := before[t]; ok && it.n <= last {
			b.problem("%v was leased after item %d of the same producer and partition %d", it, last, l.partition)
		}
		before[t] = it.n // For those behind it in the same answer.
		q.seen[t] = max(q.seen[t], it.n)
	}
	return l
}

// find returns the item that a payload belongs to; nil, with a note, if there is
// none. The caller holds mu.
func (b *Book) find(payload []byte, where string) *item {
	n, err := readPayload(payload)
	if err != nil {
		b.problem("%s: %v", where, err)
		return nil
	}
	if it := b.items[n]; it != nil {
		return it
	}
	if n < b.next {
		b.problem("item %d, which is gone or was refused, is back: %s", n, where)
	} else {
		b.problem("item %d was never produced: %s", n, where)
	}
	return nil
}

// sends notes that a change of the items of l is sent.
func (b *Book) sends(kind changeKind, l *lease) *change {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &change{kind: kind, queue: l.queue, partition: l.partition, ids: l.ids, items: l.items, until: l.until, start: b.start}
	for _, it := range c.items {
		it.change = c
		switch kind {
		case changeRetry:
			it.loose = true
		case changeDead:
			it.loose, it.deadSent = true, true
		}
	}
	return c
}

// answered notes the answer to a change, and what it means if the lease should
// have held.
func (b *Book) answered(c *change, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
	out := outcomeOf(err)
	if out == refused && c.kind <= changeDead && time.Now().Before(c.until) {
		b.problem("a lease of queue %s, partition %d was lost %s before its deadline (first %v of %d): %v",
			c.queue, c.partition, time.Until(c.until), c.items[0], len(c.items), err)
	}
	if out == done && c.kind == changeDelete && !time.Now().Before(c.until) {
		// The lease may have lapsed before: the items have other ids then, and to
		// delete what is not there is no error.
		out = open
	}
	if out == open {
		b.unknown = append(b.unknown, c)
		b.totals.Unknown += len(c.items)
		return
	}
	for _, it := range c.items {
		if it.change != c {
			continue
		}
		it.change = nil
		if out == refused && c.kind == changeDead {
			it.deadSent = false
		}
	}
	if out == done {
		b.applied(c)
	}
}

// applied notes that a change was made. The caller holds mu.
func (b *Book) applied(c *change) {
	q := b.queues[c.queue]
	switch c.kind {
	case changeComplete:
		b.totals.Completed += len(c.items)
		for _, it := range c.items {
			b.completed[it.n] = completion{queue: c.queue, start: c.start}
		}
		if q != nil {
			q.completed += len(c.items)
		}
	case changeDelete:
		if q != nil {
			q.deleted += len(c.items)
		}
	case changeClear:
	default:
		return
	}
	for _, it := range c.items {
		delete(b.items, it.n)
	}
}
