package crashtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// passing begins the names of queues that come and go.
const passing = "passing-"

func isPassing(queue string) bool { return strings.HasPrefix(queue, passing) }

// churnStep creates a queue, uses it, and deletes it. Nobody else uses it, so
// that what it holds is known to the item at any time. Sometimes it moves items
// out of the dead queue instead.
func (w *worker) churnStep(ctx context.Context) bool {
	if w.r.IntN(4) == 0 {
		return w.redrive(ctx)
	}
	name := fmt.Sprintf(passing+"%d", w.r.IntN(3))
	if w.book.state(name) == absent && !w.create(ctx, client.QueueInfo{
		Name: name, LeaseTimeout: time.Second, ExpireTimeout: time.Hour, Partitions: 1 + w.r.IntN(3),
	}) {
		return false
	}
	for range w.r.IntN(6) {
		var ok bool
		switch n := w.r.IntN(10); {
		case n < 6:
			ok = w.produceTo(ctx, name, 1+w.r.IntN(20))
		case n < 9:
			ok = w.leaseFrom(ctx, name)
		default:
			ok = w.clear(ctx, name)
		}
		if !ok {
			return false
		}
	}
	if w.r.IntN(4) == 0 {
		return rest(ctx, 10*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	w.book.deletes(name)
	err := w.api.DeleteQueue(ctx, name)
	w.book.deleted(name, err)
	return w.goesOn("delete queue "+name, err)
}

func (w *worker) create(ctx context.Context, info client.QueueInfo) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	w.book.creates(info)
	err := w.api.CreateQueue(ctx, info)
	w.book.created(info.Name, err)
	if err == nil {
		select {
		case w.Load.created <- struct{}{}:
		default:
		}
	}
	return w.goesOn("create queue "+info.Name, err)
}

// clear removes all items of a queue that only this goroutine uses.
func (w *worker) clear(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c := w.book.sends(changeClear, w.book.all(name))
	err := w.api.ClearQueue(ctx, name, client.ClearOptions{Ready: true, Destructive: true})
	w.book.answered(c, err)
	return w.goesOn("clear "+name, err)
}

// all returns the items of a queue, in the form of a lease.
func (b *Book) all(queue string) *lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &lease{queue: queue}
	for _, it := range b.items {
		if it.at == queue {
			l.items = append(l.items, it)
		}
	}
	slices.SortFunc(l.items, func(a, b *item) int { return int(a.n) - int(b.n) })
	return l
}

// redrive moves items out of the dead queue.
func (w *worker) redrive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	w.book.redrives()
	_, err := w.api.Redrive(ctx, deadName, redriveTo, 1+w.r.IntN(100))
	w.book.operation()
	return w.goesOn("redrive", err)
}

func (b *Book) redrives() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.redriving = true
}

func (b *Book) operation() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
}

// produceAgain repeats a produce of items with source ids, all of which must be
// skipped. It is only done with items that are scheduled and not due for long,
// so that nobody can have taken them meanwhile.
func (w *worker) produceAgain(ctx context.Context, queue string, bt *batch, wire []client.ProduceItem) bool {
	if time.Until(bt.items[0].due) < 1200*time.Millisecond {
		return true
	}
	err := w.api.Produce(ctx, queue, wire...)
	w.book.operation()
	if errors.Is(err, client.ErrFull) {
		return true
	}
	return w.goesOn("produce again to "+queue, err)
}

// Repeat produces again, as a client that had no answer does, the batches with
// source ids that were under way when the agent ended. It is to be called before
// Check and while nobody else uses the agent; after it they must be there once.
func (b *Book) Repeat(ctx context.Context, p *Process) error {
	for _, bt := range b.unanswered() {
		wire := make([]client.ProduceItem, len(bt.items))
		for i, it := range bt.items {
			wire[i] = client.ProduceItem{Payload: bt.wire[i], Kind: it.kind, SourceID: it.sourceID, EnqueueAt: it.due, Reference: reference(it.n)}
		}
		if err := p.Client.Produce(ctx, bt.queue, wire...); err != nil {
			return fmt.Errorf("produce again: %w", err)
		}
		b.produced(bt, nil)
	}
	return nil
}

// unanswered returns the batches with source ids whose produce is open.
func (b *Book) unanswered() []*batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*batch
	for _, it := range b.items {
		if it.sourceID != "" && !it.batch.acked && it == it.batch.items[0] {
			list = append(list, it.batch)
		}
	}
	return list
}
