package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// StoredItem is an item as it lies in a queue, leased or not.
type StoredItem struct {
	ID       string `json:"id,omitempty"`
	SourceID string `json:"source_id,omitempty"`
	IsLeased bool   `json:"is_leased,omitempty"`
	// LeaseDeadline is zero for an item without a lease.
	LeaseDeadline  time.Time `json:"lease_deadline,omitzero"`
	ExpireDeadline time.Time `json:"expire_deadline,omitzero"`
	CreatedAt      time.Time `json:"created_at,omitzero"`
	// EnqueueAt is when a scheduled item becomes due; zero if it is not scheduled. ImportItems does not take it.
	EnqueueAt time.Time `json:"enqueue_at,omitzero"`
	Attempts  int       `json:"attempts,omitempty"`
	// MaxAttempts is kept and has no effect: the limit is the queue's.
	MaxAttempts int    `json:"max_attempts,omitempty"`
	Encoding    string `json:"encoding,omitempty"`
	Kind        string `json:"kind,omitempty"`
	Reference   string `json:"reference,omitempty"`
	Payload     []byte `json:"payload,omitempty"`
}

// Page says which items of a partition a list is to have: those from the pivot on, at most so many.
type Page struct {
	// Pivot is the least id wanted, which need not exist; empty is the first.
	Pivot string
	// Limit is the greatest number of items; 0 is 1000.
	Limit int
}

// ListItems returns ready and leased items of a partition in the order of their ids.
func (c *Client) ListItems(ctx context.Context, queue string, partition int, p Page) ([]StoredItem, error) {
	return c.listItems(ctx, "/v1/storage/items.list", queue, partition, p)
}

// ListScheduled returns the scheduled items of a partition in the order of their ids.
func (c *Client) ListScheduled(ctx context.Context, queue string, partition int, p Page) ([]StoredItem, error) {
	return c.listItems(ctx, "/v1/storage/scheduled.list", queue, partition, p)
}

func (c *Client) listItems(ctx context.Context, path, queue string, partition int, p Page) ([]StoredItem, error) {
	var resp pb.StorageItemsListResponse
	err := c.call(ctx, path, &pb.StorageItemsListRequest{
		QueueName: queue, Partition: int32(clampInt(partition)), Pivot: p.Pivot, Limit: int32(clampInt(p.Limit)),
	}, &resp)
	return itemsFromWire(resp.Items), err
}

// ImportItems adds items to a partition as they are, with their leases, deadlines and attempts, all or none. It
// returns them as they are stored: the agent gives new ids and creation times. An item whose source id is stored
// already is skipped and returned as it was given. An item without an expire deadline counts as expired.
func (c *Client) ImportItems(ctx context.Context, queue string, partition int, items []StoredItem) ([]StoredItem, error) {
	req := &pb.StorageItemsImportRequest{QueueName: queue, Partition: int32(clampInt(partition))}
	for i := range items {
		it := &items[i]
		req.Items = append(req.Items, &pb.StorageItem{
			Id: it.ID, SourceId: it.SourceID, IsLeased: it.IsLeased,
			// One that is left out would be stored as 1970; the zero time is stored as none.
			LeaseDeadline: timestamppb.New(it.LeaseDeadline), ExpireDeadline: toTimestamp(it.ExpireDeadline),
			CreatedAt: toTimestamp(it.CreatedAt), EnqueueAt: toTimestamp(it.EnqueueAt),
			Attempts: int32(clampInt(it.Attempts)), MaxAttempts: int32(clampInt(it.MaxAttempts)),
			Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference, Payload: it.Payload,
		})
	}
	var resp pb.StorageItemsImportResponse
	err := c.call(ctx, "/v1/storage/items.import", req, &resp)
	return itemsFromWire(resp.Items), err
}

// DeleteItems removes items of a partition, leased or not. Ids that name no item are ignored.
func (c *Client) DeleteItems(ctx context.Context, queue string, partition int, ids ...string) error {
	return c.call(ctx, "/v1/storage/items.delete", &pb.StorageItemsDeleteRequest{
		QueueName: queue, Partition: int32(clampInt(partition)), Ids: ids,
	}, nil)
}

func itemsFromWire(wire []*pb.StorageItem) []StoredItem {
	items := make([]StoredItem, len(wire))
	for i, w := range wire {
		items[i] = StoredItem{
			ID: w.Id, SourceID: w.SourceId, IsLeased: w.IsLeased,
			LeaseDeadline: fromTimestamp(w.LeaseDeadline), ExpireDeadline: fromTimestamp(w.ExpireDeadline),
			CreatedAt: fromTimestamp(w.CreatedAt), EnqueueAt: fromTimestamp(w.EnqueueAt),
			Attempts: int(w.Attempts), MaxAttempts: int(w.MaxAttempts),
			Encoding: w.Encoding, Kind: w.Kind, Reference: w.Reference, Payload: w.Payload,
		}
	}
	return items
}
