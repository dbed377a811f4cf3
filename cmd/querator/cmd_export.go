package main

import (
	"bufio"
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	// pageBytes is about how many bytes of items an export asks for at a time.
	pageBytes = 4 << 20
	// firstPage is how many items it asks for before it knows how large they are.
	firstPage = 16
	// maxPage is the most that it asks for.
	maxPage = 1000
)

func (e *env) exportCommand() *cobra.Command {
	var withoutScheduled bool
	cmd := &cobra.Command{
		Use:   "export QUEUE",
		Short: "Write all items of a queue to stdout, one line of JSON each",
		Long: `Write all items of a queue to stdout: those of all partitions, ready, leased and scheduled, one line of JSON
each, with the payload as base64. The items stay in the queue. What is produced or completed meanwhile may be in
the output or not. The output is what items import reads.`,
		Example: "  querator items export readings > readings.jsonl",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.export(cmd.Context(), args[0], !withoutScheduled)
		},
	}
	cmd.Flags().BoolVar(&withoutScheduled, "no-scheduled", false, "leave scheduled items out")
	return cmd
}

// export writes the items page by page, so that memory does not grow with the queue.
func (e *env) export(ctx context.Context, queue string, scheduled bool) error {
	partitions, err := e.partitions(ctx, queue)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(e.stdout, 256<<10)
	x := &exporter{e: e, queue: queue, enc: json.NewEncoder(out), shown: e.progress()}
	x.enc.SetEscapeHTML(false)
	for p := range partitions {
		if err = x.partition(ctx, p, false); err == nil && scheduled {
			err = x.partition(ctx, p, true)
		}
		if err != nil {
			break
		}
	}
	x.shown.done()
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if err == nil {
		e.note("Exported %d item(s) of queue '%s'", x.count, queue)
	}
	return err
}

type exporter struct {
	e     *env
	queue string
	enc   *json.Encoder
	shown *progress
	count int
}

// partition writes the items of one partition that are scheduled, or those that are not.
func (x *exporter) partition(ctx context.Context, partition int, scheduled bool) error {
	page := client.Page{Limit: firstPage}
	for {
		call, cancel := x.e.limited(ctx)
		items, err := x.e.pageOf(call, x.queue, partition, scheduled, page)
		cancel()
		if err != nil {
			return err
		}
		if len(items) > 0 && items[0].ID == page.Pivot {
			items = items[1:] // The last one of the page before.
		}
		if len(items) == 0 {
			return nil
		}
		size := 0
		for i := range items {
			size += len(items[i].Payload) + itemOverhead
			if err := x.enc.Encode(&items[i]); err != nil {
				return err
			}
		}
		x.count += len(items)
		x.shown.show("%d items", x.count)
		page.Pivot = items[len(items)-1].ID
		page.Limit = 1 + min(max(pageBytes/(size/len(items)), 1), maxPage)
	}
}
