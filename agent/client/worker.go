package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Worker.
const (
	defaultRetryMin     = time.Second
	defaultRetryMax     = 5 * time.Minute
	defaultDrainTimeout = 30 * time.Second
)

const (
	// callTimeout bounds a call that waits for nothing but the agent, so that one that hangs is noticed.
	callTimeout = 30 * time.Second
	// emptyWait is how long a lease waits that only asks whether there is anything.
	emptyWait = 20 * time.Millisecond
	// agentBackOffMin and agentBackOffMax bound the time between tries while the agent is not there. A restart
	// takes well under a second; a device that is being updated may take minutes.
	agentBackOffMin = 100 * time.Millisecond
	agentBackOffMax = 5 * time.Second
)

// ErrStopped is the cause with which a handler's context ends when the drain timeout of a Worker that stops has
// passed. The item is then given back at once, unless the handler returns nil.
var ErrStopped = errors.New("the worker is stopping")

// Worker leases items of a queue and runs Handler for each. While a handler runs, and until its item is settled,
// the lease is extended at a third of its timeout. An item whose handler returns nil is completed; with an error
// it is retried after a time that doubles with its attempts, unless the error is made with RetryAfter or Dead.
//
// A Worker survives restarts of the agent: it goes on when the agent is back, and leases that did not end
// meanwhile are still its own. An item can be handled twice when a lease ends or its completion does not arrive,
// so handlers have to bear that.
//
// The fields are not to be changed while Run runs; Run may be called again, also at the same time.
type Worker struct {
	Client *Client // nil is the zero Client
	Queue  string
	// Handler does the work. Its context keeps the values of Run's, and ends when the lease is lost (its cause is
	// then ErrLeaseLost) or when the drain timeout has passed (ErrStopped). It is called from Concurrency
	// goroutines. A handler that panics ends the program, as everywhere.
	Handler func(ctx context.Context, item *Item) error

	// Concurrency is how many handlers run at once; 0 is 1.
	Concurrency int
	// BatchSize is how many items are leased at a time, so that fast handlers do not wait for the agent; so many
	// can be held beside those that are being handled. 0 is Concurrency; the agent's limit is 1000 by default.
	BatchSize int
	// LeaseTimeout replaces the queue's; 0 is the queue's.
	LeaseTimeout time.Duration
	// ReleaseOnExit makes the leases end when this process ends, however it does; false: as the queue says. Where the
	// agent cannot watch this process, OnError is told so, once, and the leases last as long as others.
	ReleaseOnExit bool
	// RetryMin and RetryMax bound the time until a failed item may be leased again; 0 is 1 s and 5 min.
	RetryMin, RetryMax time.Duration
	// DrainTimeout is how long handlers may go on after Run's context has ended; 0 is 30 s. The items are then
	// settled, for which the agent gets as long again.
	DrainTimeout time.Duration
	// StopWhenEmpty makes Run return when the queue has nothing ready and all that was leased is settled.
	StopWhenEmpty bool
	// OnError, if not nil, is told of every failure: of an item, or of a call to the agent that will be repeated
	// (item is nil). It is called from several goroutines and should return soon.
	OnError func(item *Item, err error)
}

// Run works until the context ends, then lets the handlers finish, gives back what was not begun, and returns
// nil. It returns an error if leasing can never succeed, for example because there is no such queue.
func (w *Worker) Run(ctx context.Context) error {
	if w.Handler == nil || w.Queue == "" {
		return &Error{kind: ErrInvalid, Message: "a worker needs a queue and a handler"}
	}
	r := newRun(w)
	// Neither the handlers nor the calls that settle items end with ctx.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()

	items := make(chan *held)
	var handlers, settler, keeper sync.WaitGroup
	for range r.Concurrency {
		handlers.Go(func() { r.handle(work, items) })
	}
	settler.Go(func() { r.settle(calls) })
	keeper.Go(func() { r.keep(calls) })

	err := r.lease(ctx, items)
	close(items)
	drain := time.AfterFunc(r.DrainTimeout, func() { stopWork(ErrStopped) })
	handlers.Wait()
	drain.Stop()
	close(r.results)
	last := time.AfterFunc(r.DrainTimeout, stopCalls)
	settler.Wait()
	last.Stop()
	stopCalls()
	keeper.Wait()
	return err
}

