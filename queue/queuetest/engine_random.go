package queuetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// runModel makes random requests of one client, lets random time pass, and
// compares all that the engine says with the model after each step. It runs in
// a bubble: nothing happens there but what a step makes happen. With wrongClock
// the wall clock is set to anything now and then, also by reboots.
func runModel(t *testing.T, h Harness, seed uint64, steps int, wrongClock bool) {
	rng := newRand(seed)
	clock := NewClock(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC))
	e := &engine{t: t, h: h, clock: clock}
	if rng.IntN(2) == 0 {
		e.limits = queue.Limits{MaxLeased: 40, ReadAhead: 1000, GroupBytes: 2000}
	}
	e.outbox = &queue.OutboxOptions{
		Dead: true, Expired: true, RetainAge: 20 * time.Second, RetainBytes: 3000, SaveEvery: 5 * time.Second,
	}
	e.open()
	r := &runner{engine: e, t: t, rng: rng, clock: clock, start: time.Now(), wall: clock.Now(), boots: 1, wrongClock: wrongClock}
	dead := &modelQueue{name: "dead", items: make(map[int]*modelItem)}
	dead.info = queue.Info{Name: "dead", LeaseTimeout: 20 * time.Second, ExpireTimeout: 5 * time.Minute, RequestedPartitions: 1}
	main := &modelQueue{name: "main", items: make(map[int]*modelItem), dead: dead}
	main.info = queue.Info{Name: "main", LeaseTimeout: 10 * time.Second, ExpireTimeout: 2 * time.Minute, RequestedPartitions: 1, MaxAttempts: 3, DeadQueue: "dead"}
	e.create(dead.info)
	e.create(main.info)
	r.main, r.dead = main, dead
	for range steps {
		r.step()
	}
	r.restart(func() {})
	e.end()
}

// runner makes the steps of runModel.
type runner struct {
	*engine
	t          *testing.T
	rng        *rand.Rand
	clock      *Clock
	start      time.Time // when the clock was made, in the time of the bubble
	wall       time.Time // what a right wall clock showed then
	wrongClock bool
	boots      int
	n          int // the last item
	batch      int
	main, dead *modelQueue
	paused     bool
	log        []string // the last steps
}

func (r *runner) now() moment {
	return moment{mono: int64(r.clock.Mono()), wall: r.clock.Now().UnixNano(), boot: r.clock.Boot(), trusted: r.clock.Trusted()}
}

func (r *runner) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%d: ", r.clock.Mono())+fmt.Sprintf(format, args...))
	r.log = r.log[max(0, len(r.log)-30):]
}

func (r *runner) fatalf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s\nthe last steps:\n%s", fmt.Sprintf(format, args...), strings.Join(r.log, "\n"))
}

// check fails unless err is of the kind; nil is success.
func (r *runner) check(what string, err, kind error) {
	r.t.Helper()
	if kind == nil && err != nil || kind != nil && !errors.Is(err, kind) {
		r.fatalf("%s: %v, want %v", what, err, kind)
	}
}

func (r *runner) step() {
	r.t.Helper()
	q := r.main
	if r.rng.IntN(5) == 0 {
		q = r.dead
	}
	inOrder := true
	switch k := r.rng.IntN(100); {
	case k < 18:
		r.produce(q)
	case k < 38:
		r.lease(q)
	case k < 50:
		r.complete(q)
	case k < 58:
		r.retry(q)
	case k < 62:
		r.extend(q)
	case k < 65:
		r.importItems(q)
	case k < 67:
		r.deleteItems(q)
	case k < 68:
		r.clear(q)
	case k < 71:
		r.redrive()
	case k < 73:
		r.update()
	case k < 74:
		r.pause()
	case k < 77:
		r.waiters(q)
	case k < 80:
		inOrder = r.again()
	case k < 82:
		inOrder = false
		r.turnClock()
	default:
		r.sleep()
	}
	r.look(inOrder)
}

