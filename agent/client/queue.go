package client

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// QueueInfo is what a queue is.
type QueueInfo struct {
	Name string `json:"queue_name"`
	// LeaseTimeout is how long a lease lasts unless it is extended; at most ExpireTimeout.
	LeaseTimeout time.Duration `json:"lease_timeout"`
	// ExpireTimeout is how long after its produce an item is kept.
	ExpireTimeout time.Duration `json:"expire_timeout"`
	// MaxAttempts is the number of leases after which an item is dead, at most 65536; 0 is no limit.
	MaxAttempts int `json:"max_attempts"`
	// DeadQueue takes the items that are out of attempts or expired; empty: they are dropped.
	DeadQueue string `json:"dead_queue"`
	// Reference is the user's own note, at most 2000 bytes.
	Reference string `json:"reference"`
	// Partitions is the number of partitions that was asked for.
	Partitions int `json:"requested_partitions"`
	// MaxItems and MaxBytes bound what the queue holds, all partitions together: items that are ready, leased or
	// scheduled, and the bytes of their payloads and labels with 64 more for each item. 0 is no limit.
	MaxItems int64 `json:"max_items"`
	MaxBytes int64 `json:"max_bytes"`
	// FullPolicy says what becomes of a produce beyond them; empty is FullReject.
	FullPolicy string `json:"full_policy"`
	// ReleaseOnExit makes leases end when the process that leased ends, unless a lease says otherwise.
	ReleaseOnExit bool `json:"release_on_exit"`
	// CreatedAt and UpdatedAt are the agent's to set.
	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// The values of QueueInfo.FullPolicy.
const (
	FullReject     = "reject"      // The produce fails with ErrFull.
	FullDropOldest = "drop-oldest" // The oldest ready items are dropped until there is room.
)

// MarshalJSON writes durations as strings, as 1m0s.
func (q QueueInfo) MarshalJSON() ([]byte, error) {
	type plain QueueInfo
	return json.Marshal(struct {
		plain
		LeaseTimeout  string `json:"lease_timeout"`
		ExpireTimeout string `json:"expire_timeout"`
	}{plain(q), q.LeaseTimeout.String(), q.ExpireTimeout.String()})
}

// ClearOptions says which items of a queue are removed. One of Ready and Scheduled is required.
type ClearOptions struct {
	Ready     bool
	Scheduled bool
	// Destructive removes leased and scheduled items with the ready ones.
	Destructive bool
}

// Stats are the figures of a queue at one moment.
type Stats struct {
	Queue string `json:"queue_name"`
	// LeaseWaiting is the number of lease requests that wait for items, InFlight of all that are not answered.
	LeaseWaiting int              `json:"lease_waiting"`
	InFlight     int              `json:"in_flight"`
	Partitions   []PartitionStats `json:"partitions"`
}

// PartitionStats are the figures of one partition.
type PartitionStats struct {
	Partition int `json:"partition"`
	// Total counts ready and leased items.
	Total     int `json:"total"`
	Leased    int `json:"total_leased"`
	Scheduled int `json:"scheduled"`
	Failures  int `json:"failures"`
	// AverageAge is over ready and leased items; AverageLeaseLeft is the time until the lease deadlines.
	AverageAge       time.Duration `json:"average_age"`
	AverageLeaseLeft time.Duration `json:"average_lease_left"`
}

// MarshalJSON writes durations as strings, as 1m0s.
func (p PartitionStats) MarshalJSON() ([]byte, error) {
	type plain PartitionStats
	return json.Marshal(struct {
		plain
		AverageAge       string `json:"average_age"`
		AverageLeaseLeft string `json:"average_lease_left"`
	}{plain(p), p.AverageAge.String(), p.AverageLeaseLeft.String()})
}

// CreateQueue creates a queue. LeaseTimeout, ExpireTimeout and Partitions are required.
func (c *Client) CreateQueue(ctx context.Context, q QueueInfo) error {
	return c.call(ctx, "/v1/queues.create", queueToWire(q), nil)
}

// UpdateQueue changes a queue's options. LeaseTimeout, ExpireTimeout and Partitions are kept where they are 0;
// MaxAttempts, DeadQueue, Reference, MaxItems, MaxBytes, FullPolicy and ReleaseOnExit are always replaced.
func (c *Client) UpdateQueue(ctx context.Context, q QueueInfo) error {
	return c.call(ctx, "/v1/queues.update", queueToWire(q), nil)
}

// QueueInfo returns what the queue is.
func (c *Client) QueueInfo(ctx context.Context, queue string) (QueueInfo, error) {
	var resp pb.QueueInfo
	err := c.call(ctx, "/v1/queues.info", &pb.QueuesInfoRequest{QueueName: queue}, &resp)
	return queueFromWire(&resp), err
}

// ListQueues returns queues in byte order of their names, from the pivot on, which need not exist. A limit of 0
// is 1000; the most is 65536.
func (c *Client) ListQueues(ctx context.Context, pivot string, limit int) ([]QueueInfo, error) {
	var resp pb.QueuesListResponse
	req := &pb.QueuesListRequest{Pivot: pivot, Limit: int32(clampInt(limit))}
	if err := c.call(ctx, "/v1/queues.list", req, &resp); err != nil {
		return nil, err
	}
	list := make([]QueueInfo, len(resp.Items))
	for i, w := range resp.Items {
		list[i] = queueFromWire(w)
	}
	return list, nil
}

// DeleteQueue removes a queue with all its items.
func (c *Client) DeleteQueue(ctx context.Context, queue string) error {
	return c.call(ctx, "/v1/queues.delete", &pb.QueuesDeleteRequest{QueueName: queue, Force: true}, nil)
}

// ClearQueue removes items of a queue from all its partitions.
func (c *Client) ClearQueue(ctx context.Context, queue string, o ClearOptions) error {
	return c.call(ctx, "/v1/queue.clear", &pb.QueueClearRequest{
		QueueName: queue, Queue: o.Ready, Scheduled: o.Scheduled, Destructive: o.Destructive,
	}, nil)
}

// Stats returns the figures of a queue.
func (c *Client) Stats(ctx context.Context, queue string) (*Stats, error) {
	var resp pb.QueueStatsResponse
	if err := c.call(ctx, "/v1/queue.stats", &pb.QueueStatsRequest{QueueName: queue}, &resp); err != nil {
		return nil, err
	}
	s := &Stats{Queue: queue}
	for _, logical := range resp.LogicalQueues {
		s.LeaseWaiting += int(logical.LeaseWaiting)
		s.InFlight += int(logical.InFlight)
		for _, p := range logical.Partitions {
			s.Partitions = append(s.Partitions, PartitionStats{
				Partition: int(p.Partition), Total: int(p.Total), Leased: int(p.TotalLeased),
				Scheduled: int(p.Scheduled), Failures: int(p.Failures),
				AverageAge: parseDuration(p.AverageAge), AverageLeaseLeft: parseDuration(p.AverageLeasedAge),
			})
		}
	}
	return s, nil
}

// ReloadQueue asks the agent to check that the queue's partitions answer.
func (c *Client) ReloadQueue(ctx context.Context, queue string) error {
	return c.call(ctx, "/v1/queue.reload", &pb.QueueReloadRequest{QueueName: queue}, nil)
}

// PauseQueue makes leases of the queue wait until ResumeQueue; it holds across restarts.
func (c *Client) PauseQueue(ctx context.Context, queue string) error {
	return c.call(ctx, "/v1/queue.pause", &pb.QueuePauseRequest{QueueName: queue}, nil)
}

// ResumeQueue ends PauseQueue.
func (c *Client) ResumeQueue(ctx context.Context, queue string) error {
	return c.call(ctx, "/v1/queue.resume", &pb.QueueResumeRequest{QueueName: queue}, nil)
}

// Redrive moves ready items of the queue from, usually a dead queue, to the queue to, oldest first and with
// attempts at 0, and returns how many. A limit of 0 is all that are ready.
func (c *Client) Redrive(ctx context.Context, from, to string, limit int) (int, error) {
	var resp pb.QueueRedriveResponse
	err := c.call(ctx, "/v1/queue.redrive", &pb.QueueRedriveRequest{
		QueueName: from, TargetQueue: to, Limit: int32(clampInt(limit)), RequestTimeout: requestTimeout(ctx),
	}, &resp)
	return int(resp.Moved), err
}

func queueToWire(q QueueInfo) *pb.QueueInfo {
	w := &pb.QueueInfo{
		QueueName: q.Name, DeadQueue: q.DeadQueue, Reference: q.Reference,
		MaxAttempts: int32(clampInt(q.MaxAttempts)), RequestedPartitions: int32(clampInt(q.Partitions)),
		MaxItems: q.MaxItems, MaxBytes: q.MaxBytes, FullPolicy: q.FullPolicy,
		ReleaseOnExit: q.ReleaseOnExit,
	}
	if q.LeaseTimeout != 0 {
		w.LeaseTimeout = q.LeaseTimeout.String()
	}
	if q.ExpireTimeout != 0 {
		w.ExpireTimeout = q.ExpireTimeout.String()
	}
	return w
}

func queueFromWire(w *pb.QueueInfo) QueueInfo {
	return QueueInfo{
		Name: w.QueueName, DeadQueue: w.DeadQueue, Reference: w.Reference,
		LeaseTimeout: parseDuration(w.LeaseTimeout), ExpireTimeout: parseDuration(w.ExpireTimeout),
		MaxAttempts: int(w.MaxAttempts), Partitions: int(w.RequestedPartitions),
		MaxItems: w.MaxItems, MaxBytes: w.MaxBytes, FullPolicy: cmp.Or(w.FullPolicy, FullReject),
		ReleaseOnExit: w.ReleaseOnExit,
		CreatedAt:     fromTimestamp(w.CreatedAt), UpdatedAt: fromTimestamp(w.UpdatedAt),
	}
}

// parseDuration reads a duration that the agent wrote; what it cannot read is 0.
func parseDuration(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}
