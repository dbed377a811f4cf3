package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// completionTimeout bounds how long a shell waits for the names of queues.
	completionTimeout = 2 * time.Second
	maxCompletions    = 200
)

// completeQueues makes the commands below cmd that use queues complete their names, in a shell that asks for that.
func (e *env) completeQueues(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		e.completeQueues(below)
		queues := queueArguments(below.Use)
		if queues == 0 || below.Name() == "create" {
			continue // What is created has no name yet.
		}
		below.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			switch {
			case len(args) >= queues && strings.Contains(cmd.Use, "COMMAND"):
				return nil, cobra.ShellCompDirectiveDefault
			case len(args) >= queues:
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.queuesLike(cmd.Context(), begun), cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// queueArguments returns how many arguments a command takes first that name queues.
func queueArguments(use string) int {
	n := 0
	for _, word := range strings.Fields(use)[1:] {
		switch strings.Trim(word, "[]") {
		case "QUEUE", "TARGET":
			n++
		case "QUEUE...":
			return 1 << 30
		default:
			return n
		}
	}
	return n
}

// queuesLike returns the names of queues that begin so; none if the agent does not tell.
func (e *env) queuesLike(ctx context.Context, begun string) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	queues, err := e.client().ListQueues(ctx, begun, maxCompletions)
	if err != nil {
		return nil // There is nobody to tell, between two keys.
	}
	var names []string
	for _, q := range queues {
		if strings.HasPrefix(q.Name, begun) {
			names = append(names, q.Name)
		}
	}
	return names
}
