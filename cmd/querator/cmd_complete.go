package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// maxIDs is how many ids one request may have by the agent's default limit.
const maxIDs = 1000

// idFlags are the flags of the commands that take ids of items.
type idFlags struct {
	partition int
	file      string
}

// add adds the flags to cmd.
func (i *idFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVarP(&i.partition, "partition", "p", 0, "the partition that lease has shown")
	cmd.Flags().StringVar(&i.file, "file", "", "read ids from this file, one a line; - is stdin")
}

// each calls do for the ids of the arguments and of the file, in batches, and returns how many it was called for
// with success.
func (i *idFlags) each(ctx context.Context, e *env, ids []string, do func(ctx context.Context, ids []string) error) (int, error) {
	ids, err := i.withFile(e, ids)
	if err != nil {
		return 0, err
	}
	done := 0
	for batch := range slices.Chunk(ids, maxIDs) {
		limited, cancel := e.limited(ctx)
		err := do(limited, batch)
		cancel()
		if err != nil {
			if len(ids) > maxIDs {
				e.note("%d of %d ids are done", done, len(ids))
			}
			return done, err
		}
		done += len(batch)
	}
	return done, nil
}

// withFile returns the ids with those of the file.
func (i *idFlags) withFile(e *env, ids []string) ([]string, error) {
	if i.file != "" {
		in, err := e.input(i.file)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		read := newLineReader(in, 1<<10)
		for {
			line, err := read.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if id := strings.TrimSpace(string(line)); id != "" {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, usagef("no ids are given; name them as arguments or with --file")
	}
	return ids, nil
}

// changed is the result of a command that changed items, as JSON.
type changed struct {
	Queue     string `json:"queue_name"`
	Partition int    `json:"partition"`
	Count     int    `json:"count"`
}

func (e *env) completeCommand() *cobra.Command {
	var ids idFlags
	cmd := &cobra.Command{
		Use:   "complete QUEUE ID...",
		Short: "Mark leased items as done",
		Long: `Mark leased items of one partition as done: they leave the queue. All of them are completed or none (with more
than 1000 ids: all or none of each 1000). Exits with 4 if a lease has ended.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			queue := args[0]
			n, err := ids.each(cmd.Context(), e, args[1:], func(ctx context.Context, batch []string) error {
				return e.client().Complete(ctx, queue, ids.partition, batch...)
			})
			if err != nil {
				return err
			}
			return e.report(changed{queue, ids.partition, n},
				"Successfully completed %d item(s) in queue '%s' partition %d", n, queue, ids.partition)
		},
	}
	ids.add(cmd)
	return cmd
}