// look compares both queues with their models.
func (r *runner) look(inOrder bool) {
	r.t.Helper()
	synctest.Wait()
	now := r.now()
	r.main.pass(now)
	r.dead.pass(now)
	for _, q := range []*modelQueue{r.main, r.dead} {
		seen, err := r.queue(q.name).List(r.t.Context(), &queue.ListRequest{Limit: 1 << 20})
		r.check("list", err, nil)
		scheduled, err := r.queue(q.name).ListScheduled(r.t.Context(), &queue.ListRequest{Limit: 1 << 20})
		r.check("list scheduled", err, nil)
		if err := q.look(seen, scheduled, now, inOrder); err != nil {
			r.fatalf("queue %q: %v", q.name, err)
		}
	}
	for _, q := range []*modelQueue{r.main, r.dead} {
		r.lookAtStats(q)
		r.lookAtEvents(q)
	}
}

func (r *runner) lookAtStats(q *modelQueue) {
	r.t.Helper()
	stats, err := r.queue(q.name).Stats(r.t.Context())
	r.check("stats", err, nil)
	row := stats.Partitions[0]
	ready, leased, scheduled := q.held()
	if row.Failure != nil || row.Ready != ready || row.Leased != leased || row.Scheduled != scheduled {
		r.fatalf("queue %q: stats say %d ready, %d leased, %d scheduled, %v; want %d, %d, %d",
			q.name, row.Ready, row.Leased, row.Scheduled, row.Failure, ready, leased, scheduled)
	}
	if held := row.Ledger.In() - row.Ledger.Out(); held != uint64(len(q.items)) {
		r.fatalf("queue %q: the ledger says that %d items are held, want %d: %+v", q.name, held, len(q.items), row.Ledger)
	}
	if len(q.items) == 0 && row.Bytes != 0 {
		r.fatalf("queue %q: nothing is held in %d bytes", q.name, row.Bytes)
	}
}

// newItem returns an item that is about to be produced, and its model.
func (r *runner) newItem(q *modelQueue, now moment) (queue.Item, *modelItem) {
	r.n++
	payload := fmt.Appendf(nil, "%d %s", r.n, strings.Repeat("x", r.rng.IntN(200)))
	it := queue.Item{Payload: payload, Kind: "k", Reference: fmt.Sprint(r.n % 3)}
	m := &modelItem{n: r.n, created: time.Unix(0, now.wall).UTC(), batch: r.batch}
	m.setExpiry(q.info.ExpireTimeout, now)
	return it, m
}

// source draws a source id, and reports whether it is stored already.
func (r *runner) source(q *modelQueue, now moment) (id string, stored bool) {
	if r.rng.IntN(4) > 0 {
		return "", false
	}
	id = fmt.Sprint("source-", r.rng.IntN(30))
	for _, it := range q.items {
		if it.source == id {
			if it.isExpired(now) {
				return "", false
			}
			stored = true
		}
	}
	return id, stored
}

func (r *runner) produce(q *modelQueue) {
	r.t.Helper()
	now := r.now()
	r.batch++
	req := &queue.ProduceRequest{RequestTimeout: time.Minute}
	due := now.wall + r.rng.Int64N(int64(20*time.Second))
	for range 1 + r.rng.IntN(1+r.rng.IntN(20)) {
		it, m := r.newItem(q, now)
		id, stored := r.source(q, now)
		it.SourceID, m.source = id, id
		switch r.rng.IntN(20) {
		case 0:
			it.EnqueueAt = time.Unix(0, now.wall-int64(time.Hour))
		case 1:
			it.EnqueueAt = time.Unix(0, now.wall+int64(99*time.Millisecond))
		case 2, 3:
			m.state, m.dueWall = stateScheduled, now.wall+int64(100*time.Millisecond)+r.rng.Int64N(int64(20*time.Second))
		case 4:
			m.state, m.dueWall = stateScheduled, max(due, now.wall+int64(100*time.Millisecond))
		}
		if m.state == stateScheduled {
			it.EnqueueAt = time.Unix(0, m.dueWall)
		}
		req.Items = append(req.Items, it)
		if !stored {
			q.add(m, now)
		}
	}
	r.note("produce %d to %s, up to %d", len(req.Items), q.name, r.n)
	r.check("produce", r.queue(q.name).Produce(r.t.Context(), req), nil)
}

