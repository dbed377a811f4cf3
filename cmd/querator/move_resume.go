package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// resume goes on with what was on its way when the last move ended.
func (m *mover) resume(ctx context.Context) error {
	n := m.journal.pending
	if n == nil {
		return nil
	}
	m.onTheWay, m.onTheWayItems = true, len(n.IDs)
	if n.Arrived {
		m.onTheWay = false
		if err := m.settle(ctx, n, nil); err != nil {
			return err
		}
		m.resumed = int64(len(n.IDs)) - m.doubtful
		return nil
	}
	list, err := m.stillLeased(ctx, n)
	if err != nil {
		return fmt.Errorf("what was on its way cannot be looked up: %w", err)
	}
	m.onTheWay = false
	m.doubtful += int64(len(n.IDs) - len(list))
	if len(list) == 0 {
		return m.journal.note(&moveNote{})
	}
	k := m.keep(ctx, n.Partition, list)
	defer k.stop()
	// Whatever becomes of it now, an earlier try may have arrived.
	if err := m.sendChunk(k.ctx, n.Partition, list); err != nil {
		m.onTheWay, m.onTheWayItems = true, len(list)
		return errors.Join(err, m.journal.note(noteOf(n.Partition, list)))
	}
	m.resumed = int64(len(list))
	m.items += m.resumed
	return nil
}

// stillLeased returns those items of a note that are still leased under the same
// ids, with what they hold, and extends their leases.
func (m *mover) stillLeased(ctx context.Context, n *moveNote) ([]moving, error) {
	found := make(map[string]*client.StoredItem)
	page := client.Page{Pivot: slices.Min(n.IDs), Limit: maxMoveBatch}
	for last := slices.Max(n.IDs); ; {
		var items []client.StoredItem
		err := m.repeat(ctx, "this agent", func(call context.Context) (err error) {
			items, err = m.from.ListItems(call, m.queue, n.Partition, page)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := range items {
			if items[i].IsLeased {
				found[items[i].ID] = &items[i]
			}
		}
		if len(items) < 2 || items[len(items)-1].ID >= last {
			break
		}
		page.Pivot = items[len(items)-1].ID
	}
	var list []moving
	for i, id := range n.IDs {
		it := found[id]
		if it == nil || !m.extends(ctx, n.Partition, id) {
			continue
		}
		list = append(list, moving{id, client.ProduceItem{Payload: it.Payload, Encoding: it.Encoding, Kind: it.Kind,
			Reference: it.Reference, SourceID: n.SourceIDs[i]}})
	}
	return list, nil
}

// extends reports whether the lease of an item could be extended.
func (m *mover) extends(ctx context.Context, partition int, id string) bool {
	return m.repeat(ctx, "this agent", func(call context.Context) error {
		_, err := m.from.Extend(call, m.queue, partition, m.flags.leaseTimeout, id)
		return err
	}) == nil
}

// scheduledMargin is how far ahead an item must be due to be moved as scheduled:
// what is due sooner is moved when it is ready.
const scheduledMargin = time.Minute

// moveScheduled moves scheduled items. They have no lease: they are produced there
// for their time, and then deleted here, under ids that they keep until they are
// due.
func (m *mover) moveScheduled(ctx context.Context) error {
	call, cancel := m.e.limited(ctx)
	info, err := m.from.Stats(call, m.queue)
	cancel()
	if err != nil {
		return err
	}
	for _, p := range info.Partitions {
		if err := m.scheduledOf(ctx, p.Partition); err != nil {
			return err
		}
	}
	return nil
}

// scheduledOf moves the scheduled items of a partition.
func (m *mover) scheduledOf(ctx context.Context, partition int) error {
	page := client.Page{Limit: m.flags.batch}
	for {
		var items []client.StoredItem
		err := m.repeat(ctx, "this agent", func(call context.Context) (err error) {
			items, err = m.from.ListScheduled(call, m.queue, partition, page)
			return err
		})
		if err != nil {
			return err
		}
		if len(items) > 0 && items[0].ID == page.Pivot {
			items = items[1:] // It was due too soon, in the page before.
		}
		if len(items) == 0 {
			return nil
		}
		page.Pivot = items[len(items)-1].ID
		page.Limit = m.flags.batch + 1
		var list []moving
		for i := range items {
			it := &items[i]
			source := it.SourceID
			if source == "" && m.knowsSources {
				source = "move/" + it.ID
			}
			list = append(list, moving{it.ID, client.ProduceItem{Payload: it.Payload, Encoding: it.Encoding, Kind: it.Kind,
				Reference: it.Reference, SourceID: source, EnqueueAt: it.EnqueueAt}})
		}
		for len(list) > 0 {
			n := chunkLen(list)
			if err := m.sendScheduled(ctx, partition, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
}

// sendScheduled produces items there and deletes them here, but those that are
// due soon.
func (m *mover) sendScheduled(ctx context.Context, partition int, list []moving) error {
	var sent []moving
	err := m.repeat(ctx, "the other server", func(call context.Context) error {
		soon := time.Now().Add(scheduledMargin)
		sent = slices.DeleteFunc(slices.Clone(list), func(it moving) bool { return it.item.EnqueueAt.Before(soon) })
		if len(sent) == 0 {
			return nil
		}
		return m.to.Produce(call, m.toQueue, produceItems(sent)...)
	})
	if errors.Is(err, client.ErrInvalid) && len(list) > 1 {
		if err := m.sendScheduled(ctx, partition, list[:len(list)/2]); err != nil {
			return err
		}
		return m.sendScheduled(ctx, partition, list[len(list)/2:])
	}
	if err != nil {
		return fmt.Errorf("the other server: %w", err)
	}
	if len(sent) == 0 {
		return nil
	}
	ids := make([]string, len(sent))
	for i := range sent {
		ids[i] = sent[i].id
		m.bytes += int64(len(sent[i].item.Payload))
	}
	m.items += int64(len(sent))
	m.scheduled += int64(len(sent))
	m.shown.show("%d items, %s", m.items, bytesText(m.bytes))
	err = m.repeat(context.WithoutCancel(ctx), "this agent", func(call context.Context) error {
		return m.from.DeleteItems(call, m.queue, partition, ids...)
	})
	if err != nil {
		return fmt.Errorf("%d scheduled item(s) are at the other server and still here: %w", len(ids), err)
	}
	return nil
}
