package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	// maxImportLine bounds a line of an import: the largest payload as base64, with room for the rest.
	maxImportLine = 8 << 20
	// importBatch is how many items go into one request, within maxBatchBytes.
	importBatch = 500
)

// importer reads lines of JSON and sends them in batches, each to one partition.
type importer struct {
	e          *env
	queue      string
	partition  int // -1: that of the line
	keepLeases bool

	partitions int
	expire     time.Duration // of an item that says nothing
	batch      []client.StoredItem
	due        []client.ProduceItem // scheduled items
	at         int                  // the partition of batch
	size       int
	stored     int // lines
	skipped    int
	scheduled  int // items that were produced anew
	timeless   int // scheduled items whose line does not say for when
}

// importLine is a line of an import. Text is another way to give the payload.
type importLine struct {
	storedItem
	Text *string `json:"text"`
}

func (e *env) importCommand() *cobra.Command {
	im := &importer{e: e}
	var file string
	cmd := &cobra.Command{
		Use:   "import QUEUE",
		Short: "Add items from lines of JSON, as items export writes them",
		Long: `Add items from lines of JSON, as items export writes them. An item keeps its payload, labels, attempts and
expire deadline, and gets a new id. Without an expire deadline it gets that of a new item. An item whose
source_id is in the partition already is skipped. A lease is dropped, since its holder is not here, unless
--keep-leases is given. An item that is scheduled for later (enqueue_at) is produced anew for that time: it keeps
its payload, labels and source_id, and nothing else.`,
		Example: "  querator items import readings --file readings.jsonl",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			im.queue = args[0]
			return im.run(cmd.Context(), file)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "file", "", "read from this file (default stdin)")
	f.IntVarP(&im.partition, "partition", "p", -1, "put all items into this partition (default the one that the line names)")
	f.BoolVar(&im.keepLeases, "keep-leases", false, "leased items stay leased until their lease deadline")
	return cmd
}

func (im *importer) run(ctx context.Context, file string) error {
	in, err := im.e.input(file)
	if err != nil {
		return err
	}
	defer in.Close()
	if im.partitions, err = im.e.partitions(ctx, im.queue); err != nil {
		return err
	}
	if im.partition >= im.partitions {
		return usagef("--partition %d is invalid; queue '%s' has %d partition(s)", im.partition, im.queue, im.partitions)
	}
	call, cancel := im.e.limited(ctx)
	info, err := im.e.client().QueueInfo(call, im.queue)
	cancel()
	if err != nil {
		return err
	}
	im.expire = info.ExpireTimeout
	shown := im.e.progress()
	err = im.lines(ctx, newLineReader(in, maxImportLine), shown)
	shown.done()
	if err != nil {
		return fmt.Errorf("%w\n%d items are stored", err, im.stored)
	}
	if im.scheduled > 0 {
		im.e.note("%d of the items are scheduled: they were produced anew, with payload, labels and source id", im.scheduled)
	}
	if im.timeless > 0 {
		im.e.note("%d item(s) were scheduled, but their lines do not say for when (enqueue_at): they are ready now", im.timeless)
	}
	return im.e.report(map[string]any{"queue_name": im.queue, "imported": im.stored - im.skipped, "skipped": im.skipped},
		"Imported %d item(s) into queue '%s', skipped %d whose source id was there", im.stored-im.skipped, im.queue, im.skipped)
}

func (im *importer) lines(ctx context.Context, read *lineReader, shown *progress) error {
	for {
		line, err := read.next()
		if errors.Is(err, io.EOF) {
			return im.flush(ctx)
		}
		if err == nil && len(bytes.TrimSpace(line)) > 0 {
			err = im.line(ctx, line)
		}
		if err != nil {
			if flushErr := im.flush(ctx); flushErr != nil {
				return flushErr
			}
			return fmt.Errorf("line %d: %w", read.n, err)
		}
		shown.show("%d items are stored", im.stored)
	}
}

// line adds one line to the batch and sends what is full.
func (im *importer) line(ctx context.Context, line []byte) error {
	it, err := parseLine(line)
	if err != nil {
		return err
	}
	partition := it.Partition % im.partitions
	if im.partition >= 0 {
		partition = im.partition
	}
	cost := len(it.Payload) + len(it.Encoding) + len(it.Kind) + len(it.Reference) + len(it.SourceID) + itemOverhead
	if n := len(im.batch) + len(im.due); partition != im.at || n >= importBatch || n > 0 && im.size+cost > maxBatchBytes {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	im.at = partition
	im.size += cost
	now := time.Now()
	if it.EnqueueAt.After(now) {
		im.due = append(im.due, client.ProduceItem{
			Payload: it.Payload, Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference, SourceID: it.SourceID,
			EnqueueAt: it.EnqueueAt,
		})
		return nil
	}
	if it.Scheduled && it.EnqueueAt.IsZero() {
		im.timeless++
	}
	if it.ExpireDeadline.IsZero() {
		it.ExpireDeadline = now.Add(im.expire)
	}
	if !im.keepLeases {
		it.IsLeased, it.LeaseDeadline = false, time.Time{}
	}
	it.ID = "" // A reply with an id is of an item that was stored, not skipped.
	im.batch = append(im.batch, it.StoredItem)
	return nil
}

// parseLine reads a line of JSON. A field that it does not know is an error: it may be misspelt.
func parseLine(line []byte) (*storedItem, error) {
	var it importLine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&it); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("there is something after the JSON object")
	}
	if it.Text != nil {
		it.Payload = []byte(*it.Text)
	}
	if it.Partition < 0 {
		return nil, fmt.Errorf("partition %d is invalid", it.Partition)
	}
	return &it.storedItem, nil
}

// flush sends the batch.
func (im *importer) flush(ctx context.Context) error {
	ctx, cancel := im.e.limited(ctx)
	defer cancel()
	if len(im.batch) > 0 {
		stored, err := im.e.client().ImportItems(ctx, im.queue, im.at, im.batch)
		if err != nil {
			return err
		}
		for i := range stored {
			if stored[i].ID == "" {
				im.skipped++
			}
		}
		im.stored += len(im.batch)
	}
	if len(im.due) > 0 {
		if err := im.e.client().Produce(ctx, im.queue, im.due...); err != nil {
			return err
		}
		im.stored += len(im.due)
		im.scheduled += len(im.due)
	}
	im.batch, im.due, im.size = im.batch[:0], im.due[:0], 0
	return nil
}
