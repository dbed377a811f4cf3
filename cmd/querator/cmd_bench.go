package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (e *env) benchCommand() *cobra.Command {
	return &cobra.Command{Use: "bench", Short: "Measure a running agent", RunE: func(*cobra.Command, []string) error { return errors.New("not yet") }}
}
