package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// run runs one command line and returns the exit code.
func (e *env) run(ctx context.Context, args []string) int {
	root := e.rootCommand()
	root.SetArgs(args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !e.started {
		err = usagef("%s", strings.TrimSpace(err.Error()))
	}
	if cmd.Name() == "agent" {
		e.usage = exitAgentUsage
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "querator: %v", err)
		switch hint := e.hint(cmd, err); {
		case hint == "":
			fmt.Fprintln(e.stderr)
		case cmd.Name() == "agent" && !errors.Is(err, errUsage):
			fmt.Fprintf(e.stderr, "; %s\n", hint) // Service managers show the last line.
		default:
			fmt.Fprintf(e.stderr, "\n%s\n", hint)
		}
	}
	if e.shared != nil {
		e.shared.Close()
	}
	return e.exitCode(err)
}

// rootCommand returns the tree of commands.
func (e *env) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "querator",
		Short:         "Durable queues on this device",
		Long:          rootText,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       e.version,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return e.checkFlags()
		},
	}
	root.SetVersionTemplate("querator {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&e.socket, "socket", "", "path of the agent's socket (QUERATOR_SOCKET)")
	f.StringVar(&e.endpoint, "endpoint", "", "unix:///path or http://host:port in place of --socket (QUERATOR_ENDPOINT)")
	f.StringVar(&e.output, "output", outputTable, "table, json or jsonl")
	f.BoolVar(&e.quiet, "quiet", false, "no notes on stderr, errors only")
	f.DurationVar(&e.timeout, "timeout", 30*time.Second, "how long the agent may take for one request, or wait for items")

	root.AddGroup(
		&cobra.Group{ID: groupItems, Title: "Items:"},
		&cobra.Group{ID: groupQueues, Title: "Queues:"},
		&cobra.Group{ID: groupAgent, Title: "The agent:"},
	)
	add(root, groupItems, e.produceCommand(), e.leaseCommand(), e.completeCommand(), e.retryCommand(),
		e.extendCommand(), e.workCommand(), e.itemsCommand())
	add(root, groupQueues, e.queuesCommand(), e.statsCommand(), e.clearCommand(), e.pauseCommand(),
		e.resumeCommand(), e.redriveCommand(), e.moveCommand())
	add(root, groupAgent, e.agentCommand(), e.statusCommand(), e.topCommand(), e.doctorCommand(), e.uplinkCommand(), e.auditCommand(), e.backupCommand(),
		e.restoreCommand(), e.verifyCommand(), e.salvageCommand(), e.configCommand(), e.accessCommand(),
		e.benchCommand())
	add(root, "", e.versionCommand())
	// The names that these have in Querator.
	for _, cmd := range []*cobra.Command{e.createCommand(), e.updateCommand(), e.listCommand(), e.deleteCommand()} {
		cmd.Hidden = true
		root.AddCommand(cmd)
	}
	e.noteStart(root)
	e.completeQueues(root)
	return root
}

// noteStart makes every command take note that it runs: errors before that are mistakes in the command line.
func (e *env) noteStart(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			e.started = true
			return run(cmd, args)
		}
	}
	for _, below := range cmd.Commands() {
		e.noteStart(below)
	}
}

const (
	groupItems  = "items"
	groupQueues = "queues"
	groupAgent  = "agent"
)

const rootText = `querator keeps durable queues on this device and uses them.

  querator agent                             keep the queues (in a terminal of its own)
  querator queues create readings            create a queue
  echo 21.4 | querator produce readings      add an item
  querator lease readings                    take an item, under a lease
  querator complete readings ID              it is done

Results go to stdout, notes to stderr. Exit codes: 0 done, 1 failure, 2 wrong usage (64 for the agent),
3 nothing to lease, 4 lease lost, 5 full, 69 agent not available, 75 try again, 78 configuration.`

func add(parent *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		cmd.GroupID = group
		parent.AddCommand(cmd)
	}
}

// checkFlags judges the global flags.
func (e *env) checkFlags() error {
	if !slices.Contains(outputs(), e.output) {
		return usagef("--output '%s' is invalid; use one of %s", e.output, strings.Join(outputs(), ", "))
	}
	if e.timeout <= 0 {
		return usagef("--timeout %s is invalid; it must be more than 0", e.timeout)
	}
	if e.socket != "" && e.endpoint != "" {
		return usagef("--socket and --endpoint cannot be given together")
	}
	return nil
}

// group returns a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command '%s'", args[0])
			}
			return errors.New("a command is missing")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(below...)
	return cmd
}
