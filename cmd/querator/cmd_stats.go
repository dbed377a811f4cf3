package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats QUEUE...",
		Short: "Show the figures of queues by partition",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []*client.Stats
			for _, queue := range args {
				ctx, cancel := e.limited(cmd.Context())
				s, err := e.client().Stats(ctx, queue)
				cancel()
				if err != nil {
					return err
				}
				list = append(list, s)
			}
			return e.print(map[string]any{"queues": list}, anys(list), func(t *columns) {
				t.row("QUEUE", "PARTITION", "READY", "LEASED", "SCHEDULED", "AVERAGE AGE", "LEASES END IN", "WAITING")
				for _, s := range list {
					statsRows(t, s)
				}
			})
		},
	}
}

// statsRows adds a row for each partition, and one for their sum if there are several.
func statsRows(t *columns, s *client.Stats) {
	var sum client.PartitionStats
	var age, left time.Duration
	for _, p := range s.Partitions {
		waiting := any("")
		if len(s.Partitions) == 1 {
			waiting = s.LeaseWaiting
		}
		t.row(s.Queue, p.Partition, p.Total-p.Leased, p.Leased, p.Scheduled,
			durationText(p.AverageAge), durationText(p.AverageLeaseLeft), waiting)
		sum.Total += p.Total
		sum.Leased += p.Leased
		sum.Scheduled += p.Scheduled
		age += p.AverageAge * time.Duration(p.Total)
		left += p.AverageLeaseLeft * time.Duration(p.Leased)
	}
	if len(s.Partitions) > 1 {
		t.row(s.Queue, "all", sum.Total-sum.Leased, sum.Leased, sum.Scheduled,
			durationText(age/time.Duration(max(sum.Total, 1))), durationText(left/time.Duration(max(sum.Leased, 1))), s.LeaseWaiting)
	}
}