// lease makes one lease request.
func (r *runner) lease(q *modelQueue) {
	r.t.Helper()
	req := &queue.LeaseRequest{
		ClientID: "c", BatchSize: 1 + r.rng.IntN(1+r.rng.IntN(20)),
		RequestTimeout: 11*time.Millisecond + time.Duration(r.rng.Int64N(int64(5*time.Second))),
	}
	if r.rng.IntN(3) == 0 {
		req.LeaseTimeout = time.Millisecond + time.Duration(r.rng.Int64N(int64(30*time.Second)))
	}
	start := r.now()
	sure := r.leasable(q, start)
	r.note("lease %d of %s for %v, %d are ready, timeout %v", req.BatchSize, q.name, req.LeaseTimeout, sure, req.RequestTimeout)
	res, err := r.queue(q.name).Lease(r.t.Context(), req)
	end := r.now()
	r.main.pass(end)
	r.dead.pass(end)
	took := time.Duration(end.mono - start.mono)
	if err != nil {
		r.check("lease", err, queue.ErrEmpty)
		if left := r.leasable(q, end); left > 0 || sure > 0 || took != req.RequestTimeout {
			r.fatalf("lease found nothing within %v, %d items were ready, %d are", took, sure, left)
		}
		return
	}
	if sure > 0 && (took != 0 || len(res.Items) < min(sure, req.BatchSize)) {
		r.fatalf("lease of %d got %d items after %v, %d were ready", req.BatchSize, len(res.Items), took, sure)
	}
	if len(res.Items) == 0 || len(res.Items) > req.BatchSize {
		r.fatalf("lease of %d got %d items", req.BatchSize, len(res.Items))
	}
	r.leased(q, req, res, end)
}

// leasable returns how many items a lease must find.
func (r *runner) leasable(q *modelQueue, now moment) int {
	if q == r.main && r.paused {
		return 0
	}
	n := 0
	for _, it := range q.items {
		if it.state == stateReady && !it.isExpired(now) {
			n++
		}
	}
	_, leased, _ := q.held()
	if r.limits.MaxLeased > 0 {
		n = min(n, r.limits.MaxLeased-int(leased))
	}
	return n
}

// leased enters what a lease request got into the model.
func (r *runner) leased(q *modelQueue, req *queue.LeaseRequest, res *queue.LeaseResult, now moment) {
	r.t.Helper()
	timeout := req.LeaseTimeout
	if timeout == 0 {
		timeout = q.info.LeaseTimeout
	}
	for i := range res.Items {
		got := &res.Items[i]
		r.findDied(q, got, now)
		n, it, err := q.find(got)
		if err != nil {
			r.fatalf("lease: %v", err)
		}
		if it.state != stateReady {
			r.fatalf("lease: item %d is in state %d", n, it.state)
		}
		if it.id != got.ID {
			if err := q.newID(it, got.ID); err != nil {
				r.fatalf("lease: %v", err)
			}
		}
		if slices.Compare(got.ID[:], q.leased[:]) <= 0 {
			r.fatalf("lease: item %d at %s comes after %s", n, got.ID, q.leased)
		}
		q.leased = got.ID
		it.state, it.attempts, it.restored = stateLeased, it.attempts+1, false
		it.deadline, it.leaseWall = now.mono+int64(timeout), time.Unix(0, now.wall+int64(timeout)).UTC()
		if err := it.compare(got, false, now); err != nil {
			r.fatalf("lease: item %d: %v", n, err)
		}
	}
}

// findDied lets an item die in the model that expired while a request waited
// for it at the dead queue.
func (r *runner) findDied(q *modelQueue, got *queue.Item, now moment) {
	n, err := numberOf(got)
	if err != nil || q != r.dead {
		return
	}
	if it := r.main.items[n]; it != nil && it.isExpired(now) && r.main.dead == q {
		r.main.die(it, r.main.lastLook, now)
	}
}

// some draws items of a state that have surely not expired.
func (r *runner) some(q *modelQueue, state itemState, most int) []*modelItem {
	now := r.now()
	list := slices.DeleteFunc(q.list(state), func(it *modelItem) bool { return it.isExpired(now) })
	r.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(len(list), 1+r.rng.IntN(most))]
}

