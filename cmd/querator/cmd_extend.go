package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (e *env) extendCommand() *cobra.Command {
	var ids idFlags
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "extend QUEUE ID...",
		Short: "Move the lease deadline of leased items",
		Long: `Move the lease deadline of leased items of one partition, all or none, to a lease timeout from now. Exits with 4
if a lease has ended.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			queue := args[0]
			var deadline time.Time
			n, err := ids.each(cmd.Context(), e, args[1:], func(ctx context.Context, batch []string) (err error) {
				deadline, err = e.client().Extend(ctx, queue, ids.partition, timeout, batch...)
				return err
			})
			if err != nil {
				return err
			}
			whole := struct {
				changed
				LeaseDeadline time.Time `json:"lease_deadline"`
			}{changed{queue, ids.partition, n}, deadline}
			return e.print(whole, nil, func(t *columns) {
				t.row(fmt.Sprintf("Leased until %s", timeText(deadline)))
			})
		},
	}
	ids.add(cmd)
	cmd.Flags().DurationVar(&timeout, "lease-timeout", 0, "how long from now (default the queue's)")
	return cmd
}
