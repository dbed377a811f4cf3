package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// Pages of a list of items: the first is small, since nothing is known of the
// size of the payloads; the next ones are about pageBytes each.
const (
	firstPage = 16
	maxPage   = 1000
	pageBytes = 1 << 20
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
	if err := q.CheckPartition(int(req.Partition)); err != nil {
		return err
	}
	if req.Limit < 0 {
		return badRequest("limit is invalid; limit cannot be negative")
	}
	l, err := c.startList(1)
	if err != nil {
		return err
	}
	left := int(req.Limit)
	if left == 0 {
		left = defaultListLimit
	}
	r := queue.ListRequest{Partition: int(req.Partition), Pivot: req.Pivot}
	page := firstPage
	for left > 0 {
		r.Limit = min(left, page)
		items, err := read(q, c.r.Context(), &r)
		if err != nil {
			return l.abort(err)
		}
		var size int64
		for i := range items {
			size += items[i].Size()
			if err := l.add(itemMessage(&items[i])); err != nil {
				return l.abort(err)
			}
		}
		if len(items) < r.Limit {
			break
		}
		left -= len(items)
		last := items[len(items)-1].ID
		r.Pivot = queue.NewID(last.Seq()+1, last.Tag()).String()
		page = int(min(max(pageBytes*int64(len(items))/size, 1), maxPage))
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
	return m
}

func itemsImport(c *call, req *pb.StorageItemsImportRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	if err := q.CheckPartition(int(req.Partition)); err != nil {
		return err
	}
	if len(req.Items) == 0 {
		return badRequest("items is invalid; cannot be empty")
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
	stored, err := q.Import(c.r.Context(), &queue.ImportRequest{Partition: int(req.Partition), Items: items})
	if err != nil {
		return err
	}
	l, err := c.startList(2)
	if err != nil {
		return err
	}
	for i := range stored {
		m := itemMessage(&stored[i])
		if !m.IsLeased && i < len(req.Items) {
			// Clients compare what they get with what they gave, the lease
			// deadline of an item without a lease included.
			m.LeaseDeadline = stamp(importTime(req.Items[i].LeaseDeadline))
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
	if err := q.CheckPartition(int(req.Partition)); err != nil {
		return err
	}
	if len(req.Ids) == 0 {
		return badRequest("ids is invalid; cannot be empty")
	}
	err = q.DeleteItems(c.r.Context(), &queue.DeleteRequest{Partition: int(req.Partition), IDs: req.Ids})
	if err != nil {
		return err
	}
	return c.ok()
}
