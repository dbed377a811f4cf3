package api_test

import (
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// stats returns the figures of a queue's partitions, added up.
func (w *world) stats(name string) *pb.QueuePartitionStats {
	w.t.Helper()
	var reply pb.QueueStatsResponse
	w.must("/v1/queue.stats", &pb.QueueStatsRequest{QueueName: name}, &reply)
	if len(reply.LogicalQueues) != 1 {
		w.t.Fatalf("%d logical queues", len(reply.LogicalQueues))
	}
	sum := &pb.QueuePartitionStats{}
	for _, p := range reply.LogicalQueues[0].Partitions {
		sum.Total += p.Total
		sum.TotalLeased += p.TotalLeased
		sum.Scheduled += p.Scheduled
	}
	return sum
}

// items returns the ready and leased items of partition 0.
func (w *world) items(name string) []*pb.StorageItem {
	w.t.Helper()
	var reply pb.StorageItemsListResponse
	w.must("/v1/storage/items.list", &pb.StorageItemsListRequest{QueueName: name, Limit: 10_000}, &reply)
	return reply.Items
}
