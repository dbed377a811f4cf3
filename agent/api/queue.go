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
	count, most := countItems(f, body), c.h.service.Limits().MaxProduceBatch
	if err := c.awaitItems(int64(min(count, most)), int64(len(body))); err != nil {
		return err
	}
	req, err := decodeProduce(f, body, count, most)
	if err != nil {
		return err
	}
	if err := c.may(req.queue); err != nil {
		return err
	}
	q, err := c.h.service.Queue(req.queue)
	if err != nil {
		return err
	}
	timeout, err := parseRequestTimeout(req.timeout)
	if err != nil {
		return err
	}
	err = q.Produce(c.r.Context(), &queue.ProduceRequest{
		RequestTimeout: timeout, Items: req.items, More: req.more, Released: c.lend(),
	})
	if err != nil {
		return err
	}
	return c.ok()
}

func queueLease(c *call, f format, body []byte) error {
	var req pb.QueueLeaseRequest
	if err := decode(f, body, &req); err != nil {
		return err
	}
	c.release() // The wait may be long, and the body is done with.
	if err := c.may(req.QueueName); err != nil {
		return err
	}
	if err := c.h.guard.StartLease(c.peer); err != nil {
		return err
	}
	defer c.h.guard.EndLease(c.peer)
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	timeout, err := parseRequestTimeout(req.RequestTimeout)
	if err != nil {
		return err
	}
	lease, err := parseLeaseTimeout(req.LeaseTimeout)
	if err != nil {
		return err
	}
	holder, err := c.leaseHolder(q, req.ReleaseOnExit)
	if err != nil {
		return err
	}
	res, err := q.Lease(c.r.Context(), &queue.LeaseRequest{
		ClientID:       req.ClientId,
		BatchSize:      int(req.BatchSize),
		RequestTimeout: timeout,
		LeaseTimeout:   lease,
		Holder:         holder.name(),
	})
	holder.check(c.h.service)
	if err != nil {
		return err
	}
	defer res.Release()
	out, err := c.replyFormat()
	if err != nil {
		return err
	}
	reply := encodeLease(out, req.QueueName, res)
	c.h.budget.spend(int64(reply.size())) // Somebody has read them.
	res.Items = nil                       // They may hold more than themselves, and the client may take its time.
	c.writeGathered(reply)
	return nil
}

func queueComplete(c *call, f format, body []byte) error {
	if err := c.awaitIDs(f, body); err != nil {
		return err
	}
	req, err := decodeComplete(f, body)
	if err != nil {
		return err
	}
	if err := c.may(req.queue); err != nil {
		return err
	}
	q, err := c.h.service.Queue(req.queue)
	if err != nil {
		return err
	}
	if err := q.CheckPartition(req.partition); err != nil {
		return err
	}
	timeout, err := parseRequestTimeout(req.timeout)
	if err != nil {
		return err
	}
	err = q.Complete(c.r.Context(), &queue.CompleteRequest{
		Partition:      req.partition,
		RequestTimeout: timeout,
		IDs:            req.ids,
	})
	if err != nil {
		return err
	}
	return c.ok()
}

func queueRetry(c *call, req *pb.QueueRetryRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	items := make([]queue.RetryItem, len(req.Items))
	for i, it := range req.Items {
		items[i] = queue.RetryItem{ID: it.Id, RetryAt: timeOf(it.RetryAt), Dead: it.Dead}
	}
	if err := q.Retry(c.r.Context(), &queue.RetryRequest{Partition: int(req.Partition), Items: items}); err != nil {
		return err
	}
	return c.ok()
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
