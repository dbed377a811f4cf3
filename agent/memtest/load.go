package memtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// Load is what the clients of an agent do, all at the same time. Every client
// has a connection of its own, but for those of Programs.
type Load struct {
	Socket string
	Tally  *Tally
	Seed   uint64

	Backlog   int // items that wait in a queue that is not read
	Queues    int // with a client that produces and one that leases and completes
	LargeBody int // bytes of a large payload
	Large     int // clients that produce large payloads
	Fetchers  int // clients that lease and complete them
	Senders   int // clients that send a large body slowly
	Readers   int // clients that read a large answer slowly
	Waiting   int // clients whose lease waits on a queue without items
	Silent    int // connections on which nothing is asked
	Programs  int // programs of many goroutines that share a client
}

// Names of the queues.
const (
	backlogQueue = "backlog"
	largeQueue   = "large"
	slowQueue    = "slow"
	emptyQueue   = "empty"
)

// Connections returns how many connections the load has, about.
func (l *Load) Connections() int {
	return 2*l.Queues + l.Large + l.Fetchers + l.Senders + l.Readers + l.Waiting + l.Silent + l.Programs*programConnections
}

func queueName(i int) string { return fmt.Sprintf("busy-%03d", i) }

// largeAtFirst is how many large items wait in each of two queues at the beginning.
const largeAtFirst = 3

// SetUp creates the queues and fills the backlog.
func (l *Load) SetUp(ctx context.Context) error {
	c := &client.Client{Socket: l.Socket}
	defer c.Close()
	names := []string{backlogQueue, largeQueue, slowQueue, emptyQueue}
	for i := range l.Queues {
		names = append(names, queueName(i))
	}
	for _, name := range names {
		info := client.QueueInfo{Name: name, LeaseTimeout: 10 * time.Minute, ExpireTimeout: 24 * time.Hour, Partitions: 1}
		if err := c.CreateQueue(ctx, info); err != nil {
			return err
		}
	}
	large := newPayloads(l.Seed, l.LargeBody, 1)
	for range largeAtFirst {
		for _, name := range []string{largeQueue, slowQueue} {
			if err := c.Produce(ctx, name, large.take(1)...); err != nil {
				return err
			}
		}
	}
	items := newPayloads(l.Seed, 256, 1000)
	for done := 0; done < l.Backlog; {
		n := min(1000, l.Backlog-done)
		begin := time.Now()
		if err := c.Produce(ctx, backlogQueue, items.take(n)...); err != nil {
			return err
		}
		done += n
		l.Tally.Done("fill", n, time.Since(begin))
	}
	return nil
}

// Check compares the backlog with what was put in.
func (l *Load) Check(ctx context.Context) error {
	c := &client.Client{Socket: l.Socket}
	defer c.Close()
	all, err := c.Audit(ctx, "")
	if err != nil {
		return err
	}
	for i := range all {
		a := &all[i]
		if a.Failure != "" || len(a.Differences) > 0 {
			return fmt.Errorf("audit of %s: %s %q", a.Queue, a.Failure, a.Differences)
		}
		if a.Queue == backlogQueue && a.Ready != int64(l.Backlog) {
			return fmt.Errorf("the backlog has %d items, not %d", a.Ready, l.Backlog)
		}
	}
	return nil
}

// Run runs all clients until ctx ends, and waits for them.
func (l *Load) Run(ctx context.Context) {
	var wg sync.WaitGroup
	start := func(n int, fn func(ctx context.Context, c *client.Client, i int)) {
		for i := range n {
			wg.Go(func() {
				c := &client.Client{Socket: l.Socket}
				defer c.Close()
				fn(ctx, c, i)
			})
		}
	}
	// Those with large items first: there are more queues than can be open at a time,
	// and each waits for its turn.
	start(l.Readers, l.readSlowly)
	start(l.Fetchers, l.fetchLarge)
	start(l.Large, l.produceLarge)
	start(l.Senders, l.sendSlowly)
	start(l.Queues, l.produce)
	start(l.Queues, l.consume)
	start(l.Programs, l.runProgram)
	start(l.Waiting, l.wait)
	start(l.Silent, l.stayConnected)
	wg.Wait()
}

