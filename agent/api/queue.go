package api

import (
	"math"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// The calls on one queue. Each looks the queue up before it looks at anything
// else of the request.

func queueProduce(c *call, f format, body []byte) error {
	q, req, err := c.produceRequest(f, body)
	if err != nil {
		return err
	}
	if err := q.Produce(c.r.Context(), req); err != nil {
		return err
	}
	return c.ok()
}

// produceRequest parses a request. Its items hold what the call has reserved until then.
func (c *call) produceRequest(f format, body []byte) (*queue.Queue, *queue.ProduceRequest, error) {
	count, most := countItems(f, body), c.h.service.Limits().MaxProduceBatch
	if err := c.awaitItems(int64(min(count, most)), int64(len(body))); err != nil {
		return nil, nil, err
	}
	req, err := decodeProduce(f, body, count, most, &c.h.items)
	if err != nil {
		return nil, nil, err
	}
	q, err := c.find(req.queue)
	if err != nil {
		return nil, nil, err
	}
	timeout, err := parseRequestTimeout(req.timeout)
	if err != nil {
		return nil, nil, err
	}
	return q, &queue.ProduceRequest{
		RequestTimeout: timeout, Items: req.items, More: req.more, Released: c.lend(req.items),
	}, nil
}

// find returns a queue, if the caller may do to it what the call does.
func (c *call) find(name string) (*queue.Queue, error) {
	if err := c.may(name); err != nil {
		return nil, err
	}
	return c.h.service.Queue(name)
}

func queueLease(c *call, f format, body []byte) error {
	l, err := c.leaseRequest(f, body)
	if err != nil {
		return err
	}
	defer c.h.guard.EndLease(c.peer)
	c.release() // The wait may be long, and the body is done with.
	res, err := l.q.Lease(c.r.Context(), &l.req)
	l.holder.check(c.h.service)
	if err != nil {
		return err
	}
	defer res.Release()
	out, err := c.replyFormat()
	if err != nil {
		return err
	}
	reply := encodeLease(out, l.queue, res, &c.h.replies)
	c.h.budget.spend(int64(reply.size())) // Somebody has read them.
	res.Items = nil                       // They may hold more than themselves, and the client may take its time.
	c.writeGathered(reply)
	c.h.replies.give(reply.b)
	return nil
}

// leaseCall is a parsed queue.lease.
type leaseCall struct {
	queue  string
	q      *queue.Queue
	req    queue.LeaseRequest
	holder holder
}

// leaseRequest parses a request. Unless there is an error, access.Guard.EndLease has to
// follow.
func (c *call) leaseRequest(f format, body []byte) (*leaseCall, error) {
	var req pb.QueueLeaseRequest
	if err := decode(f, body, &req); err != nil {
		return nil, err
	}
	if err := c.may(req.QueueName); err != nil {
		return nil, err
	}
	if err := c.h.guard.StartLease(c.peer); err != nil {
		return nil, err
	}
	l, err := c.leaseOf(&req)
	if err != nil {
		c.h.guard.EndLease(c.peer)
	}
	return l, err
}

func (c *call) leaseOf(req *pb.QueueLeaseRequest) (*leaseCall, error) {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return nil, err
	}
	timeout, err := parseRequestTimeout(req.RequestTimeout)
	if err != nil {
		return nil, err
	}
	lease, err := parseLeaseTimeout(req.LeaseTimeout)
	if err != nil {
		return nil, err
	}
	holder, err := c.leaseHolder(q, req.ReleaseOnExit)
	if err != nil {
		return nil, err
	}
	return &leaseCall{queue: req.QueueName, q: q, holder: holder, req: queue.LeaseRequest{
		ClientID:       req.ClientId,
		BatchSize:      int(req.BatchSize),
		RequestTimeout: timeout,
		LeaseTimeout:   lease,
		Holder:         holder.name(),
	}}, nil
}

func queueComplete(c *call, f format, body []byte) error {
	q, req, err := c.completeRequest(f, body)
	if err != nil {
		return err
	}
	if err := q.Complete(c.r.Context(), req); err != nil {
		return err
	}
	return c.ok()
}

