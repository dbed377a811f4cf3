package queuetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kapetan-io/querator-edge/queue"
)

// The search for an order grows exponentially with the number of requests that
// overlap. With these it is decided in milliseconds; on a machine that is slow
// enough for more to overlap, some rounds may stay undecided.
const (
	linearRounds  = 12
	linearClients = 4
	linearSteps   = 40
	linearTimeout = 10 * time.Second
)

// runLinear lets clients use one partition at once and looks for an order of
// their requests, within the times that each took, in which the answers are
// those of a plain queue.
func runLinear(t *testing.T, h Harness, seed uint64) {
	e := &engine{t: t, h: h, clock: NewClock(time.Now())}
	e.open()
	undecided := 0
	for round := range linearRounds {
		name := fmt.Sprint("queue-", round)
		e.create(queue.Info{Name: name, LeaseTimeout: time.Hour, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1})
		l := &linear{t: t, q: e.queue(name), start: time.Now()}
		var wg sync.WaitGroup
		for client := range linearClients {
			rng := newRand(seed + uint64(1000*round+client))
			wg.Go(func() {
				for range linearSteps {
					l.step(client, rng)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			break
		}
		switch porcupine.CheckOperationsTimeout(linearModel(), l.history, linearTimeout) {
		case porcupine.Illegal:
			t.Fatalf("round %d: no order of the requests explains their answers:\n%s", round, l.describe())
		case porcupine.Unknown:
			t.Logf("round %d: undecided after %v", round, linearTimeout)
			undecided++
		}
	}
	if undecided > linearRounds/3 {
		t.Errorf("%d of %d rounds are undecided", undecided, linearRounds)
	}
	e.end()
}

// linear is the history of one queue.
type linear struct {
	t     *testing.T
	q     *queue.Queue
	start time.Time

	mu      sync.Mutex // guards what follows
	history []porcupine.Operation
	ids     []string // of leases that were given
	n       int
}

// linearInput is a request and linearOutput its answer.
type linearInput struct {
	op    byte // p, l, c, r: produce, lease, complete, retry
	items string
	batch int
	ids   string
}

type linearOutput struct {
	items string // what was leased, in order
	ids   string
	found bool
}

func (l *linear) step(client int, rng *rand.Rand) {
	switch k := rng.IntN(10); {
	case k < 3:
		l.produce(client, 1+rng.IntN(3))
	case k < 7:
		l.lease(client, rng)
	default:
		l.finish(client, rng, k == 9)
	}
}

func (l *linear) record(client int, in linearInput, call time.Duration, out linearOutput) {
	returned := time.Since(l.start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, porcupine.Operation{
		ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(returned),
	})
}

func (l *linear) produce(client, n int) {
	req := &queue.ProduceRequest{RequestTimeout: time.Minute}
	var numbers []string
	l.mu.Lock()
	for range n {
		l.n++
		numbers = append(numbers, fmt.Sprint(l.n))
		req.Items = append(req.Items, queue.Item{Payload: fmt.Appendf(nil, "%d ", l.n)})
	}
	l.mu.Unlock()
	call := time.Since(l.start)
	if err := l.q.Produce(l.t.Context(), req); err != nil {
		l.t.Errorf("produce: %v", err)
	}
	l.record(client, linearInput{op: 'p', items: strings.Join(numbers, " ")}, call, linearOutput{})
}

func (l *linear) lease(client int, rng *rand.Rand) {
	req := &queue.LeaseRequest{ClientID: fmt.Sprint("client-", client), BatchSize: 1, RequestTimeout: 20 * time.Millisecond}
	if rng.IntN(3) == 0 {
		req.BatchSize = 2 + rng.IntN(3)
	}
	call := time.Since(l.start)
	res, err := l.q.Lease(l.t.Context(), req)
	switch {
	case errors.Is(err, queue.ErrEmpty):
		return // It changes nothing, and says little of when there was nothing.
	case err != nil:
		l.t.Errorf("lease: %v", err)
		return
	}
	var numbers, ids []string
	for i := range res.Items {
		n, err := numberOf(&res.Items[i])
		if err != nil {
			l.t.Error(err)
		}
		numbers, ids = append(numbers, fmt.Sprint(n)), append(ids, res.Items[i].ID.String())
	}
	l.record(client, linearInput{op: 'l', batch: req.BatchSize}, call,
		linearOutput{items: strings.Join(numbers, " "), ids: strings.Join(ids, " ")})
	l.mu.Lock()
	l.ids = append(l.ids, ids...)
	l.mu.Unlock()
}

// finish completes or retries one or two of the items that were leased last, by
// whomever: often somebody else was quicker.
func (l *linear) finish(client int, rng *rand.Rand, retry bool) {
	l.mu.Lock()
	var ids []string
	for range 1 + rng.IntN(2) {
		if n := len(l.ids); n > 0 {
			ids = append(ids, l.ids[max(0, n-1-rng.IntN(12))])
		}
	}
	l.mu.Unlock()
	if len(ids) == 0 || len(ids) == 2 && ids[0] == ids[1] {
		return
	}
	in := linearInput{op: 'c', ids: strings.Join(ids, " ")}
	call := time.Since(l.start)
	var err error
	if retry {
		in.op = 'r'
		req := &queue.RetryRequest{}
		for _, id := range ids {
			req.Items = append(req.Items, queue.RetryItem{ID: id})
		}
		err = l.q.Retry(l.t.Context(), req)
	} else {
		err = l.q.Complete(l.t.Context(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids})
	}
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		l.t.Errorf("complete or retry: %v", err)
	}
	l.record(client, in, call, linearOutput{found: err == nil})
}

func (l *linear) describe() string {
	slices.SortFunc(l.history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range l.history {
		in, out := op.Input.(linearInput), op.Output.(linearOutput)
		fmt.Fprintf(&b, "%9d to %9d, client %d: %c %q batch %d ids %q: %q ids %q found %t\n",
			op.Call/1000, op.Return/1000, op.ClientId, in.op, in.items, in.batch, in.ids, out.items, out.ids, out.found)
	}
	return b.String()
}

// linearState is a queue: what is ready, in order, and what is leased, as
// id=number in the order of the ids.
type linearState struct{ ready, leased string }

func linearModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linearState{} },
		Step: func(state, input, output any) (bool, any) {
			return linearStep(state.(linearState), input.(linearInput), output.(linearOutput))
		},
	}
}

