package main

import (
	"github.com/spf13/cobra"
)

func (e *env) redriveCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "redrive QUEUE TARGET",
		Short:   "Move ready items to another queue, usually out of a dead queue",
		Long:    "Move ready items of QUEUE to the end of TARGET, oldest first, with attempts at 0.",
		Example: "  querator redrive failed-readings readings",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			n, err := e.client().Redrive(ctx, args[0], args[1], limit)
			if err != nil {
				return err
			}
			whole := struct {
				Queue  string `json:"queue_name"`
				Target string `json:"target_queue"`
				Moved  int    `json:"moved"`
			}{args[0], args[1], n}
			return e.report(whole, "Moved %d item(s) from queue '%s' to queue '%s'", n, args[0], args[1])
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "most items to move; 0 is all that are ready now")
	return cmd
}
