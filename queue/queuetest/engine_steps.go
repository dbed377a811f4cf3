package queuetest

import (
	"context"
	"fmt"
	"sync"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// The steps of runModel that are not the daily work of a queue.

func (r *runner) importItems(q *modelQueue) {
	r.t.Helper()
	now := r.now()
	r.batch++
	req := &queue.ImportRequest{}
	var want []*modelItem
	leases := 0
	for range 1 + r.rng.IntN(6) {
		it, m := r.newItem(q, now)
		id, stored := r.source(q, now)
		for _, o := range req.Items {
			stored = stored || id != "" && o.SourceID == id
		}
		it.SourceID, m.source = id, id
		it.Attempts = int32(r.rng.IntN(4))
		it.ExpireDeadline = time.Unix(0, now.wall+r.rng.Int64N(int64(3*time.Minute)))
		m.attempts = it.Attempts
		m.setExpiry(time.Duration(it.ExpireDeadline.UnixNano()-now.wall), now)
		if r.rng.IntN(3) == 0 {
			it.IsLeased, it.LeaseDeadline = true, time.Unix(0, now.wall+1+r.rng.Int64N(int64(20*time.Second))).UTC()
			m.state, m.leaseWall, m.deadline = stateLeased, it.LeaseDeadline, now.mono+it.LeaseDeadline.UnixNano()-now.wall
			leases++
		}
		req.Items = append(req.Items, it)
		if stored {
			m = nil
		}
		want = append(want, m)
	}
	_, leased, _ := q.held()
	var kind error
	if limit := r.limits.MaxLeased; limit > 0 && leases > 0 && int(leased)+leases > limit {
		kind = queue.ErrFull
	}
	r.note("import %d to %s, up to %d", len(req.Items), q.name, r.n)
	got, err := r.queue(q.name).Import(r.t.Context(), req)
	r.check("import", err, kind)
	if err != nil {
		return
	}
	if len(got) != len(want) {
		r.fatalf("import of %d items returned %d", len(want), len(got))
	}
	for i, m := range want {
		if m == nil {
			continue
		}
		q.add(m, now)
		if err := q.newID(m, got[i].ID); err != nil {
			r.fatalf("import: %v", err)
		}
		if err := m.compare(&got[i], false, now); err != nil {
			r.fatalf("import: item %d: %v", m.n, err)
		}
	}
}

func (r *runner) deleteItems(q *modelQueue) {
	r.t.Helper()
	list := r.some(q, stateReady, 4)
	list = append(list, r.some(q, stateLeased, 3)...)
	list = append(list, r.some(q, stateScheduled, 3)...)
	ids := append(idsOf(list), queue.NewID(1<<50, newTag(0)).String())
	r.note("delete %d of %s", len(list), q.name)
	r.check("delete", r.queue(q.name).DeleteItems(r.t.Context(), &queue.DeleteRequest{IDs: ids}), nil)
	for _, it := range list {
		delete(q.items, it.n)
	}
}

func (r *runner) clear(q *modelQueue) {
	r.t.Helper()
	if q.hasExpired(r.now()) {
		return
	}
	req := &queue.ClearRequest{Ready: r.rng.IntN(2) == 0, Scheduled: r.rng.IntN(2) == 0, Destructive: r.rng.IntN(3) == 0}
	r.note("clear %s: %+v", q.name, *req)
	err := r.queue(q.name).Clear(r.t.Context(), req)
	if !req.Ready && !req.Scheduled {
		r.check("clear of nothing", err, queue.ErrInvalid)
		return
	}
	r.check("clear", err, nil)
	for n, it := range q.items {
		switch {
		case req.Ready && (req.Destructive || it.state == stateReady), req.Scheduled && it.state == stateScheduled:
			delete(q.items, n)
		}
	}
}

// redrive moves items from the dead queue to the main one.
func (r *runner) redrive() {
	r.t.Helper()
	now := r.now()
	if r.dead.hasExpired(now) {
		return
	}
	list := r.dead.list(stateReady)
	_, leased, _ := r.dead.held()
	if limit := r.limits.MaxLeased; limit > 0 && int(leased) >= limit {
		return
	}
	limit := r.rng.IntN(10)
	r.note("redrive %d", limit)
	n, err := r.queue("dead").Redrive(r.t.Context(), &queue.RedriveRequest{To: "main", Limit: limit})
	r.check("redrive", err, nil)
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	if n != len(list) {
		r.fatalf("redrive moved %d items, want %d", n, len(list))
	}
	for _, it := range list {
		if slicesLess(r.dead.leased, it.id) {
			r.dead.leased = it.id
		}
		delete(r.dead.items, it.n)
		it.source, it.attempts, it.created, it.died, it.batch = "", 0, time.Unix(0, now.wall).UTC(), false, 0
		it.setExpiry(r.main.info.ExpireTimeout, now)
		r.main.add(it, now)
	}
}

func slicesLess(a, b queue.ID) bool { return string(a[:]) < string(b[:]) }

func (r *runner) update() {
	r.t.Helper()
	info := &r.main.info
	info.MaxAttempts = r.rng.IntN(5)
	info.LeaseTimeout = time.Second + time.Duration(r.rng.Int64N(int64(30*time.Second)))
	info.ExpireTimeout = info.LeaseTimeout + time.Duration(r.rng.Int64N(int64(3*time.Minute)))
	info.DeadQueue, r.main.dead = "dead", r.dead
	if r.rng.IntN(4) == 0 {
		info.DeadQueue, r.main.dead = "", nil
	}
	r.note("update: %+v", *info)
	r.check("update", r.svc.Update(r.t.Context(), *info), nil)
}

func (r *runner) pause() {
	r.t.Helper()
	q := r.queue("main")
	if r.paused {
		r.note("resume")
		r.check("resume", q.Resume(r.t.Context()), nil)
	} else {
		r.note("pause")
		r.check("pause", q.Pause(r.t.Context()), nil)
	}
	r.paused = !r.paused
	if q.Paused() != r.paused {
		r.fatalf("paused is %t", q.Paused())
	}
}

// waiters lets several requests wait and produces items: they are dealt one at
// a time in turn, in the order in which the requests came.
func (r *runner) waiters(q *modelQueue) {
	r.t.Helper()
	now := r.now()
	if ready, leased, _ := q.held(); ready > 0 || q == r.main && r.paused || r.limits.MaxLeased > 0 && int(leased)+40 > r.limits.MaxLeased {
		return
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	reqs := make([]*queue.LeaseRequest, 2+r.rng.IntN(3))
	results := make([]*queue.LeaseResult, len(reqs))
	errs := make([]error, len(reqs))
	var wg sync.WaitGroup
	for i := range reqs {
		reqs[i] = &queue.LeaseRequest{ClientID: fmt.Sprint("client-", i), BatchSize: 1 + r.rng.IntN(5), RequestTimeout: time.Minute}
		wg.Go(func() { results[i], errs[i] = r.queue(q.name).Lease(ctx, reqs[i]) })
		synctest.Wait()
	}
	_, err := r.queue(q.name).Lease(ctx, reqs[1])
	r.check("second request of a client", err, queue.ErrDuplicate)
	if stats, err := r.queue(q.name).Stats(ctx); err != nil || stats.LeaseWaiting != len(reqs) {
		r.fatalf("%d requests wait, want %d; %v", stats.LeaseWaiting, len(reqs), err)
	}
	first := r.n + 1
	produce := &queue.ProduceRequest{RequestTimeout: time.Minute}
	r.batch++
	for range 1 + r.rng.IntN(12) {
		it, m := r.newItem(q, now)
		produce.Items = append(produce.Items, it)
		q.add(m, now)
	}
	r.note("%d requests wait at %s, produce %d", len(reqs), q.name, len(produce.Items))
	r.check("produce", r.queue(q.name).Produce(ctx, produce), nil)
	synctest.Wait()
	cancel()
	wg.Wait()

	shares := deal(reqs, first, len(produce.Items))
	all := &queue.LeaseResult{Items: make([]queue.Item, min(len(produce.Items), sum(reqs)))}
	for i, share := range shares {
		if len(share) == 0 {
			r.check("lease that gets nothing", errs[i], queue.ErrEmpty)
			continue
		}
		r.check("lease", errs[i], nil)
		for j := range results[i].Items {
			n, err := numberOf(&results[i].Items[j])
			if err != nil || j >= len(share) || share[j] != n || len(results[i].Items) != len(share) {
				r.fatalf("request %d for %d of %d items got %d items, with %d in place %d; want %v", i,
					reqs[i].BatchSize, len(produce.Items), len(results[i].Items), n, j, share)
			}
			all.Items[n-first] = results[i].Items[j]
		}
	}
	r.leased(q, reqs[0], all, now)
}

func sum(reqs []*queue.LeaseRequest) int {
	n := 0
	for _, r := range reqs {
		n += r.BatchSize
	}
	return n
}

// deal deals n items, numbered from first on, to requests in turn.
func deal(reqs []*queue.LeaseRequest, first, n int) [][]int {
	shares := make([][]int, len(reqs))
	for next, full := first, 0; next < first+n && full < len(reqs); {
		full = 0
		for i := range reqs {
			switch {
			case len(shares[i]) == reqs[i].BatchSize:
				full++
			case next < first+n:
				shares[i] = append(shares[i], next)
				next++
			}
		}
	}
	return shares
}

// restart closes the engine and opens it again; between does something while it
// is closed.
func (r *runner) restart(between func()) {
	r.t.Helper()
	r.engine.close()
	between()
	r.engine.open()
	r.restored()
}

func (r *runner) restored() {
	r.main.reopen(r.now())
	r.dead.reopen(r.now())
}

// again restarts, kills, or reboots. It reports whether the order of what
// becomes ready meanwhile is known.
func (r *runner) again() bool {
	r.t.Helper()
	switch r.rng.IntN(6) {
	case 0, 1:
		r.note("restart")
		r.restart(func() {})
		return true
	case 2:
		r.note("restart after a while")
		r.restart(r.sleep)
		return false
	case 3:
		r.note("kill")
		if r.kill() {
			r.restored()
		}
		return true
	default:
		r.reboot()
		return false
	}
}

// reboot restarts in another boot; the clock may be wrong then.
func (r *runner) reboot() {
	r.t.Helper()
	r.restart(func() {
		r.boots++
		truth := r.truth()
		r.clock.Reboot(fmt.Sprint("boot-", r.boots))
		kind := r.rng.IntN(3)
		if !r.wrongClock {
			kind = 2
		}
		switch kind {
		case 0:
			r.clock.Set(time.Unix(r.rng.Int64N(1000), 0), false)
		case 1:
			r.clock.Set(truth.Add(24*time.Hour*time.Duration(r.rng.IntN(1000))), false)
		default:
			r.clock.Set(truth, true)
		}
		r.main.reboot()
		r.dead.reboot()
	})
	r.note("rebooted, the clock shows %v, trusted %t", r.clock.Now(), r.clock.Trusted())
	r.look(false)
	time.Sleep(11 * time.Second)
}

// truth is what a right wall clock shows.
func (r *runner) truth() time.Time {
	return r.wall.Add(time.Since(r.start))
}

// turnClock does to the clock what happens to clocks. The engine looks at it at
// least every 10 s.
func (r *runner) turnClock() {
	kind := r.rng.IntN(4)
	if !r.wrongClock {
		kind = 3
	}
	switch kind {
	case 0:
		// The engine takes less than a second for inaccuracy.
		r.clock.Step(2 * time.Second * time.Duration(r.rng.IntN(3600)-1800))
	case 1:
		r.clock.Set(r.clock.Now().Add(24*time.Hour*time.Duration(r.rng.IntN(2000)-1000)), false)
	case 2:
		r.clock.Set(r.truth(), true)
	case 3:
		d := time.Duration(r.rng.Int64N(int64(time.Minute)))
		r.clock.Suspend(d)
		r.wall = r.wall.Add(d)
	}
	r.note("the clock shows %v, trusted %t", r.clock.Now(), r.clock.Trusted())
	time.Sleep(11 * time.Second)
}

func (r *runner) sleep() {
	d := time.Duration(r.rng.Int64N(int64(time.Second)))
	switch r.rng.IntN(10) {
	case 0:
		d = time.Duration(r.rng.Int64N(int64(2 * time.Minute)))
	case 1, 2, 3:
		d = time.Duration(r.rng.Int64N(int64(10 * time.Second)))
	}
	r.note("sleep %v", d)
	time.Sleep(d)
}
