package api_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.create("a", `"requested_partitions":2`)
	w.create("b")
	w.produce("a", "one", "two")
	w.produce("b", "x", "y", "z")
	w.lease("b", 1)
	w.must("/v1/queue.produce", &pb.QueueProduceRequest{QueueName: "b", RequestTimeout: "1m", Items: []*pb.QueueProduceItem{
		{Utf8: "later", EnqueueAt: timestamppb.New(w.clock.Now().AddDate(0, 0, 1))},
	}}, nil)
	var one, all pb.AgentAuditResponse
	w.must("/v1/agent.audit", &pb.AgentAuditRequest{QueueName: "b"}, &one)
	if len(one.Partitions) != 1 {
		t.Fatalf("of one queue: %v", &one)
	}
	p := one.Partitions[0]
	if p.QueueName != "b" || p.Ready != 2 || p.Leased != 1 || p.Scheduled != 1 || p.Bytes < 8 || p.Ledger.Produced != 4 ||
		p.Differences != nil || p.Failure != "" {
		t.Errorf("b is %v", p)
	}
	w.must("/v1/agent.audit", &pb.AgentAuditRequest{}, &all)
	if len(all.Partitions) != 3 || all.Partitions[0].QueueName != "a" || all.Partitions[1].Partition != 1 || all.Partitions[0].Ready != 2 {
		t.Errorf("of all: %v", &all)
	}
	w.post("/v1/agent.audit", `{"queue_name":"none"}`).refused(t, 400, "queue does not exist; no such queue named 'none'")
}
