package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

const (
	// busyPause is how long a producer or consumer waits when the agent says "try again".
	busyPause = 10 * time.Millisecond
	// benchWait is how long a consumer's lease request waits for items.
	benchWait = 5 * time.Second
	// benchLease is long enough for any pause of the machine.
	benchLease = 5 * time.Minute
)

// benchOptions are the flags of bench.
type benchOptions struct {
	producers, consumers, batch int
	payloadSize                 int
	items, backlog              int64
	duration                    time.Duration
	queue                       string
	partitions                  int
	seed                        uint64
}

func (e *env) benchCommand() *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running agent: rates, latencies, memory, bytes written",
		Long: `Measure a running agent with producers and consumers that lease and complete. Every rate is of answers, so of
what is on flash. The queue is made for the purpose and deleted afterwards, unless --queue names one that exists:
its items are then leased and completed too. The load comes from this machine and shares its processors with the
agent. Lease latencies contain the time that a lease waits for items; give a --backlog to see the agent's own.`,
		Example: `  querator bench --producers 8 --consumers 8 --batch 100 --duration 20s
  querator bench --producers 1 --consumers 0 --batch 1 --duration 10s
  querator bench --backlog 1000000 --producers 0 --consumers 1 --batch 1 --items 1000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return e.bench(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.producers, "producers", 8, "how many produce at once")
	f.IntVar(&o.consumers, "consumers", 8, "how many lease and complete at once")
	f.IntVarP(&o.batch, "batch", "b", 100, "items in one request, 1 to 1000")
	f.IntVar(&o.payloadSize, "payload-size", 256, "bytes of a payload, 2 to 4000000")
	f.Int64Var(&o.items, "items", 0, "end after so many items (default: after --duration)")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "end after this time, unless --items is given")
	f.Int64Var(&o.backlog, "backlog", 0, "items that are put into the queue before")
	f.StringVar(&o.queue, "queue", "", "an existing queue (default: one that is created and deleted)")
	f.IntVar(&o.partitions, "partitions", 1, "partitions of the queue that is created")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the payloads")
	return cmd
}

func (o *benchOptions) check() error {
	switch {
	case o.producers < 0 || o.consumers < 0 || o.producers+o.consumers == 0 || o.producers+o.consumers > 1000:
		return usagef("--producers and --consumers are invalid; 1 to 1000 together are allowed")
	case o.batch < 1 || o.batch > 1000:
		return usagef("--batch %d is invalid; 1 to 1000 are allowed", o.batch)
	case o.payloadSize < 2 || o.payloadSize > maxBatchBytes || o.payloadSize*o.batch > maxPayload:
		return usagef("--payload-size %d is invalid with --batch %d; a batch may have %d bytes", o.payloadSize, o.batch, maxPayload)
	case o.items < 0 || o.backlog < 0 || o.duration <= 0:
		return usagef("--items, --backlog and --duration must not be negative")
	}
	return nil
}

// bench is one run of the command.
type bench struct {
	benchOptions
	e    *env
	c    *client.Client
	pool *payloadPool

	claimed   atomic.Int64 // items that producers have set out to produce
	produced  atomic.Int64
	leased    atomic.Int64
	completed atomic.Int64
	busy      atomic.Int64 // answers "try again"
}

func (e *env) bench(ctx context.Context, o benchOptions) (err error) {
	b := &bench{benchOptions: o, e: e, c: e.client(), pool: newPayloadPool(o.seed, o.payloadSize, o.batch)}
	if o.queue == "" {
		b.queue = fmt.Sprintf("bench-%d-%d", os.Getpid(), time.Now().UnixMilli())
		call, cancel := e.limited(ctx)
		err := b.c.CreateQueue(call, client.QueueInfo{
			Name: b.queue, LeaseTimeout: benchLease, ExpireTimeout: 24 * time.Hour, Partitions: o.partitions,
			Reference: "made by querator bench, which deletes it",
		})
		cancel()
		if err != nil {
			return err
		}
		defer func() {
			call, cancel := e.limited(context.WithoutCancel(ctx))
			defer cancel()
			err = errors.Join(err, b.c.DeleteQueue(call, b.queue))
		}()
	}
	if err := b.fill(ctx); err != nil {
		return err
	}
	r, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return e.print(r, nil, r.table)
}

// fill produces the backlog.
func (b *bench) fill(ctx context.Context) error {
	if b.backlog == 0 {
		return nil
	}
	shown := b.e.progress()
	defer shown.done()
	pool := newPayloadPool(b.seed+1, b.payloadSize, min(1000, max(1, maxBatchBytes/b.payloadSize)))
	for done := int64(0); done < b.backlog; {
		batch := pool.batch(done)
		batch = batch[:min(int64(len(batch)), b.backlog-done)]
		if err := b.c.Produce(ctx, b.queue, batch...); err != nil {
			return fmt.Errorf("after %d items of the backlog: %w", done, err)
		}
		done += int64(len(batch))
		shown.show("backlog: %d of %d items", done, b.backlog)
	}
	return nil
}

// measure runs the producers and consumers and returns the figures.
func (b *bench) measure(ctx context.Context) (*benchResult, error) {
	watch := b.watchAgent(ctx)
	defer watch.stop()
	before, err := watch.costs(ctx, b.queue)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if b.items == 0 {
		timer := time.AfterFunc(b.duration, func() { stop(errBenchOver) })
		defer timer.Stop()
	}
	begin := time.Now()
	times := newBenchTimes(b.producers, b.consumers)
	var producers, consumers sync.WaitGroup
	for i := range b.producers {
		producers.Go(func() { b.produce(run, stop, int64(i), &times.produce[i]) })
	}
	for i := range b.consumers {
		consumers.Go(func() { b.consume(run, stop, i, &times.lease[i], &times.complete[i]) })
	}
	producers.Wait()
	producing := time.Since(begin)
	consumers.Wait()
	elapsed := time.Since(begin)
	if cause := context.Cause(run); cause != nil && !errors.Is(cause, errBenchOver) {
		return nil, cause
	}
	after, err := watch.costs(ctx, b.queue)
	if err != nil {
		return nil, err
	}
	return b.result(times, producing, elapsed, before, after, watch.stop()), nil
}

// errBenchOver is the cause with which a run ends as planned.
var errBenchOver = errors.New("the measurement is over")

// produce is one producer.
func (b *bench) produce(ctx context.Context, stop context.CancelCauseFunc, at int64, took *measure.Histogram) {
	for ctx.Err() == nil {
		batch := b.pool.batch(at)
		if b.items > 0 {
			left := b.items - (b.claimed.Add(int64(b.batch)) - int64(b.batch))
			if left <= 0 {
				return
			}
			batch = batch[:min(int64(len(batch)), left)]
		}
		at += int64(b.batch * b.producers)
		for {
			begin := time.Now()
			err := b.c.Produce(ctx, b.queue, batch...)
			if err == nil {
				took.Add(time.Since(begin))
				b.produced.Add(int64(len(batch)))
				break
			}
			if !b.goOn(ctx, stop, err) {
				return
			}
		}
	}
}

// consume is one consumer.
func (b *bench) consume(ctx context.Context, stop context.CancelCauseFunc, no int, leased, completed *measure.Histogram) {
	target := b.items
	if b.producers > 0 {
		target += b.backlog
	}
	ids := make([]string, 0, b.batch)
	o := client.LeaseOptions{BatchSize: b.batch, Wait: benchWait, ClientID: fmt.Sprintf("bench-%d", no)}
	for ctx.Err() == nil {
		begin := time.Now()
		items, err := b.c.Lease(ctx, b.queue, o)
		if err != nil {
			if b.goOn(ctx, stop, err) {
				continue
			}
			return
		}
		leased.Add(time.Since(begin))
		b.leased.Add(int64(len(items)))
		ids = ids[:0]
		for i := range items {
			ids = append(ids, items[i].ID)
		}
		begin = time.Now()
		for err = errNotDone; err != nil; {
			if err = b.c.Complete(ctx, b.queue, items[0].Partition, ids...); err != nil && !b.goOn(ctx, stop, err) {
				return
			}
		}
		completed.Add(time.Since(begin))
		if n := b.completed.Add(int64(len(items))); b.items > 0 && n >= target {
			stop(errBenchOver)
		}
	}
}

var errNotDone = errors.New("not done")

// goOn reports whether to try again after err; else it has stopped the run.
func (b *bench) goOn(ctx context.Context, stop context.CancelCauseFunc, err error) bool {
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, client.ErrEmpty):
		return true
	case errors.Is(err, client.ErrTryAgain):
		b.busy.Add(1)
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
		}
		return true
	}
	stop(err)
	return false
}
