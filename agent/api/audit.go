package api

import (
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// agentAudit counts the items of a queue, or of all, against their ledgers.
func agentAudit(c *call, req *pb.AgentAuditRequest) error {
	out := &pb.AgentAuditResponse{}
	audit := func(q *queue.Queue) {
		for _, a := range q.Audit(c.r.Context()) {
			out.Partitions = append(out.Partitions, auditMessage(&a))
		}
	}
	if req.QueueName != "" {
		q, err := c.h.service.Queue(req.QueueName)
		if err != nil {
			return err
		}
		audit(q)
		return c.reply(out)
	}
	err := c.h.eachQueue(c.r.Context(), func(info *queue.Info) error {
		if !c.shows(info.Name) {
			return nil
		}
		if q, err := c.h.service.Queue(info.Name); err == nil { // Else it has been deleted meanwhile.
			audit(q)
		}
		return c.r.Context().Err()
	})
	if err != nil {
		return err
	}
	return c.reply(out)
}

func auditMessage(a *queue.Audit) *pb.PartitionAudit {
	m := &pb.PartitionAudit{
		QueueName:   a.Queue,
		Partition:   int32(a.Partition),
		Ready:       a.Ready,
		Leased:      a.Leased,
		Scheduled:   a.Scheduled,
		Moving:      a.Moving,
		Bytes:       a.Bytes,
		Ledger:      ledgerMessage(&a.Ledger),
		Differences: a.Differences,
	}
	if a.Failure != nil {
		// As in the status: the device's owner needs the cause.
		m.Failure = a.Failure.Error()
	}
	return m
}
