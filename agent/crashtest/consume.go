package crashtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// maxHeld bounds the leases that are kept over the end of the agent.
const maxHeld = 20

// consumeStep leases a batch and does something with it.
func (w *worker) consumeStep(ctx context.Context) bool {
	if l := w.book.takeHeld(); l != nil {
		return w.change(ctx, changeComplete, l)
	}
	queues := fixedQueues()
	return w.leaseFrom(ctx, queues[w.r.IntN(len(queues))].Name)
}

func (w *worker) leaseFrom(ctx context.Context, queue string) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	timeout := []time.Duration{300 * time.Millisecond, time.Second, time.Second, 4 * time.Second}[w.r.IntN(4)]
	before := w.book.leaseStart(queue)
	sent := time.Now()
	got, err := w.api.Lease(ctx, queue, client.LeaseOptions{
		BatchSize: 1 + w.r.IntN(60), Wait: time.Duration(11+w.r.IntN(100)) * time.Millisecond, LeaseTimeout: timeout,
	})
	l := w.book.leased(queue, sent, timeout, before, got, err)
	if errors.Is(err, client.ErrEmpty) {
		return true
	}
	if l == nil || len(l.ids) == 0 {
		return w.goesOn("lease from "+queue, err)
	}
	return w.handle(ctx, l, timeout)
}

// handle does with leased items what a consumer may do.
func (w *worker) handle(ctx context.Context, l *lease, timeout time.Duration) bool {
	switch n := w.r.IntN(100); {
	case n < 55:
		return w.change(ctx, changeComplete, l)
	case n < 70: // In two parts, with something else done to one of them.
		a, b := l.split(w.r.IntN(len(l.ids) + 1))
		kinds := []changeKind{changeComplete, changeRetry, changeDelete}
		return (len(a.ids) == 0 || w.change(ctx, kinds[w.r.IntN(3)], a)) &&
			(len(b.ids) == 0 || w.change(ctx, changeComplete, b))
	case n < 80:
		return w.change(ctx, changeRetry, l)
	case n < 85:
		if !w.book.hasDead(l.queue) {
			return w.change(ctx, changeComplete, l)
		}
		return w.change(ctx, changeDead, l)
	case n < 92:
		return w.extend(ctx, l, timeout)
	case n < 96:
		return true // The lease lapses.
	}
	return w.book.hold(l) || w.change(ctx, changeComplete, l)
}

// split divides a lease.
func (l *lease) split(at int) (a, b *lease) {
	x, y := *l, *l
	x.ids, x.items = l.ids[:at], l.items[:at]
	y.ids, y.items = l.ids[at:], l.items[at:]
	return &x, &y
}

// change makes a change of leased items.
func (w *worker) change(ctx context.Context, kind changeKind, l *lease) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	agent, c := w.api, w.book.sends(kind, l)
	var err error
	switch kind {
	case changeComplete:
		err = agent.Complete(ctx, l.queue, l.partition, l.ids...)
	case changeDelete:
		err = agent.DeleteItems(ctx, l.queue, l.partition, l.ids...)
	default:
		at := time.Time{}
		if w.r.IntN(2) == 0 {
			at = time.Now().Add(time.Duration(w.r.IntN(1500)) * time.Millisecond)
		}
		items := make([]client.RetryItem, len(l.ids))
		for i, id := range l.ids {
			items[i] = client.RetryItem{ID: id, At: at, Dead: kind == changeDead}
		}
		err = agent.Retry(ctx, l.queue, l.partition, items...)
	}
	w.book.answered(c, err)
	if errors.Is(err, client.ErrLeaseLost) {
		return true // The book knows whether that may be.
	}
	if err == nil && kind == changeComplete && w.r.IntN(20) == 0 {
		return w.completeAgain(ctx, l)
	}
	return w.goesOn(fmt.Sprintf("a change (kind %d) of %s", kind, l.queue), err)
}

// completeAgain completes what is completed, which must be refused.
func (w *worker) completeAgain(ctx context.Context, l *lease) bool {
	err := w.api.Complete(ctx, l.queue, l.partition, l.ids...)
	switch {
	case errors.Is(err, client.ErrLeaseLost):
		return true
	case err == nil:
		w.book.Problem("%d items of %s were completed twice", len(l.ids), l.queue)
	}
	return w.goesOn("complete again", err)
}

// extend extends a lease, then completes it.
func (w *worker) extend(ctx context.Context, l *lease, timeout time.Duration) bool {
	sent := time.Now()
	_, err := w.api.Extend(ctx, l.queue, l.partition, 2*timeout, l.ids...)
	w.book.extended(l, sent, 2*timeout, err)
	if errors.Is(err, client.ErrLeaseLost) {
		return true
	}
	if !w.goesOn("extend in "+l.queue, err) {
		return false
	}
	return w.change(ctx, changeComplete, l)
}

// extended notes the answer to an extend.
func (b *Book) extended(l *lease, sent time.Time, timeout time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
	if outcomeOf(err) == refused && time.Now().Before(l.until) {
		b.problem("a lease of %s/%d was lost %s before its deadline: %v", l.queue, l.partition, time.Until(l.until), err)
	}
	if err == nil {
		l.until = sent.Add(timeout)
	}
}

// hold keeps a lease for a later round; false if there are enough.
func (b *Book) hold(l *lease) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.held) >= maxHeld || isPassing(l.queue) {
		return false
	}
	b.held = append(b.held, *l)
	return true
}

// hasDead reports whether the queue has a dead queue.
func (b *Book) hasDead(queue string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.deadQueue(queue) != ""
}

// takeHeld returns a lease that was held in an earlier round, nil if there is
// none.
func (b *Book) takeHeld() *lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == 0 {
		return nil
	}
	l := b.kept[len(b.kept)-1]
	b.kept = b.kept[:len(b.kept)-1]
	return &l
}

// NextRound lets the leases that are held be settled by the next load.
func (b *Book) NextRound() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, b.held...)
	b.held = nil
}

// leaseAll leases as much as there is, for a short time.
func (w *worker) leaseAll(ctx context.Context, queue string, sent time.Time, before map[track]uint64) (*lease, error) {
	const timeout = time.Second
	got, err := w.api.Lease(ctx, queue, client.LeaseOptions{
		BatchSize: 1000, Wait: 20 * time.Millisecond, LeaseTimeout: timeout,
	})
	return w.book.leased(queue, sent, timeout, before, got, err), err
}

func isEmpty(err error) bool { return errors.Is(err, client.ErrEmpty) }
