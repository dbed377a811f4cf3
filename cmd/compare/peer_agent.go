package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// agentPeer is our own agent, over its Unix socket, with its own client. It always syncs.
type agentPeer struct {
	process
	program, socket string
	queues          int // 0 is 1
	dialled         int
}

var _ peer = (*agentPeer)(nil)

// queueStarts is in how many places clients begin that go round the queues, and how many queues are made at a time.
const queueStarts = 8

// unitSlack is TimerSlackNSec= of the package's unit.
const unitSlack = 250 * time.Microsecond

// queueName returns the name of a queue.
func queueName(i int) string { return fmt.Sprintf("compare-%d", i) }

func (a *agentPeer) name() string  { return "querator" }
func (a *agentPeer) durable() bool { return true }

func (a *agentPeer) start(ctx context.Context, dir string, _ bool) error {
	a.slack = unitSlack
	if err := a.run(ctx, dir, a.program, "agent", "--data-dir", dir, "--socket", a.socket); err != nil {
		return err
	}
	c := &client.Client{Socket: a.socket}
	defer c.Close()
	return a.await(ctx, func() error {
		_, err := c.ListQueues(ctx, "", 1)
		return err
	})
}

func (a *agentPeer) create(ctx context.Context) error {
	c := &client.Client{Socket: a.socket}
	defer c.Close()
	failures := make([]error, queueStarts)
	var all sync.WaitGroup
	for k := range failures {
		all.Go(func() {
			for i := k; i < max(a.queues, 1) && failures[k] == nil; i += queueStarts {
				failures[k] = c.CreateQueue(ctx, client.QueueInfo{
					Name: queueName(i), LeaseTimeout: leaseTimeout, ExpireTimeout: 24 * leaseTimeout, Partitions: 1,
				})
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// dial returns a client that goes round the queues, each from another one.
func (a *agentPeer) dial() (conn, error) {
	c := a.dialWith(&client.Client{Socket: a.socket})
	c.owns = true
	return c, nil
}

func (a *agentPeer) dialWith(c *client.Client) *agentConn {
	n := max(a.queues, 1)
	a.dialled++
	return &agentConn{c: c, queues: n, at: a.dialled % queueStarts * n / queueStarts}
}

// share returns a function that gives out one client, as goroutines of one program use it.
func (a *agentPeer) share() (dial func() (conn, error), closeAll func(), err error) {
	c := &client.Client{Socket: a.socket}
	return func() (conn, error) { return a.dialWith(c), nil }, c.Close, nil
}

// agentConn is a client of the agent.
type agentConn struct {
	c         *client.Client
	owns      bool // no other has c
	queues    int
	at        int    // calls that have gone to one queue after the other
	queue     string // of the last lease
	items     []client.ProduceItem
	ids       []string
	partition int
}

// next returns the queue for a call.
func (c *agentConn) next() string {
	c.at++
	return queueName(c.at % c.queues)
}

func (c *agentConn) produce(batch [][]byte) error {
	c.items = c.items[:0]
	for _, payload := range batch {
		c.items = append(c.items, client.ProduceItem{Payload: payload})
	}
	return orBusy(c.c.Produce(context.Background(), c.next(), c.items...))
}

func (c *agentConn) lease(n int, wait time.Duration) (int, error) {
	const least = 11 * time.Millisecond // The API's.
	c.ids = c.ids[:0]
	c.queue = c.next()
	items, err := c.c.Lease(context.Background(), c.queue, client.LeaseOptions{BatchSize: n, Wait: max(wait, least)})
	if errors.Is(err, client.ErrEmpty) {
		return 0, nil
	}
	if err != nil {
		return 0, orBusy(err)
	}
	for i := range items {
		c.ids = append(c.ids, items[i].ID)
	}
	c.partition = items[0].Partition
	return len(items), nil
}

func (c *agentConn) complete() error {
	return orBusy(c.c.Complete(context.Background(), c.queue, c.partition, c.ids...))
}

func (c *agentConn) close() {
	if c.owns {
		c.c.Close()
	}
}

func orBusy(err error) error {
	if errors.Is(err, client.ErrTryAgain) {
		return errBusy
	}
	return err
}
