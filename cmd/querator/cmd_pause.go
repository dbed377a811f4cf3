package main

import (
	"github.com/spf13/cobra"
)

func (e *env) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause QUEUE",
		Short: "Stop handing out items of a queue, also across restarts",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.queueCall(cmd.Context(), args[0], e.client().PauseQueue, "Paused queue '%s': leases wait until it is resumed")
		},
	}
}

func (e *env) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume QUEUE",
		Short: "Hand out items of a paused queue again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.queueCall(cmd.Context(), args[0], e.client().ResumeQueue, "Resumed queue '%s'")
		},
	}
}
