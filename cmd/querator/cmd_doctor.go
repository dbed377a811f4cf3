package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/doctor"
)

// doctorFlags say what doctor looks at.
type doctorFlags struct {
	config   config.Flags
	syncTime time.Duration
}

func (f *doctorFlags) add(cmd *cobra.Command) {
	agentFlags(cmd, &f.config)
	cmd.Flags().DurationVar(&f.syncTime, "sync-time", 2*time.Second, "how long to measure syncs on each storage; 0: not at all")
}

func (e *env) doctorCommand() *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look over this device and say what to do",
		Long: `Look over this device: the agent, its socket, file systems, space, how long the card takes to sync and whether
it seems to lie about it, wear, memory and its limits, the clock, the uplink, the kernel, and the power supply. Each
finding comes with what to do. Exits with 1 if anything is failing; warnings are no failure. Run it as root or as the agent's user:
it writes a small file next to the data to measure syncs, and removes it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := e.examine(cmd.Context(), &flags)
			if err != nil {
				return err
			}
			return e.printFindings(list)
		},
	}
	flags.add(cmd)
	cmd.AddCommand(e.bundleCommand())
	return cmd
}

// examine makes all checks.
func (e *env) examine(ctx context.Context, flags *doctorFlags) ([]doctor.Finding, error) {
	if flags.syncTime < 0 || flags.syncTime > time.Minute {
		return nil, usagef("--sync-time %s is invalid; use 0s to 1m", flags.syncTime)
	}
	loaded, err := e.doctorConfig(flags)
	if err != nil {
		return nil, err
	}
	return doctor.Run(ctx, doctor.Options{
		Config: &loaded.Config, Client: e.doctorClient(loaded), Version: e.version, SyncTime: flags.syncTime,
	}), nil
}

// doctorConfig returns the agent's configuration.
func (e *env) doctorConfig(flags *doctorFlags) (*config.Loaded, error) {
	flags.config.Socket = e.socket
	return config.LoadAgent(flags.config, e.agentPaths())
}

// doctorClient returns a client for the agent with this configuration: where the flags and the environment name no
// agent, it is the one that the configuration is of.
func (e *env) doctorClient(loaded *config.Loaded) *client.Client {
	if e.shared == nil && e.socket == "" && e.endpoint == "" && e.getenv("QUERATOR_SOCKET") == "" && e.getenv("QUERATOR_ENDPOINT") == "" {
		e.shared = &client.Client{Socket: loaded.Config.Socket.Path}
	}
	return e.client()
}

// printFindings prints them, and returns an error if anything is failing.
func (e *env) printFindings(list []doctor.Finding) error {
	counts := make(map[doctor.Level]int)
	for i := range list {
		counts[list[i].Level]++
	}
	whole := map[string]any{"findings": list, "failing": counts[doctor.Failing], "warnings": counts[doctor.Warning], "unknown": counts[doctor.Unknown]}
	err := e.print(whole, anys(list), func(t *columns) {
		for i := range list {
			f := &list[i]
			t.row(levelText(f.Level), f.Check, f.Text)
			if f.Hint != "" && f.Level != doctor.OK {
				t.row("", "", "→ "+f.Hint)
			}
		}
	})
	if err != nil {
		return err
	}
	if n := counts[doctor.Failing]; n > 0 {
		return fmt.Errorf("%d finding(s) are failing, %d warning(s)", n, counts[doctor.Warning])
	}
	e.note("Nothing is failing, %d warning(s), %d not known", counts[doctor.Warning], counts[doctor.Unknown])
	return nil
}

func levelText(l doctor.Level) string {
	return map[doctor.Level]string{doctor.OK: "ok", doctor.Unknown: "?", doctor.Warning: "WARNING", doctor.Failing: "FAILING"}[l]
}
