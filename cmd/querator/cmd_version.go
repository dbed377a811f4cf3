package main

import "github.com/spf13/cobra"

func (e *env) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return e.print(map[string]string{"version": e.version}, nil, func(t *columns) { t.row("querator " + e.version) })
		},
	}
}
