package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// ProduceItem is an item to be produced.
type ProduceItem struct {
	Payload []byte
	// Encoding, Kind and Reference are the producer's own labels; the agent keeps them and does not read them.
	Encoding  string
	Kind      string
	Reference string
	// SourceID, if not empty, makes the produce harmless to repeat: the item is skipped if one with the same
	// SourceID is stored in the partition.
	SourceID string
	// EnqueueAt is when the item may be leased; zero or past is at once.
	EnqueueAt time.Time
}

// Item is an item under a lease.
type Item struct {
	Queue     string
	Partition int
	// ID names the lease: a later lease of the same item has another.
	ID string
	// Attempts is the number of leases that the item has been given, with this one.
	Attempts int
	// LeaseDeadline is when the lease ends unless it is extended, by the agent's wall clock.
	LeaseDeadline time.Time
	Encoding      string
	Kind          string
	Reference     string
	// SourceID is as produced. An item that came to a dead queue by itself has the id of its last lease here.
	SourceID string
	// Payload lies in the memory of the whole answer to the lease; a program that keeps it for long copies it.
	Payload []byte
}

// LeaseOptions says what a lease request asks for.
type LeaseOptions struct {
	// BatchSize is the greatest number of items wanted; 0 is 1. The agent's limit is 1000 by default.
	BatchSize int
	// Wait is how long to wait for the first item: more than 10 ms, at most 15 min; 0 is 30 s.
	Wait time.Duration
	// LeaseTimeout replaces the queue's; 0 is the queue's.
	LeaseTimeout time.Duration
	// ReleaseOnExit says whether the leases end when this process ends; nil: as the queue says.
	ReleaseOnExit *bool
	// ClientID is unique among the requests that wait on the queue. Empty: a random one.
	ClientID string
}

// RetryItem is a leased item that is given back.
type RetryItem struct {
	ID string
	// At is when the item may be leased again; zero or past is at once.
	At time.Time
	// Dead sends the item to the dead queue, or removes it if the queue has none.
	Dead bool
}

// maxStreamedLease is the batch size up to which a lease is made on a stream.
const maxStreamedLease = 16

const defaultWait = 30 * time.Second

// Produce adds the items to one partition of the queue, in their order. They are on flash when it returns nil.
func (c *Client) Produce(ctx context.Context, queue string, items ...ProduceItem) error {
	_, err := c.post(ctx, "/v1/queue.produce", produceBody(queue, requestTimeout(ctx), items))
	return err
}

// Lease returns at least one item, all of one partition and in order, or an error of kind ErrEmpty when none
// became ready in time. A lease whose answer is lost, for example because the context ended, holds its items
// until its timeout.
func (c *Client) Lease(ctx context.Context, queue string, o LeaseOptions) ([]Item, error) {
	req := &pb.QueueLeaseRequest{
		QueueName:      queue,
		BatchSize:      int32(clampInt(max(o.BatchSize, 1))),
		ClientId:       o.ClientID,
		RequestTimeout: defaultWait.String(),
	}
	if req.ClientId == "" {
		req.ClientId = "client-" + rand.Text()
	}
	if o.Wait != 0 {
		req.RequestTimeout = o.Wait.String()
	}
	if o.LeaseTimeout != 0 {
		req.LeaseTimeout = o.LeaseTimeout.String()
	}
	req.ReleaseOnExit = o.ReleaseOnExit
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, &Error{kind: ErrInvalid, cause: err, Message: err.Error()}
	}
	kind := frame.Lease
	if o.BatchSize > maxStreamedLease {
		kind = 0 // The answer may be large, and keep those of others waiting.
	}
	reply, err := c.postAs(ctx, "/v1/queue.lease", kind, body)
	if err != nil {
		return nil, err
	}
	items, err := leaseItems(queue, reply)
	if err != nil || len(items) == 0 {
		return nil, &Error{kind: ErrInternal, cause: err, Message: fmt.Sprintf("the reply to a lease cannot be read: %v", err)}
	}
	return items, nil
}

// Complete marks leased items of one partition as done, all or none. An error of kind ErrLeaseLost says that one
// of them is not leased under that id.
func (c *Client) Complete(ctx context.Context, queue string, partition int, ids ...string) error {
	_, err := c.post(ctx, "/v1/queue.complete", completeBody(queue, partition, requestTimeout(ctx), ids))
	return err
}

// Retry gives leased items of one partition back, all or none.
func (c *Client) Retry(ctx context.Context, queue string, partition int, items ...RetryItem) error {
	req := &pb.QueueRetryRequest{QueueName: queue, Partition: int32(clampInt(partition))}
	for _, it := range items {
		req.Items = append(req.Items, &pb.QueueRetryItem{Id: it.ID, RetryAt: toTimestamp(it.At), Dead: it.Dead})
	}
	return c.call(ctx, "/v1/queue.retry", req, nil)
}

// Extend moves the lease deadline of leased items of one partition to a lease timeout from now, all or none, and
// returns it. A lease timeout of 0 is the queue's.
func (c *Client) Extend(ctx context.Context, queue string, partition int, leaseTimeout time.Duration, ids ...string) (time.Time, error) {
	return c.extend(ctx, queue, partition, leaseTimeout, false, ids)
}

// Hold is Extend, and makes the leases end when this process ends. It does so for leases of another process too, and
// for those that the agent has stopped watching since it was started again.
func (c *Client) Hold(ctx context.Context, queue string, partition int, leaseTimeout time.Duration, ids ...string) (time.Time, error) {
	return c.extend(ctx, queue, partition, leaseTimeout, true, ids)
}

func (c *Client) extend(ctx context.Context, queue string, partition int, leaseTimeout time.Duration, hold bool, ids []string) (time.Time, error) {
	req := &pb.QueueExtendRequest{
		QueueName: queue, Partition: int32(clampInt(partition)), RequestTimeout: requestTimeout(ctx), Ids: ids,
		ReleaseOnExit: hold,
	}
	if leaseTimeout != 0 {
		req.LeaseTimeout = leaseTimeout.String()
	}
	var resp pb.QueueExtendResponse
	err := c.call(ctx, "/v1/queue.extend", req, &resp)
	return fromTimestamp(resp.LeaseDeadline), err
}

// toTimestamp returns nil for the zero time, which the API takes for "not given".
func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTimestamp(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}

// clampInt keeps n within what the wire can carry, so that a number far out of bounds stays out of bounds.
func clampInt(n int) int { return min(max(n, -1<<31), 1<<31-1) }