func idsOf(list []*modelItem) []string {
	ids := make([]string, len(list))
	for i, it := range list {
		ids[i] = it.id.String()
	}
	return ids
}

// spoil puts an id into the list that makes the whole request fail, now and
// then, and returns the kind of error that it gets.
func (r *runner) spoil(q *modelQueue, ids []string) ([]string, error) {
	var bad string
	var kind error
	switch r.rng.IntN(12) {
	case 0:
		bad, kind = "no id", queue.ErrInvalid
	case 1:
		bad, kind = queue.NewID(uint64(r.rng.IntN(1000))<<30, newTag(0)).String(), queue.ErrNotFound
	case 2:
		bad, kind = ids[r.rng.IntN(len(ids))], queue.ErrNotFound
	case 3:
		other := slices.Concat(r.some(q, stateReady, 1), r.some(q, stateScheduled, 1))
		if len(other) == 0 {
			return ids, nil
		}
		bad, kind = other[0].id.String(), queue.ErrNotLeased
	default:
		return ids, nil
	}
	return append(ids, bad), kind // The last, so that all before it were good.
}

func (r *runner) complete(q *modelQueue) {
	r.t.Helper()
	list := r.some(q, stateLeased, 20)
	if len(list) == 0 {
		return
	}
	ids, kind := r.spoil(q, idsOf(list))
	r.note("complete %d of %s, %v", len(list), q.name, kind)
	err := r.queue(q.name).Complete(r.t.Context(), &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: ids})
	r.check("complete", err, kind)
	if err != nil {
		return
	}
	for _, it := range list {
		delete(q.items, it.n)
		q.told.completed = append(q.told.completed, it.n)
	}
}

func (r *runner) retry(q *modelQueue) {
	r.t.Helper()
	list := r.some(q, stateLeased, 10)
	if len(list) == 0 {
		return
	}
	now := r.now()
	ids, kind := r.spoil(q, idsOf(list))
	req := &queue.RetryRequest{}
	for _, id := range ids {
		item := queue.RetryItem{ID: id}
		switch r.rng.IntN(6) {
		case 0:
			item.RetryAt = time.Unix(0, now.wall+int64(50*time.Millisecond))
		case 1, 2:
			item.RetryAt = time.Unix(0, now.wall+int64(100*time.Millisecond)+r.rng.Int64N(int64(20*time.Second)))
		case 3:
			item.Dead = true
		}
		req.Items = append(req.Items, item)
	}
	r.note("retry %d of %s, %v", len(list), q.name, kind)
	err := r.queue(q.name).Retry(r.t.Context(), req)
	r.check("retry", err, kind)
	if err != nil {
		return
	}
	for i, it := range list {
		at := req.Items[i].RetryAt.UnixNano()
		switch {
		case req.Items[i].Dead:
			q.die(it, now.mono, now)
		case at < now.wall+int64(100*time.Millisecond):
			q.tail(it, now.mono, now)
		default:
			it.state, it.dueWall, it.due, it.restored = stateScheduled, at, now.mono+at-now.wall, false
		}
	}
}

func (r *runner) extend(q *modelQueue) {
	r.t.Helper()
	list := r.some(q, stateLeased, 10)
	if len(list) == 0 {
		return
	}
	ids, kind := r.spoil(q, idsOf(list))
	timeout := time.Millisecond + time.Duration(r.rng.Int64N(int64(30*time.Second)))
	now := r.now()
	r.note("extend %d of %s to %v, %v", len(list), q.name, timeout, kind)
	until, err := r.queue(q.name).Extend(r.t.Context(), &queue.ExtendRequest{IDs: ids, LeaseTimeout: timeout})
	r.check("extend", err, kind)
	if err != nil {
		return
	}
	if want := time.Unix(0, now.wall+int64(timeout)); !until.Equal(want) {
		r.fatalf("extend: until %v, want %v", until, want)
	}
	for _, it := range list {
		it.deadline, it.leaseWall = now.mono+int64(timeout), until
	}
}
