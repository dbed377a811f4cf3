package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) retryCommand() *cobra.Command {
	var ids idFlags
	var at string
	var after time.Duration
	var dead bool
	cmd := &cobra.Command{
		Use:   "retry QUEUE ID...",
		Short: "Give leased items back, at once or for later",
		Long: `Give leased items of one partition back, all or none. They go to the end of the queue under new ids, at once or
at a later time. With --dead they go to the dead queue, or away if the queue has none.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			item := client.RetryItem{Dead: dead}
			var err error
			switch {
			case at != "":
				item.At, err = parseTime("--at", at)
			case after < 0:
				err = usagef("--after %s is invalid; it must not be negative", after)
			case after > 0:
				item.At = time.Now().Add(after)
			}
			if err != nil {
				return err
			}
			queue := args[0]
			n, err := ids.each(cmd.Context(), e, args[1:], func(ctx context.Context, batch []string) error {
				items := make([]client.RetryItem, len(batch))
				for i, id := range batch {
					items[i] = item
					items[i].ID = id
				}
				return e.client().Retry(ctx, queue, ids.partition, items...)
			})
			if err != nil {
				return err
			}
			return e.report(changed{queue, ids.partition, n},
				"Successfully gave back %d item(s) in queue '%s' partition %d", n, queue, ids.partition)
		},
	}
	ids.add(cmd)
	f := cmd.Flags()
	f.StringVar(&at, "at", "", "not to be leased before this time (RFC 3339)")
	f.DurationVar(&after, "after", 0, "not to be leased for so long")
	f.BoolVar(&dead, "dead", false, "give up: to the dead queue")
	cmd.MarkFlagsMutuallyExclusive("at", "after", "dead")
	return cmd
}
