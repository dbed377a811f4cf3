package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) clearCommand() *cobra.Command {
	var o client.ClearOptions
	cmd := &cobra.Command{
		Use:   "clear QUEUE",
		Short: "Remove items of a queue",
		Long: `Remove items of a queue from all its partitions: those that are ready, those that are scheduled, or with
--destructive everything, also what is leased.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Ready = o.Ready || o.Destructive
			if !o.Ready && !o.Scheduled {
				return usagef("say what to remove: --ready, --scheduled or --destructive")
			}
			return e.queueCall(cmd.Context(), args[0], func(ctx context.Context, queue string) error {
				return e.client().ClearQueue(ctx, queue, o)
			}, "Cleared queue '%s'")
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Ready, "ready", false, "the items that are ready")
	f.BoolVar(&o.Scheduled, "scheduled", false, "the items that are scheduled")
	f.BoolVar(&o.Destructive, "destructive", false, "everything: ready, scheduled and leased items")
	return cmd
}
