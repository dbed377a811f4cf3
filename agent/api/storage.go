package api

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// listPage is how many items are read at a time; the queue gives fewer when
// their payloads are large.
const listPage = 500

const (
	// listPageBytes bounds the bytes of such a page, beyond its first item.
	listPageBytes = 256 << 10
	// listReserve is what a list takes of the budget while it is written: a page
	// of small items and its encoded form. What a list takes beyond it keeps small
	// requests out for as long as nobody reads.
	listReserve = 768 << 10
)

func itemsList(c *call, req *pb.StorageItemsListRequest) error {
	return listItems(c, req, (*queue.Queue).List)
}

func scheduledList(c *call, req *pb.StorageItemsListRequest) error {
	return listItems(c, req, (*queue.Queue).ListScheduled)
}

func listItems(c *call, req *pb.StorageItemsListRequest,
	read func(*queue.Queue, context.Context, *queue.ListRequest) ([]queue.Item, error),
) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	size := min(listReserve, c.h.budget.Limit()/8)
	if err := c.await(size); err != nil {
		return err
	}
	l, err := c.startList(1)
	if err != nil {
		return err
	}
	l.reserved = size
	defer l.giveTurn()
	left := int(req.Limit)
	if left == 0 {
		left = defaultListLimit
	}
	r := queue.ListRequest{Partition: int(req.Partition), Pivot: req.Pivot, MaxBytes: listPageBytes}
	for left != 0 {
		r.Limit = min(left, listPage) // One below 0 is refused there.
		items, err := l.readPage(&r, func() ([]queue.Item, error) { return read(q, c.r.Context(), &r) })
		if err != nil {
			return l.abort(err)
		}
		if len(items) == 0 {
			break
		}
		for i := range items {
			if err := l.addItem(&items[i]); err != nil {
				return l.abort(err)
			}
		}
		left -= len(items)
		last := items[len(items)-1].ID
		r.Pivot = queue.NewID(last.Seq()+1, last.Tag()).String()
	}
	return l.end()
}

// itemMessage returns a stored item as clients see it.
func itemMessage(it *queue.Item) *pb.StorageItem {
	m := &pb.StorageItem{
		SourceId:       it.SourceID,
		IsLeased:       it.IsLeased,
		LeaseDeadline:  stamp(it.LeaseDeadline),
		ExpireDeadline: stamp(it.ExpireDeadline),
		CreatedAt:      stamp(it.CreatedAt),
		Attempts:       it.Attempts,
		MaxAttempts:    it.MaxAttempts,
		Reference:      it.Reference,
		Encoding:       it.Encoding,
		Kind:           it.Kind,
		Payload:        it.Payload,
	}
	if !it.ID.IsZero() {
		m.Id = it.ID.String()
	}
	if !it.EnqueueAt.IsZero() {
		m.EnqueueAt = stamp(it.EnqueueAt)
	}
	return m
}

func itemsImport(c *call, req *pb.StorageItemsImportRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	items := make([]queue.Item, len(req.Items))
	for i, it := range req.Items {
		items[i] = queue.Item{
			SourceID:       it.SourceId,
			IsLeased:       it.IsLeased,
			LeaseDeadline:  importTime(it.LeaseDeadline),
			ExpireDeadline: importTime(it.ExpireDeadline),
			Attempts:       it.Attempts,
			MaxAttempts:    it.MaxAttempts,
			Reference:      it.Reference,
			Encoding:       it.Encoding,
			Kind:           it.Kind,
			Payload:        it.Payload,
		}
	}
	stored, err := q.Import(c.r.Context(), &queue.ImportRequest{
		Partition: int(req.Partition), Items: items, Released: c.lend(nil),
	})
	if err != nil {
		return err
	}
	l, err := c.startList(2)
	if err != nil {
		return err
	}
	for i := range stored {
		m := itemMessage(&stored[i])
		if stored[i].ID.IsZero() {
			// Skipped: nothing was stored, and the reply echoes what was given.
			m.Id, m.CreatedAt = strings.ToValidUTF8(req.Items[i].Id, "\uFFFD"), &timestamppb.Timestamp{}
		}
		if err := l.add(m); err != nil {
			return l.abort(err)
		}
	}
	return l.end()
}

// importTime returns the time of an imported item's field; absent is 1970.
func importTime(ts *timestamppb.Timestamp) time.Time {
	return ts.AsTime() // Which is 1970 for nil.
}

func itemsDelete(c *call, req *pb.StorageItemsDeleteRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	err = q.DeleteItems(c.r.Context(), &queue.DeleteRequest{Partition: int(req.Partition), IDs: req.Ids})
	if err != nil {
		return err
	}
	return c.ok()
}
