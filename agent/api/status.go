package api

import (
	"context"
	"fmt"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

func agentStatus(c *call, _ *pb.AgentStatusRequest) error {
	s := &pb.AgentStatusResponse{Version: c.h.version}
	c.h.status(c.r.Context(), s)
	if s.Memory == nil {
		s.Memory = &pb.MemoryStatus{}
	}
	s.Memory.InFlightBytes = c.h.budget.InFlight()
	s.Memory.InFlightLimitBytes = c.h.budget.Limit()
	s.Access = accessStatus(c.h.guard)

	var sum queue.Ledger
	found := c.h.problems(c.r.Context())
	err := c.h.eachQueue(c.r.Context(), func(info *queue.Info) error {
		if !c.shows(info.Name) {
			return nil
		}
		s.Queues = append(s.Queues, c.h.queueStatus(c.r.Context(), info, &sum))
		return c.r.Context().Err()
	})
	if err != nil {
		return err
	}
	s.Ledger = ledgerMessage(&sum)
	s.Problems = problemMessages(append(partitionProblems(s.Queues), found...))
	return c.reply(s)
}

func accessStatus(g *access.Guard) *pb.AccessStatus {
	return &pb.AccessStatus{
		Rules:          int32Of(int64(g.Rules().Len())),
		RefusedProduce: g.Refusals(access.Produce), RefusedConsume: g.Refusals(access.Consume),
		RefusedRead: g.Refusals(access.Read), RefusedAdmin: g.Refusals(access.Admin),
	}
}

// partitionProblems returns what the figures of the queues say.
func partitionProblems(queues []*pb.QueueStatus) []Problem {
	var found []Problem
	for _, q := range queues {
		name := q.Info.GetQueueName()
		if q.Failure != "" {
			found = append(found, Problem{Failing: true, About: fmt.Sprintf("queue '%s'", name), Text: q.Failure})
		}
		for _, p := range q.Partitions {
			if p.Failure != "" {
				found = append(found, Problem{Failing: true, About: fmt.Sprintf("queue '%s' partition %d", name, p.Partition), Text: p.Failure})
			}
		}
	}
	return found
}

func problemMessages(list []Problem) []*pb.Problem {
	var out []*pb.Problem
	for i := range list {
		p := &list[i]
		out = append(out, &pb.Problem{Failing: p.Failing, About: p.About, Text: p.Text, Hint: p.Hint})
	}
	return out
}

// eachQueue calls f for every queue, in the order of their names, until f
// returns an error.
func (h *Handler) eachQueue(ctx context.Context, f func(info *queue.Info) error) error {
	for pivot := ""; ; {
		infos, err := h.service.List(ctx, pivot, maxQueuesList)
		if err != nil {
			return err
		}
		for i := range infos {
			if err := f(&infos[i]); err != nil {
				return err
			}
		}
		if len(infos) < maxQueuesList {
			return nil
		}
		pivot = infos[len(infos)-1].Name + "\x00" // No name lies between the two.
	}
}

// queueStatus tells of one queue and adds its ledger to sum. A queue that gives
// no figures says why, and does not hide the others.
func (h *Handler) queueStatus(ctx context.Context, info *queue.Info, sum *queue.Ledger) *pb.QueueStatus {
	out := &pb.QueueStatus{Info: infoMessage(info)}
	q, err := h.service.Queue(info.Name)
	if err != nil {
		out.Failure = textOf(err)
		return out
	}
	out.Paused = q.Paused()
	s, err := q.Stats(ctx)
	if err != nil {
		out.Failure = textOf(err)
		return out
	}
	out.LeaseWaiting = int32Of(int64(s.LeaseWaiting))
	out.InFlight = int32Of(int64(s.InFlight))
	for i := range s.Partitions {
		sum.Add(&s.Partitions[i].Ledger)
		out.Partitions = append(out.Partitions, partitionMessage(&s.Partitions[i]))
	}
	return out
}

func partitionMessage(p *queue.PartitionStats) *pb.PartitionStatus {
	m := &pb.PartitionStatus{
		Partition:        int32(p.Partition),
		Ready:            p.Ready,
		Leased:           p.Leased,
		Scheduled:        p.Scheduled,
		HeldForClock:     p.HeldForClock,
		Moving:           p.Moving,
		Bytes:            p.Bytes,
		AverageAge:       p.AverageAge.String(),
		AverageLeaseLeft: p.AverageLeaseLeft.String(),
		Ledger:           ledgerMessage(&p.Ledger),
		Usage: &pb.Usage{
			DiskBytes:    p.Usage.DiskBytes,
			WrittenBytes: p.Usage.Written,
			Syncs:        p.Usage.Syncs,
			Segments:     int32Of(int64(p.Usage.Segments)),
			OpenSegments: int32Of(int64(p.Usage.Open)),
			PayloadBytes: p.Payload,
		},
	}
	if p.Failure != nil {
		// The status is for the device's owner, who needs the cause.
		m.Failure = p.Failure.Error()
	}
	return m
}

func ledgerMessage(l *queue.Ledger) *pb.Ledger {
	return &pb.Ledger{
		Produced:    l.Produced,
		Imported:    l.Imported,
		MovedIn:     l.MovedIn,
		Completed:   l.Completed,
		Dead:        l.Dead,
		Expired:     l.Expired,
		Cleared:     l.Cleared,
		Deleted:     l.Deleted,
		Dropped:     l.Dropped,
		Quarantined: l.Quarantined,
		MovedOut:    l.MovedOut,
		Leases:      l.Leases,
		Retries:     l.Retries,
		Lapsed:      l.Lapsed,
	}
}