// completeRequest parses a request.
func (c *call) completeRequest(f format, body []byte) (*queue.Queue, *queue.CompleteRequest, error) {
	if err := c.awaitIDs(f, body); err != nil {
		return nil, nil, err
	}
	req, err := decodeComplete(f, body)
	if err != nil {
		return nil, nil, err
	}
	q, err := c.find(req.queue)
	if err != nil {
		return nil, nil, err
	}
	if err := q.CheckPartition(req.partition); err != nil {
		return nil, nil, err
	}
	timeout, err := parseRequestTimeout(req.timeout)
	if err != nil {
		return nil, nil, err
	}
	return q, &queue.CompleteRequest{Partition: req.partition, RequestTimeout: timeout, IDs: req.ids}, nil
}

func queueRetry(c *call, req *pb.QueueRetryRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	if err := q.Retry(c.r.Context(), retryOf(req)); err != nil {
		return err
	}
	return c.ok()
}

func retryOf(req *pb.QueueRetryRequest) *queue.RetryRequest {
	items := make([]queue.RetryItem, len(req.Items))
	for i, it := range req.Items {
		items[i] = queue.RetryItem{ID: it.Id, RetryAt: timeOf(it.RetryAt), Dead: it.Dead}
	}
	return &queue.RetryRequest{Partition: int(req.Partition), Items: items}
}

func queueExtend(c *call, req *pb.QueueExtendRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	if err := q.CheckPartition(int(req.Partition)); err != nil {
		return err
	}
	ctx, cancel, err := optionalTimeout(c.r.Context(), req.RequestTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	lease, err := parseLeaseTimeout(req.LeaseTimeout)
	if err != nil {
		return err
	}
	var holder holder
	if req.ReleaseOnExit {
		if holder, err = c.holder(); err != nil {
			return err
		}
	}
	deadline, err := q.Extend(ctx, &queue.ExtendRequest{
		Partition:    int(req.Partition),
		IDs:          req.Ids,
		LeaseTimeout: lease,
		Holder:       holder.name(),
	})
	holder.check(c.h.service)
	if err != nil {
		return err
	}
	return c.reply(&pb.QueueExtendResponse{LeaseDeadline: stamp(deadline)})
}

func queueStats(c *call, req *pb.QueueStatsRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	s, err := q.Stats(c.r.Context())
	if err != nil {
		return err
	}
	logical := &pb.QueueLogicalStats{
		LeaseWaiting: int32Of(int64(s.LeaseWaiting)),
		InFlight:     int32Of(int64(s.InFlight)),
		Partitions:   make([]*pb.QueuePartitionStats, len(s.Partitions)),
	}
	for i := range s.Partitions {
		p := &s.Partitions[i]
		logical.Partitions[i] = &pb.QueuePartitionStats{
			Partition:        int32(p.Partition),
			Total:            int32Of(p.Ready + p.Leased),
			TotalLeased:      int32Of(p.Leased),
			AverageAge:       p.AverageAge.String(),
			AverageLeasedAge: p.AverageLeaseLeft.String(),
			Scheduled:        int32Of(p.Scheduled),
		}
		if p.Failure != nil {
			logical.Partitions[i].Failures = 1
		}
	}
	return c.reply(&pb.QueueStatsResponse{QueueName: req.QueueName, LogicalQueues: []*pb.QueueLogicalStats{logical}})
}

// int32Of fits a count into the wire's type.
func int32Of(n int64) int32 {
	return int32(min(max(n, math.MinInt32), math.MaxInt32))
}

func queueClear(c *call, req *pb.QueueClearRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	err = q.Clear(c.r.Context(), &queue.ClearRequest{
		Ready:       req.Queue,
		Scheduled:   req.Scheduled,
		Destructive: req.Destructive,
	})
	if err != nil {
		return err
	}
	return c.ok()
}

func queueReload(c *call, req *pb.QueueReloadRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	if err := q.Reload(c.r.Context()); err != nil {
		return err
	}
	return c.ok()
}

func queuePause(c *call, req *pb.QueuePauseRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	if err := q.Pause(c.r.Context()); err != nil {
		return err
	}
	return c.ok()
}

func queueResume(c *call, req *pb.QueueResumeRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	if err := q.Resume(c.r.Context()); err != nil {
		return err
	}
	return c.ok()
}

func queueRedrive(c *call, req *pb.QueueRedriveRequest) error {
	if err := c.mayAlso(access.Produce, req.TargetQueue); err != nil {
		return err
	}
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	ctx, cancel, err := optionalTimeout(c.r.Context(), req.RequestTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	moved, err := q.Redrive(ctx, &queue.RedriveRequest{To: req.TargetQueue, Limit: int(req.Limit)})
	if err != nil {
		return err
	}
	return c.reply(&pb.QueueRedriveResponse{Moved: int32Of(int64(moved))})
}
