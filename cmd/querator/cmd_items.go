package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) itemsCommand() *cobra.Command {
	return group("items", "List, export, import and delete items as they lie in a queue",
		e.itemsListCommand(), e.exportCommand(), e.importCommand(), e.itemsDeleteCommand())
}

// storedItem is an item of a queue as JSON: a line of an export, and a row of a list.
type storedItem struct {
	Partition int  `json:"partition"`
	Scheduled bool `json:"scheduled,omitempty"`
	client.StoredItem
}

func (s *storedItem) state() string {
	switch {
	case s.Scheduled:
		return "scheduled"
	case s.IsLeased:
		return "leased"
	}
	return "ready"
}

func (e *env) itemsListCommand() *cobra.Command {
	var partition int
	var page client.Page
	var scheduled bool
	cmd := &cobra.Command{
		Use:   "list QUEUE",
		Short: "List items of a partition without leasing them",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if page.Limit < 1 {
				return usagef("--limit %d is invalid; it must be at least 1", page.Limit)
			}
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			found, err := e.pageOf(ctx, args[0], partition, scheduled, page)
			if err != nil {
				return err
			}
			return e.print(map[string]any{"queue_name": args[0], "items": found}, anys(found), func(t *columns) {
				itemsTable(t, found, scheduled)
			})
		},
	}
	f := cmd.Flags()
	f.IntVarP(&partition, "partition", "p", 0, "the partition")
	f.IntVar(&page.Limit, "limit", 20, "most items to list")
	f.StringVar(&page.Pivot, "pivot", "", "begin with this id")
	f.BoolVar(&scheduled, "scheduled", false, "list the scheduled items, not those that are ready or leased")
	return cmd
}

func itemsTable(t *columns, found []storedItem, scheduled bool) {
	head := []any{"PARTITION", "ID", "STATE", "ATTEMPTS", "CREATED", "EXPIRES", "PAYLOAD"}
	if scheduled {
		head = slices.Insert(head, 4, any("DUE"))
	}
	t.row(head...)
	for i := range found {
		it := &found[i]
		row := []any{it.Partition, it.ID, it.state(), it.Attempts, timeText(it.CreatedAt), timeText(it.ExpireDeadline), preview(it.Payload)}
		if scheduled {
			row = slices.Insert(row, 4, any(timeText(it.EnqueueAt)))
		}
		t.row(row...)
	}
}

// pageOf lists one page of items.
func (e *env) pageOf(ctx context.Context, queue string, partition int, scheduled bool, page client.Page) ([]storedItem, error) {
	list := e.client().ListItems
	if scheduled {
		list = e.client().ListScheduled
	}
	items, err := list(ctx, queue, partition, page)
	found := make([]storedItem, len(items))
	for i := range items {
		found[i] = storedItem{Partition: partition, Scheduled: scheduled, StoredItem: items[i]}
	}
	return found, err
}

func (e *env) itemsDeleteCommand() *cobra.Command {
	var ids idFlags
	cmd := &cobra.Command{
		Use:   "delete QUEUE ID...",
		Short: "Delete items, leased or not; unknown ids are ignored",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			queue := args[0]
			n, err := ids.each(cmd.Context(), e, args[1:], func(ctx context.Context, batch []string) error {
				return e.client().DeleteItems(ctx, queue, ids.partition, batch...)
			})
			if err != nil {
				return err
			}
			return e.report(changed{queue, ids.partition, n},
				"Items with %d id(s) are not in queue '%s' partition %d any more", n, queue, ids.partition)
		},
	}
	ids.add(cmd)
	return cmd
}

// partitions returns how many partitions the queue has.
func (e *env) partitions(ctx context.Context, queue string) (int, error) {
	ctx, cancel := e.limited(ctx)
	defer cancel()
	s, err := e.client().Stats(ctx, queue)
	if err != nil {
		return 0, err
	}
	if len(s.Partitions) == 0 {
		return 0, fmt.Errorf("the agent names no partitions of queue '%s'", queue)
	}
	return len(s.Partitions), nil
}
