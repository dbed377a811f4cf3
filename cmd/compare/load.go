package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

const (
	// busyPause is how long a client waits when the peer says "try again".
	busyPause = 5 * time.Millisecond
	// leaseWait is how long a consumer waits for items where others produce them.
	leaseWait = time.Second
	// poolBytes bounds the payloads that are made before a measurement; clients go round in them.
	poolBytes = 4 << 20
)

// payloads are made before any measurement and only read after that.
type payloads [][]byte

// newPayloads returns payloads of that size: random bytes, or readings in JSON. Any batch of them can be taken from
// any place.
func newPayloads(size, batch int, random bool) payloads {
	rnd := rand.New(rand.NewPCG(1, uint64(size)))
	n := max(min(poolBytes/size, 1<<14), 1)
	p := make(payloads, n, n+batch)
	for i := range p {
		if random {
			p[i] = randomBytes(rnd, size)
			continue
		}
		p[i] = measure.Reading(rnd, i, size)
	}
	for i := range batch {
		p = append(p, p[i%n])
	}
	return p
}

func randomBytes(rnd *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.NativeEndian.AppendUint64(b, rnd.Uint64())
	}
	return b[:size]
}

// batch returns n payloads from a place that goes round.
func (p payloads) batch(at, n int) [][]byte {
	begin := at % (len(p) - n)
	return p[begin : begin+n]
}

// load is what clients do with a peer at the same time.
type load struct {
	producers, consumers int
	// alternate: one client that produces, leases and completes in turn, and no others.
	alternate bool
	batch     int
	length    time.Duration
	payloads  payloads
	// ahead is how many more items may be produced than completed before the producers wait; 0 is no limit.
	ahead int64
	// most, if not 0, is how many items are produced at most; what is under way comes on top.
	most int64
	// calls, if not 0, is how often each client produces.
	calls int
	// drain: consumers end when there is nothing to lease.
	drain bool
}

// outcome is what came of a load.
type outcome struct {
	produced, completed, busy int64
	// elapsed is the time to the end of the last call.
	elapsed                  time.Duration
	produce, lease, complete measure.Histogram
}

// running is a load while it runs.
type running struct {
	load
	produced, completed, busy, last atomic.Int64
	begin                           time.Time
}

// clientTimes are the latencies that one client saw. They are its own until it has ended.
type clientTimes struct{ produce, lease, complete measure.Histogram }

// run dials all clients, lets them work and returns what came of it. The first error ends all.
func (l load) run(ctx context.Context, dial func() (conn, error)) (*outcome, error) {
	n := l.producers + l.consumers
	if l.alternate {
		n = 1
	}
	conns := make([]conn, 0, n)
	defer func() {
		for _, c := range conns {
			c.close()
		}
	}()
	for range n {
		c, err := dial()
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	r := &running{load: l, begin: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, l.length)
	defer cancel()
	times := make([]clientTimes, n)
	failures := make([]error, n)
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			if failures[i] = r.client(ctx, i, c, &times[i]); failures[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	return r.outcome(times), nil
}

// client is one client, number i.
func (r *running) client(ctx context.Context, i int, c conn, times *clientTimes) error {
	at := i * 1009 // Not all send the same at the same time.
	for n := 0; ctx.Err() == nil && (r.calls == 0 || n < r.calls) && (r.most == 0 || r.produced.Load() < r.most); n++ {
		at += r.batch * max(r.producers, 1)
		if r.alternate || i < r.producers {
			if err := r.produceOne(ctx, at, c, times); err != nil {
				return err
			}
		}
		if r.alternate || i >= r.producers {
			if more, err := r.consumeOne(c, times); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// produceOne produces a batch, when it is not too far ahead of the consumers.
func (r *running) produceOne(ctx context.Context, at int, c conn, times *clientTimes) error {
	for r.ahead > 0 && r.produced.Load()-r.completed.Load() > r.ahead && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	batch := r.payloads.batch(at, r.batch)
	begin := time.Now()
	if err := r.try(func() error { return c.produce(batch) }); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	times.produce.Add(time.Since(begin))
	r.produced.Add(int64(len(batch)))
	r.ended()
	return nil
}

// consumeOne leases and completes a batch. It returns false when nothing is left to drain.
func (r *running) consumeOne(c conn, times *clientTimes) (bool, error) {
	wait := leaseWait
	if r.drain {
		wait = 0
	}
	n := 0
	begin := time.Now()
	err := r.try(func() (err error) {
		n, err = c.lease(r.batch, wait)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("lease: %w", err)
	}
	if n == 0 {
		return !r.drain, nil
	}
	times.lease.Add(time.Since(begin))
	begin = time.Now()
	if err := r.try(c.complete); err != nil {
		return false, fmt.Errorf("complete: %w", err)
	}
	times.complete.Add(time.Since(begin))
	r.completed.Add(int64(n))
	r.ended()
	return true, nil
}

// try calls do again while the peer says "try again".
func (r *running) try(do func() error) error {
	for {
		err := do()
		if !errors.Is(err, errBusy) {
			return err
		}
		r.busy.Add(1)
		time.Sleep(busyPause)
	}
}

// ended notes that a call has ended now.
func (r *running) ended() {
	now := int64(time.Since(r.begin))
	for {
		last := r.last.Load()
		if now <= last || r.last.CompareAndSwap(last, now) {
			return
		}
	}
}

func (r *running) outcome(times []clientTimes) *outcome {
	o := &outcome{
		produced: r.produced.Load(), completed: r.completed.Load(), busy: r.busy.Load(), elapsed: time.Duration(r.last.Load()),
	}
	for i := range times {
		o.produce.Merge([]measure.Histogram{times[i].produce})
		o.lease.Merge([]measure.Histogram{times[i].lease})
		o.complete.Merge([]measure.Histogram{times[i].complete})
	}
	return o
}

// add counts another outcome of the same load to this one.
func (o *outcome) add(b *outcome) {
	o.produced += b.produced
	o.completed += b.completed
	o.busy += b.busy
	o.elapsed += b.elapsed
	o.produce.Merge([]measure.Histogram{b.produce})
	o.lease.Merge([]measure.Histogram{b.lease})
	o.complete.Merge([]measure.Histogram{b.complete})
}
