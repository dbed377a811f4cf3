package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	producers = 4
	consumers = 4
	// maxLive and maxLiveBytes bound what the agent is given to hold, so that a
	// check stays quick; beyond them producers rest.
	maxLive      = 3000
	maxLiveBytes = 24 << 20
	// callTimeout is far beyond what a call may take.
	callTimeout = 30 * time.Second
)

// Load uses one agent from several goroutines until it is stopped or the agent
// has gone. Start with NewLoad, then Run.
type Load struct {
	book    *Book
	agent   *Process
	seed    uint64
	stopped atomic.Bool
	ending  atomic.Bool
	failing atomic.Bool
	// created is signalled when a queue was created.
	created chan struct{}
}

// NewLoad returns a load on an agent. The seed decides what each goroutine does,
// as far as that does not hang on the answers; and whether they share a client, which
// makes their calls on a stream, or have one each, and so a connection.
func NewLoad(b *Book, p *Process, seed uint64) *Load {
	return &Load{book: b, agent: p, seed: seed, created: make(chan struct{}, 1)}
}

// Created is signalled when a queue has been created.
func (l *Load) Created() <-chan struct{} { return l.created }

// Stop makes Run return after the calls that are under way.
func (l *Load) Stop() { l.stopped.Store(true) }

// Ending says that the agent was told to shut down: calls may be refused.
func (l *Load) Ending() { l.ending.Store(true) }

// Failing says that calls of the device fail: whatever is asked of the agent may be
// refused, and it is not known what became of it.
func (l *Load) Failing() { l.failing.Store(true) }

// Run returns when the load has ended.
func (l *Load) Run(ctx context.Context) {
	var all sync.WaitGroup
	worker := func(no int, step func(context.Context, *worker) bool) {
		r := rand.New(rand.NewPCG(l.seed, uint64(no)))
		w := &worker{Load: l, api: l.agent.Client, r: r, fill: newFiller(r), no: no}
		if l.seed%2 == 0 {
			w.api = &client.Client{Socket: l.agent.socket}
		}
		all.Go(func() {
			if w.api != l.agent.Client {
				defer w.api.Close()
			}
			for !l.stopped.Load() && step(ctx, w) {
			}
		})
	}
	for i := range producers {
		worker(i, (*Load).produce(l))
	}
	for i := range consumers {
		worker(producers+i, (*Load).consume(l))
	}
	worker(producers+consumers, (*Load).churn(l))
	all.Wait()
}

// worker is one goroutine of a load.
type worker struct {
	*Load
	api  *client.Client
	r    *rand.Rand
	fill *filler
	no   int
}

func (l *Load) produce() func(context.Context, *worker) bool {
	return func(ctx context.Context, w *worker) bool { return w.produceStep(ctx) }
}

func (l *Load) consume() func(context.Context, *worker) bool {
	return func(ctx context.Context, w *worker) bool { return w.consumeStep(ctx) }
}

func (l *Load) churn() func(context.Context, *worker) bool {
	return func(ctx context.Context, w *worker) bool { return w.churnStep(ctx) }
}

// goesOn judges the error of a call that should have succeeded. It reports
// whether the agent is there still.
func (w *worker) goesOn(what string, err error) bool {
	if err == nil {
		return true
	}
	if errors.Is(err, client.ErrUnavailable) || w.ending.Load() && errors.Is(err, client.ErrShutdown) {
		return false
	}
	if w.failing.Load() && (errors.Is(err, client.ErrTryAgain) || errors.Is(err, client.ErrInternal)) {
		// Whether a queue is there that was to come or go, only a new start shows.
		return w.no < producers+consumers && rest(context.Background(), 10*time.Millisecond)
	}
	w.book.Problem("%s failed: %v", what, err)
	return false
}

// produceStep produces one batch.
func (w *worker) produceStep(ctx context.Context) bool {
	if n, bytes := w.book.Live(); n > maxLive || bytes > maxLiveBytes {
		return rest(ctx, 5*time.Millisecond)
	}
	queues := fixedQueues()[1:]
	return w.produceTo(ctx, queues[w.r.IntN(len(queues))].Name, w.batchSize())
}

func (w *worker) batchSize() int {
	switch n := w.r.IntN(20); {
	case n < 10:
		return 1
	case n < 19:
		return 1 + w.r.IntN(40)
	}
	return 200 + w.r.IntN(600)
}

func (w *worker) produceTo(ctx context.Context, queue string, n int) bool {
	isBulky := n > 1 && n <= 40 && w.r.IntN(8) == 0 // It takes some of these to begin a new segment.
	hasSource := queue == redriveTo && w.r.IntN(3) == 0
	isScheduled := w.r.IntN(8) == 0
	due := time.Now().Add(time.Duration(200+w.r.IntN(1500)) * time.Millisecond).Truncate(time.Microsecond)
	bt, wire := w.book.newItems(queue, w.no, n, func(it *item) client.ProduceItem {
		if isScheduled {
			it.due = due
		}
		if hasSource {
			it.sourceID = fmt.Sprintf("source-%d", it.n)
		}
		size := w.fill.size()
		switch {
		case n > 100:
			size = headSize + w.r.IntN(100)
		case isBulky:
			size = maxPayload/2 + w.r.IntN(maxPayload/2)
		}
		return client.ProduceItem{Payload: w.fill.payload(it.n, size)}
	})
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := w.api.Produce(ctx, queue, wire...)
	w.book.produced(bt, err)
	if hasSource && err == nil && w.r.IntN(4) == 0 && len(wire) < 100 {
		return w.produceAgain(ctx, queue, bt, wire)
	}
	return w.goesOn("produce to "+queue, err)
}

// rest waits without using the agent.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
