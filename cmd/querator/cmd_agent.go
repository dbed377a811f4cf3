package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/config"
)

func (e *env) agentCommand() *cobra.Command {
	var flags config.Flags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Keep the queues and serve them on a Unix socket",
		Long: `Keep the queues and serve them on a Unix socket, until SIGTERM or SIGINT. It needs no configuration: without
--config, --data-dir and --socket everything is in the places of the user. Exits with 78 when the configuration,
the directory or the socket has to be changed, and with 69 when another agent has it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if e.endpoint != "" {
				return usagef("the agent takes --socket, not --endpoint")
			}
			flags.Socket = e.socket
			loaded, err := config.LoadAgent(flags, e.paths())
			if err != nil {
				return err
			}
			return e.runAgent(cmd.Context(), e.version, loaded)
		},
	}
	agentFlags(cmd, &flags)
	return cmd
}

// runAgent runs the agent of this process. Under systemd nobody reads standard output.
func runAgent(ctx context.Context, version string, cfg *config.Loaded) error {
	o := agent.Options{Config: cfg, Version: version, Stdout: os.Stdout, Stderr: os.Stderr, Console: isTerminal(os.Stderr)}
	if os.Getenv("INVOCATION_ID") != "" {
		o.Stdout = nil
	}
	return agent.Run(ctx, o)
}
