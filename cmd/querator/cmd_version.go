package main

import (
	"time"

	"github.com/spf13/cobra"
)

func (e *env) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			said := map[string]string{"version": e.version}
			if !e.built.IsZero() {
				said["built"] = e.built.UTC().Format(time.RFC3339)
			}
			return e.print(said, nil, func(t *columns) { t.row("querator " + e.version) })
		},
	}
}