// run is one call of Run. Its goroutines are the leaser (Run itself), the handlers, the settler, which completes
// and retries, and the keeper, which extends.
type run struct {
	Worker  // a copy with the defaults filled in
	results chan result
	ties    atomic.Bool // leases are to end with this process

	mu sync.Mutex
	// held are the leases that are out: at most a batch that waits for handlers, those of the handlers, and those
	// that wait for the settler.
	held map[*held]struct{}
	// wakeAt is when the keeper has to look again.
	wakeAt time.Time

	wake    chan struct{} // capacity 1: wakeAt is earlier now
	settled chan struct{} // capacity 1: held has fewer entries
}

// held is an item under a lease of this run.
type held struct {
	item    Item
	timeout time.Duration

	// Guarded by run.mu:
	extendAt time.Time
	deadline time.Time
	lost     bool
	cancel   context.CancelCauseFunc // ends the handler's context; nil before it has started
}

func newRun(w *Worker) *run {
	r := &run{
		Worker: *w, held: make(map[*held]struct{}), wake: make(chan struct{}, 1), settled: make(chan struct{}, 1),
		results: make(chan result, settleBatch),
	}
	r.ties.Store(r.ReleaseOnExit)
	if r.Client == nil {
		r.Client = new(Client)
	}
	r.Concurrency = max(r.Concurrency, 1)
	r.BatchSize = cmp.Or(max(r.BatchSize, 0), r.Concurrency)
	r.RetryMin = cmp.Or(max(r.RetryMin, 0), defaultRetryMin)
	r.RetryMax = max(cmp.Or(max(r.RetryMax, 0), defaultRetryMax), r.RetryMin)
	r.DrainTimeout = cmp.Or(max(r.DrainTimeout, 0), defaultDrainTimeout)
	return r
}

// lease leases items and deals them to the handlers until the context ends or there is no point in going on.
func (r *run) lease(ctx context.Context, out chan<- *held) error {
	wait := defaultWait
	if r.StopWhenEmpty {
		wait = emptyWait
	}
	backOff := agentBackOff()
	for ctx.Err() == nil {
		var releaseOnExit *bool
		if ties := r.ties.Load(); ties {
			releaseOnExit = &ties
		}
		call, cancel := context.WithTimeout(ctx, wait+callTimeout)
		items, err := r.Client.Lease(call, r.Queue, LeaseOptions{
			BatchSize: r.BatchSize, Wait: wait, LeaseTimeout: r.LeaseTimeout, ReleaseOnExit: releaseOnExit,
		})
		cancel()
		switch {
		case err == nil:
			backOff.reset()
			r.deal(ctx, r.hold(items), out)
		case ctx.Err() != nil:
			return nil
		case releaseOnExit != nil && isNotWatched(err):
			r.report(nil, err)
			r.ties.Store(false)
		case errors.Is(err, ErrEmpty):
			backOff.reset()
			if r.StopWhenEmpty && !r.awaitSettled(ctx) {
				return nil
			}
		case isFinal(err):
			return err
		default:
			r.report(nil, err)
			sleep(ctx, backOff.next())
		}
	}
	return nil
}

// deal hands the items to the handlers. When the context ends first, the rest goes back.
func (r *run) deal(ctx context.Context, batch []*held, out chan<- *held) {
	for i, h := range batch {
		select {
		case out <- h:
			continue
		case <-ctx.Done():
		}
		for _, rest := range batch[i:] {
			r.results <- result{held: rest, retry: &RetryItem{ID: rest.item.ID}}
		}
		return
	}
}

