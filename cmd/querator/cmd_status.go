package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the agent and all its queues on one screen",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			s, err := e.client().Status(ctx)
			if err != nil {
				return err
			}
			return e.print(s, nil, func(t *columns) { statusTable(t, s) })
		},
	}
}

func statusTable(t *columns, s *client.Status) {
	t.row("agent", fmt.Sprintf("version %s, process %d, up %s", s.Version, s.PID, durationText(s.Uptime)))
	t.row("listens on", dash(strings.Join(s.Listen, ", ")))
	t.row("configuration", dash(strings.Join(s.ConfigFiles, ", ")))
	t.row("memory", fmt.Sprintf("%s anonymous, limit %s; requests in flight %s of %s", bytesText(s.Memory.Anonymous),
		bytesText(s.Memory.Limit), bytesText(s.Memory.InFlight), bytesText(s.Memory.InFlightLimit)))
	t.row("connections", fmt.Sprintf("%d of %d", s.Connections, s.MaxConnections))
	t.row("clock", clockText(s.Clock))
	for _, st := range s.Storages {
		t.row("storage", storageText(st))
	}
	t.gap()
	if len(s.Queues) == 0 {
		t.row("no queues; create one with: querator queues create NAME")
		return
	}
	t.row("QUEUE", "STATE", "READY", "LEASED", "SCHEDULED", "FULL", "PRODUCED", "COMPLETED", "DEAD", "DISK", "WAITING")
	for _, q := range s.Queues {
		queueRow(t, q)
	}
	for _, q := range s.Queues {
		for _, p := range q.Partitions {
			if p.Failure != "" {
				t.row(fmt.Sprintf("queue '%s' partition %d: %s", q.Info.Name, p.Partition, p.Failure))
			}
		}
	}
}

func queueRow(t *columns, q client.QueueStatus) {
	var sum client.PartitionStatus
	state := "ok"
	if q.Paused {
		state = "paused"
	}
	for _, p := range q.Partitions {
		sum.Ready += p.Ready
		sum.Leased += p.Leased
		sum.Scheduled += p.Scheduled
		sum.HeldForClock += p.HeldForClock
		sum.Moving += p.Moving
		sum.Bytes += p.Bytes
		sum.Ledger.Produced += p.Ledger.Produced + p.Ledger.Imported + p.Ledger.MovedIn
		sum.Ledger.Completed += p.Ledger.Completed
		sum.Ledger.Dead += p.Ledger.Dead + p.Ledger.Expired
		sum.Usage.Disk += p.Usage.Disk
		if p.Failure != "" {
			state = "FAILING"
		}
	}
	if q.Failure != "" {
		state = q.Failure
	}
	scheduled := fmt.Sprint(sum.Scheduled)
	if sum.HeldForClock > 0 {
		scheduled += fmt.Sprintf(" (%d wait for the clock)", sum.HeldForClock)
	}
	t.row(q.Info.Name, state, sum.Ready, sum.Leased, scheduled, fullText(&q.Info, &sum), sum.Ledger.Produced, sum.Ledger.Completed,
		sum.Ledger.Dead, bytesText(sum.Usage.Disk), q.LeaseWaiting)
}

// fullText says how much of its quota a queue holds, by what is nearer to it: items or bytes.
func fullText(q *client.QueueInfo, held *client.PartitionStatus) string {
	if q.MaxItems == 0 && q.MaxBytes == 0 {
		return "-"
	}
	share := 0.0
	if q.MaxItems > 0 {
		share = float64(held.Ready+held.Leased+held.Scheduled+held.Moving) / float64(q.MaxItems)
	}
	if q.MaxBytes > 0 {
		share = max(share, float64(held.Bytes)/float64(q.MaxBytes))
	}
	return fmt.Sprintf("%d %%", int64(100*share))
}

func clockText(c client.ClockStatus) string {
	if c.Trusted {
		return "trusted"
	}
	return "not trusted: scheduled items wait until it is"
}

func storageText(s client.StorageStatus) string {
	name := s.Name
	if name == "" {
		name = "queue definitions"
	}
	text := fmt.Sprintf("%s: %s", name, s.Driver)
	if s.Dir != "" {
		text += " in " + s.Dir
	}
	if s.Total > 0 {
		text += fmt.Sprintf(", %s of %s free", bytesText(s.Free), bytesText(s.Total))
	}
	if s.Floor > 0 {
		text += fmt.Sprintf(" (%s are kept free)", bytesText(s.Floor))
	}
	if s.Floor > 0 && s.Free < s.Floor {
		text += "; FULL: produce is refused"
	}
	if s.FreeInodes < s.FloorInodes {
		text += fmt.Sprintf("; FULL: %d inodes are free, %d have to be", s.FreeInodes, s.FloorInodes)
	}
	if s.Failure != "" {
		text += "; FAILING: " + s.Failure
	}
	return text
}
