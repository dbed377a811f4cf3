package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) statusCommand() *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the agent and all its queues on one screen",
		Long: `Show the agent and all its queues on one screen: what is wrong and what to do, memory, clock, disks, what the
flash was written, and the queues with their rates. It looks twice to know the rates; JSON has the counters, of one look.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 0 {
				return usagef("--interval %s is invalid; it must not be negative", interval)
			}
			return e.status(cmd.Context(), interval)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between the two looks that the rates are made of; 0: no rates")
	return cmd
}

func (e *env) status(ctx context.Context, interval time.Duration) error {
	first, err := e.look(ctx)
	if err != nil {
		return err
	}
	if e.output != outputTable || interval == 0 {
		return e.print(first.Status, nil, func(t *columns) { statusTable(t, first, nil) })
	}
	select {
	case <-time.After(interval):
	case <-ctx.Done():
		return ctx.Err()
	}
	second, err := e.look(ctx)
	if err != nil {
		return err
	}
	return e.print(second.Status, nil, func(t *columns) { statusTable(t, second, first) })
}

// look asks the agent for its state.
func (e *env) look(ctx context.Context) (*sample, error) {
	ctx, cancel := e.limited(ctx)
	defer cancel()
	s, err := e.client().Status(ctx)
	if err != nil {
		return nil, err
	}
	found := &sample{Status: s, at: time.Now()}
	if up, err := e.client().Uplink(ctx); err == nil { // An older agent has none; the rest is worth showing.
		found.uplink = up
	}
	return found, nil
}

// statusTable shows a sample; before, if not nil, is what the rates are counted from.
func statusTable(t *columns, now, before *sample) {
	s := now.Status
	list, all := sums(now, before)
	t.row("agent", fmt.Sprintf("version %s, process %d, up %s, on %s", s.Version, s.PID, durationText(s.Uptime), dash(strings.Join(s.Listen, ", "))))
	t.row("configuration", dash(strings.Join(s.ConfigFiles, ", ")))
	t.row("memory", fmt.Sprintf("%s; bodies %s of %s; connections %d of %d", memoryText(s.Memory),
		bytesText(s.Memory.InFlight), bytesText(s.Memory.InFlightLimit), s.Connections, s.MaxConnections))
	t.row("clock", clockText(s.Clock))
	for i := range s.Storages {
		t.row("storage", storageName(&s.Storages[i])+": "+storageText(s.Storages[i]))
	}
	t.row("flash", flashText(s, &all))
	if now.uplink != nil && now.uplink.State != "off" {
		t.row("uplink", uplinkText(now.uplink))
	}
	if access := accessText(&s.Access); access != "" {
		t.row("access", access)
	}
	if lost := all.PartitionStatus.Ledger.Quarantined; lost > 0 {
		t.row("damage", fmt.Sprintf("%d items were in damaged files; querator doctor says where these are", lost))
	}
	if all.known {
		t.row("rates", fmt.Sprintf("%s items in and %s completed a second, %s/s written", rateText(all.in, true), rateText(all.done, true), bytesText(int64(all.written))))
	}
	if len(s.Problems) > 0 {
		t.gap()
	}
	for i := range s.Problems {
		t.row(problemText(&s.Problems[i]))
	}
	t.gap()
	if len(list) == 0 {
		t.row("no queues; create one with: querator queues create NAME")
		return
	}
	t.row("QUEUE", "STATE", "READY", "LEASED", "SCHEDULED", "FULL", "IN/S", "DONE/S", "AGE", "COMPLETED", "DEAD", "DISK", "WAITING")
	for i := range list {
		queueRow(t, &list[i])
	}
}

// accessText says what the access rules do, "" if there are none and nobody was refused anything.
func accessText(a *client.AccessStatus) string {
	if a.Rules == 0 && a.RefusedProduce+a.RefusedConsume+a.RefusedRead+a.RefusedAdmin == 0 {
		return ""
	}
	return fmt.Sprintf("%d rule(s); refused %d produce, %d consume, %d read, %d admin", a.Rules,
		a.RefusedProduce, a.RefusedConsume, a.RefusedRead, a.RefusedAdmin)
}

func queueRow(t *columns, s *queueSum) {
	scheduled := fmt.Sprint(s.Scheduled)
	if s.HeldForClock > 0 {
		scheduled += fmt.Sprintf(" (%d wait for the clock)", s.HeldForClock)
	}
	l := &s.PartitionStatus.Ledger
	t.row(s.Info.Name, s.state, s.Ready, s.Leased, scheduled, fullText(&s.Info, &s.PartitionStatus), rateText(s.in, s.known),
		rateText(s.done, s.known), s.ageText(), l.Completed, l.Dead+l.Expired, bytesText(s.Usage.Disk), s.LeaseWaiting)
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