// awaitSettled waits until fewer items are held, and returns false if none was or the context ended.
func (r *run) awaitSettled(ctx context.Context) bool {
	r.mu.Lock()
	none := len(r.held) == 0
	r.mu.Unlock()
	if none {
		return false
	}
	select {
	case <-r.settled:
		return true
	case <-ctx.Done():
		return false
	}
}

// handle is a goroutine that runs the handler for one item after the other.
func (r *run) handle(work context.Context, in <-chan *held) {
	for h := range in {
		ctx, cancel := context.WithCancelCause(work)
		if !r.start(h, cancel) {
			cancel(nil)
			r.results <- result{held: h}
			continue
		}
		err := r.Handler(ctx, &h.item)
		stopped := errors.Is(context.Cause(ctx), ErrStopped)
		cancel(nil)
		r.results <- r.judge(h, err, stopped)
	}
}

// judge says what becomes of an item after its handler returned err.
func (r *run) judge(h *held, err error, stopped bool) result {
	if err == nil {
		return result{held: h}
	}
	retry := &RetryItem{ID: h.item.ID}
	var asked *wish
	switch {
	case errors.As(err, &asked) && asked.dead:
		retry.Dead = true
	case errors.As(err, &asked):
		retry.At = time.Now().Add(asked.after)
	case stopped:
		// It did not fail by itself, so it is not held back.
	default:
		retry.At = time.Now().Add(retryAfter(h.item.Attempts, r.RetryMin, r.RetryMax))
	}
	if !r.isLost(h) { // Else the settler reports it, with the better reason.
		r.report(&h.item, err)
	}
	return result{held: h, retry: retry}
}

// report tells OnError.
func (r *run) report(item *Item, err error) {
	if r.OnError != nil {
		r.OnError(item, err)
	}
}

// wish is an error with which a handler says what is to become of its item.
type wish struct {
	err   error
	after time.Duration
	dead  bool
}

func (w *wish) Error() string { return w.err.Error() }
func (w *wish) Unwrap() error { return w.err }

// RetryAfter returns an error that a handler returns to have its item retried after d, whatever its attempts.
func RetryAfter(err error, d time.Duration) error {
	return &wish{err: cmp.Or(err, fmt.Errorf("retry after %s", d)), after: d}
}

// Dead returns an error that a handler returns when trying again is of no use: the item goes to the dead queue,
// or is dropped if its queue has none.
func Dead(err error) error {
	return &wish{err: cmp.Or(err, errors.New("dead")), dead: true}
}

// isNotWatched reports whether the agent refused a lease since it cannot watch this process.
func isNotWatched(err error) bool {
	return errors.Is(err, ErrInvalid) && strings.HasPrefix(err.Error(), "release_on_exit is invalid")
}

// isFinal reports whether the same call can never succeed.
func isFinal(err error) bool {
	for _, kind := range []error{ErrInvalid, ErrNotFound, ErrDenied, ErrUnsupported} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// retryAfter returns the time until an item with so many attempts may be leased again: least, doubled with each
// attempt after the first, at most most, give or take a fifth so that items which failed together do not come
// back together.
func retryAfter(attempts int, least, most time.Duration) time.Duration {
	d := least
	for i := 1; i < attempts && d < most; i++ {
		d *= 2
	}
	return jitter(min(d, most), 0.2)
}

// backOff is the time between tries while the agent is not there. It belongs to one goroutine.
type backOff struct{ now time.Duration }

func agentBackOff() backOff { return backOff{} }

func (b *backOff) reset() { b.now = 0 }

func (b *backOff) next() time.Duration {
	b.now = min(max(2*b.now, agentBackOffMin), agentBackOffMax)
	return jitter(b.now, 0.5)
}

// jitter returns d changed by a random part of it, up to share either way.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 - share + 2*share*rand.Float64()))
}

// sleep waits for d or the end of the context.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
