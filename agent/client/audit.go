package client

import (
	"context"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// PartitionAudit is what was found in a partition when its items were counted.
type PartitionAudit struct {
	Queue     string `json:"queue_name"`
	Partition int    `json:"partition"`
	// Ready, Leased, Scheduled and Moving are the items that were found; Bytes are those of their payloads and
	// labels, and 64 more for each.
	Ready     int64  `json:"ready"`
	Leased    int64  `json:"leased"`
	Scheduled int64  `json:"scheduled"`
	Moving    int64  `json:"moving"`
	Bytes     int64  `json:"bytes"`
	Ledger    Ledger `json:"ledger"`
	// Differences say in words what does not agree with the totals and the ledger.
	Differences []string `json:"differences,omitempty"`
	// Failure is why the partition could not be audited.
	Failure string `json:"failure,omitempty"`
}

// OK reports whether the partition could be audited and everything agrees.
func (a *PartitionAudit) OK() bool { return len(a.Differences) == 0 && a.Failure == "" }

// Audit has the agent count all items of the queue, or of all queues if it is empty, and compare them with what it
// keeps about them. A partition serves nobody while it is counted, for about a second for a million items.
func (c *Client) Audit(ctx context.Context, queue string) ([]PartitionAudit, error) {
	var resp pb.AgentAuditResponse
	if err := c.call(ctx, "/v1/agent.audit", &pb.AgentAuditRequest{QueueName: queue}, &resp); err != nil {
		return nil, err
	}
	list := make([]PartitionAudit, len(resp.Partitions))
	for i, p := range resp.Partitions {
		list[i] = PartitionAudit{
			Queue: p.QueueName, Partition: int(p.Partition), Ready: p.Ready, Leased: p.Leased, Scheduled: p.Scheduled,
			Moving: p.Moving, Bytes: p.Bytes, Ledger: ledgerFromWire(p.Ledger), Differences: p.Differences, Failure: p.Failure,
		}
	}
	return list, nil
}