func linearStep(s linearState, in linearInput, out linearOutput) (bool, any) {
	ready, leased := strings.Fields(s.ready), strings.Fields(s.leased)
	switch in.op {
	case 'p':
		ready = append(ready, strings.Fields(in.items)...)
	case 'l':
		ids := strings.Fields(out.ids)
		from := 0
		for i, n := range strings.Fields(out.items) {
			// Requests for several items that are served together are dealt in
			// turn, so that only a request for one item has to get the first.
			at := slices.Index(ready[from:], n)
			if at < 0 || in.batch == 1 && at != 0 {
				return false, s
			}
			from += at
			ready = slices.Delete(ready, from, from+1)
			leased = append(leased, ids[i]+"="+n)
		}
		slices.Sort(leased)
	case 'c', 'r':
		left, back := leased, []string(nil)
		for _, id := range strings.Fields(in.ids) {
			i := slices.IndexFunc(left, func(l string) bool { return strings.HasPrefix(l, id+"=") })
			if i < 0 {
				return !out.found, s
			}
			back = append(back, strings.TrimPrefix(left[i], id+"="))
			left = slices.Delete(slices.Clone(left), i, i+1)
		}
		if !out.found {
			return false, s
		}
		leased = left
		if in.op == 'r' {
			ready = append(ready, back...)
		}
	}
	return true, linearState{strings.Join(ready, " "), strings.Join(leased, " ")}
}