// failed notes an error and waits a little when it was a refusal. It returns
// false when the client should end.
func (l *Load) failed(ctx context.Context, what string, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if !l.Tally.Refused(what, err) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

// produce puts small batches into a queue of its own.
func (l *Load) produce(ctx context.Context, c *client.Client, i int) {
	rnd := rand.New(rand.NewPCG(l.Seed, uint64(i)))
	items := newPayloads(l.Seed+uint64(i), 256, 20)
	for ctx.Err() == nil {
		n, begin := 1+rnd.IntN(20), time.Now()
		err := c.Produce(ctx, queueName(i), items.take(n)...)
		if err == nil {
			l.Tally.Done("produce", n, time.Since(begin))
		} else if !l.failed(ctx, "produce", err) {
			return
		}
	}
}

// consume leases and completes what is in the queue.
func (l *Load) consume(ctx context.Context, c *client.Client, i int) { l.consumeSome(ctx, c, i, 20) }

// consumeSome does so with a few at a time.
func (l *Load) consumeSome(ctx context.Context, c *client.Client, i, batch int) {
	for ctx.Err() == nil {
		if !l.leaseAndComplete(ctx, c, queueName(i), "", batch) {
			return
		}
	}
}

// fetchLarge leases and completes large items.
func (l *Load) fetchLarge(ctx context.Context, c *client.Client, _ int) {
	for ctx.Err() == nil {
		if !l.leaseAndComplete(ctx, c, largeQueue, " large", 2) {
			return
		}
	}
}

// leaseAndComplete does so once. It returns false when the client should end.
func (l *Load) leaseAndComplete(ctx context.Context, c *client.Client, queue, kind string, batch int) bool {
	begin := time.Now()
	items, err := c.Lease(ctx, queue, client.LeaseOptions{BatchSize: batch, Wait: 10 * time.Second})
	switch {
	case errors.Is(err, client.ErrEmpty):
		return true
	case err != nil:
		return l.failed(ctx, "lease"+kind, err)
	}
	l.Tally.Done("lease"+kind, len(items), time.Since(begin))
	ids := make([]string, len(items))
	for i := range items {
		ids[i] = items[i].ID
	}
	for tries := 0; ; tries++ {
		begin = time.Now()
		err := c.Complete(ctx, queue, items[0].Partition, ids...)
		// A call that timed out may have been done after all.
		if err == nil || tries > 0 && isUnknown(err) {
			l.Tally.Done("complete"+kind, len(ids), time.Since(begin))
			return true
		}
		if !l.failed(ctx, "complete"+kind, err) {
			return false
		}
	}
}

// isUnknown reports whether an item is not there any more.
func isUnknown(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Code == 400 && strings.HasSuffix(e.Message, "does not exist")
}

// produceLarge puts large payloads into a queue.
func (l *Load) produceLarge(ctx context.Context, c *client.Client, i int) {
	items := newLarge(l.Seed+uint64(1000+i), l.LargeBody, i)
	for ctx.Err() == nil {
		begin := time.Now()
		err := c.Produce(ctx, largeQueue, items.take(1)...)
		if err == nil {
			l.Tally.Done("produce large", 1, time.Since(begin))
		} else if !l.failed(ctx, "produce large", err) {
			return
		}
	}
}

// wait leases where there is nothing.
func (l *Load) wait(ctx context.Context, c *client.Client, _ int) {
	for ctx.Err() == nil {
		begin := time.Now()
		_, err := c.Lease(ctx, emptyQueue, client.LeaseOptions{Wait: 5 * time.Second})
		if errors.Is(err, client.ErrEmpty) {
			l.Tally.Done("wait", 0, time.Since(begin))
		} else if !l.failed(ctx, "wait", err) {
			return
		}
	}
}

// payloads are readings as sensors send them, made before they are used. They
// belong to one client.
type payloads struct {
	items []client.ProduceItem
	at    int
}

func newPayloads(seed uint64, size, n int) *payloads {
	rnd := rand.New(rand.NewPCG(seed, uint64(size)))
	p := &payloads{items: make([]client.ProduceItem, n)}
	for i := range p.items {
		b := make([]byte, 0, size+64)
		for len(b) < size {
			b = fmt.Appendf(b, `{"sensor":%d,"value":%.3f,"sequence":%d,"note":"nominal %x"}`, rnd.IntN(40), rnd.Float64(), i, rnd.Uint64())
		}
		p.items[i].Payload = bytes.Clone(b[:size])
	}
	return p
}

// newLarge returns one large payload for a client: every second one sends what cannot
// be compressed, such as pictures.
func newLarge(seed uint64, size, client int) *payloads {
	p := newPayloads(seed, size, 1)
	if client%2 == 1 {
		rnd := rand.NewChaCha8([32]byte{byte(client)})
		_, _ = rnd.Read(p.items[0].Payload) // Never fails.
	}
	return p
}

// take returns the next n, going round.
func (p *payloads) take(n int) []client.ProduceItem {
	if p.at+n > len(p.items) {
		p.at = 0
	}
	items := p.items[p.at : p.at+n]
	p.at += n
	return items
}
