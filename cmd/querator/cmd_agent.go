package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/systemd"
)

func (e *env) agentCommand() *cobra.Command {
	var flags config.Flags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Keep the queues and serve them on a Unix socket",
		Long: `Keep the queues and serve them on a Unix socket, until SIGTERM or SIGINT. It needs no configuration: without
--config, --data-dir and --socket everything is in the places of the user. SIGHUP, unless the agent runs in a
terminal, reads the configuration again and says what has to wait for a restart. Exits with 78 when the configuration,
the directory or the socket has to be changed, and with 69 when another agent has it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if e.endpoint != "" {
				return usagef("the agent takes --socket, not --endpoint")
			}
			flags.Socket = e.socket
			load := func() (*config.Loaded, error) { return config.LoadAgent(flags, e.paths()) }
			loaded, err := load()
			if err != nil {
				return err
			}
			return e.runAgent(cmd.Context(), agent.Options{Config: loaded, Version: e.version, Built: e.built, Reload: load})
		},
	}
	agentFlags(cmd, &flags)
	return cmd
}

// runAgent runs the agent of this process. Under systemd nobody reads standard output. SIGHUP reloads the
// configuration, but where a person runs the agent: then it says that the terminal has gone.
func runAgent(ctx context.Context, o agent.Options) error {
	var err error
	if o.Socket, err = systemd.Socket(os.Getenv, socketName); err != nil {
		return err
	}
	o.Stdout, o.Stderr = os.Stdout, os.Stderr
	o.Console, o.Journal = isTerminal(os.Stderr), systemd.IsJournal(os.Getenv, os.Stderr)
	o.Systemd = systemd.NewNotifier(os.Getenv)
	if os.Getenv("INVOCATION_ID") != "" {
		o.Stdout = nil
	}
	if !o.Console && !signal.Ignored(syscall.SIGHUP) {
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		o.Reloads = hangups
	}
	return agent.Run(ctx, o)
}

// socketName is the FileDescriptorName= of the socket unit.
const socketName = "api"
