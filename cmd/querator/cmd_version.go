package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

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

// manCommand writes the manual pages, for packages.
func (e *env) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages of all commands",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // The date would differ from build to build.
			return doc.GenManTree(root, &doc.GenManHeader{Title: "QUERATOR", Section: "1", Source: "querator " + e.version}, args[0])
		},
	}
}
