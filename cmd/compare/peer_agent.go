package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// agentPeer is our own agent, over its Unix socket, with its own client. It always syncs.
type agentPeer struct {
	process
	program, socket string
	queues          int // 0 is 1
}

var _ peer = (*agentPeer)(nil)

// queueName returns the name of a queue.
func queueName(i int) string { return fmt.Sprintf("compare-%d", i) }

func (a *agentPeer) name() string  { return "querator" }
func (a *agentPeer) durable() bool { return true }

func (a *agentPeer) start(ctx context.Context, dir string, _ bool) error {
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
	for i := range max(a.queues, 1) {
		err := c.CreateQueue(ctx, client.QueueInfo{
			Name: queueName(i), LeaseTimeout: leaseTimeout, ExpireTimeout: 24 * leaseTimeout, Partitions: 1,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *agentPeer) dial() (conn, error) { return a.dialQueue(queueName(0)), nil }

func (a *agentPeer) dialQueue(queue string) *agentConn {
	return &agentConn{c: &client.Client{Socket: a.socket}, queue: queue}
}

// agentConn is a client of the agent.
type agentConn struct {
	c         *client.Client
	queue     string
	items     []client.ProduceItem
	ids       []string
	partition int
}

func (c *agentConn) produce(batch [][]byte) error {
	c.items = c.items[:0]
	for _, payload := range batch {
		c.items = append(c.items, client.ProduceItem{Payload: payload})
	}
	return orBusy(c.c.Produce(context.Background(), c.queue, c.items...))
}

func (c *agentConn) lease(n int, wait time.Duration) (int, error) {
	const least = 11 * time.Millisecond // The API's.
	c.ids = c.ids[:0]
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

func (c *agentConn) close() { c.c.Close() }

func orBusy(err error) error {
	if errors.Is(err, client.ErrTryAgain) {
		return errBusy
	}
	return err
}
