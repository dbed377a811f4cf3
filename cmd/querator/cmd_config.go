package main

import (
	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/paths"
)

// agentFlags adds the flags that say what the agent's configuration is.
func agentFlags(cmd *cobra.Command, f *config.Flags) {
	cmd.Flags().StringVar(&f.Config, "config", "", "configuration file (QUERATOR_CONFIG)")
	cmd.Flags().StringVar(&f.DataDir, "data-dir", "", "directory that everything is stored in")
}

// paths returns what the default places depend on.
func (e *env) paths() paths.Env {
	p := paths.Process()
	p.Getenv = e.getenv
	return p
}

// agentPaths is paths for what is to be known of the agent that this program talks to, whoever runs it.
func (e *env) agentPaths() paths.Env {
	p := e.paths()
	if e.socket != "" {
		p.Getenv = func(name string) string {
			if name == paths.SocketVariable {
				return e.socket
			}
			return e.getenv(name)
		}
	}
	return p.OfClient()
}

func (e *env) configCommand() *cobra.Command {
	return group("config", "Look at the agent's configuration", e.configCheckCommand())
}

func (e *env) configCheckCommand() *cobra.Command {
	var flags config.Flags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and show every value and where it comes from",
		Long: `Read the configuration as the agent would, and show every value with its place. Exits with 78, and a line for
every mistake, if the agent would not start with it. It asks no agent.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			flags.Socket = e.socket
			loaded, err := config.LoadAgent(flags, e.paths())
			if err != nil {
				return err
			}
			if _, err := access.Compile(loaded, access.Accounts{}); err != nil {
				return err
			}
			type setting struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				Origin string `json:"origin"`
			}
			var list []setting
			for _, s := range loaded.Settings() {
				list = append(list, setting(s))
			}
			whole := map[string]any{"files": loaded.Files, "settings": list}
			return e.print(whole, anys(list), func(t *columns) {
				t.row("SETTING", "VALUE", "FROM")
				for _, s := range list {
					t.row(s.Key, s.Value, s.Origin)
				}
			})
		},
	}
	agentFlags(cmd, &flags)
	return cmd
}
