package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	producers, consumers = 2, 1
	maxBatch             = 50
	maxFiller            = 2000 // bytes; an item has some 500 on average
)

// use produces and completes until something fails. Some of the items stay.
func (w *witness) use(ctx context.Context, first int64) error {
	w.next = first
	failed := make(chan error, producers+consumers)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	forever := func(step func(context.Context, *rand.Rand) error, no int64) {
		r := rand.New(rand.NewPCG(uint64(first), uint64(no)))
		for {
			if err := step(ctx, r); err != nil {
				failed <- err
				return
			}
		}
	}
	for i := range int64(producers) {
		all.Go(func() { forever(w.produce, i) })
	}
	for i := range int64(consumers) {
		all.Go(func() { forever(w.consume, producers+i) })
	}
	err := <-failed
	stop() // The others fail of the context, at the latest.
	all.Wait()
	return err
}

// produce makes one request.
func (w *witness) produce(ctx context.Context, r *rand.Rand) error {
	n := 1 + r.Int64N(maxBatch)
	w.mu.Lock()
	from := w.next
	w.next += n
	w.mu.Unlock()
	items := make([]client.ProduceItem, n)
	for i := range items {
		items[i].Payload = payload(from+int64(i), r)
	}
	if err := w.tell(line("produce", from, from+n-1)); err != nil {
		return err
	}
	if err := w.client.Produce(ctx, w.queue, items...); err != nil {
		return err
	}
	return w.tell(line("produced", from, from+n-1))
}

// consume leases some items and completes them, or gives them back.
func (w *witness) consume(ctx context.Context, r *rand.Rand) error {
	leased, err := w.client.Lease(ctx, w.queue, client.LeaseOptions{BatchSize: 1 + r.IntN(maxBatch), Wait: time.Second})
	if errors.Is(err, client.ErrEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	numbers, ids := make([]int64, len(leased)), make([]string, len(leased))
	back := make([]client.RetryItem, len(leased))
	for i, item := range leased {
		ids[i], back[i].ID = item.ID, item.ID
		if numbers[i], err = number(item.Payload); err != nil {
			return err
		}
	}
	partition := leased[0].Partition
	if r.IntN(8) == 0 {
		return w.client.Retry(ctx, w.queue, partition, back...)
	}
	if err := w.tell(line("complete", numbers...)); err != nil {
		return err
	}
	if err := w.client.Complete(ctx, w.queue, partition, ids...); err != nil {
		return err
	}
	return w.tell(line("completed", numbers...))
}

// list tells of all items.
func (w *witness) list(ctx context.Context) error {
	q, err := w.client.QueueInfo(ctx, w.queue)
	if err != nil {
		return err
	}
	var count int64
	for partition := range q.Partitions {
		page := client.Page{Limit: 500}
		for {
			items, err := w.client.ListItems(ctx, w.queue, partition, page)
			if err != nil {
				return err
			}
			for _, item := range items {
				if item.ID == page.Pivot {
					continue // The last one of the page before.
				}
				n, err := number(item.Payload)
				if err != nil {
					return err
				}
				if err := w.tell(line("held", n)); err != nil {
					return err
				}
				count++
			}
			if len(items) < page.Limit {
				break
			}
			page.Pivot = items[len(items)-1].ID
		}
	}
	return w.tell(line("listed", count))
}

// payload makes the payload of an item: its number, a filler, and a checksum of both.
func payload(n int64, r *rand.Rand) []byte {
	b := append(strconv.AppendInt(nil, n, 10), ' ')
	for range r.IntN(1 + r.IntN(maxFiller)) {
		b = append(b, 'a'+byte(r.IntN(26)))
	}
	return fmt.Appendf(b, " %08x", crc32.ChecksumIEEE(b))
}

// errPayload is an item that nobody here made.
var errPayload = errors.New("an item with a payload that is damaged")

// number returns the number of an item from its payload.
func number(p []byte) (int64, error) {
	s := string(p)
	body := strings.LastIndexByte(s, ' ')
	digits, _, ok := strings.Cut(s, " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || s[body+1:] != fmt.Sprintf("%08x", crc32.ChecksumIEEE(p[:body])) {
		return 0, fmt.Errorf("%w: %.40q, %d bytes", errPayload, s, len(s))
	}
	return n, nil
}
