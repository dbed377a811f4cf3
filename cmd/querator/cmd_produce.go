package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	// maxPayload is what fits into one produce request by the agent's default limit, with room for labels.
	maxPayload = 4_900_000
	// maxBatchBytes is how many bytes of lines go into one request, except that one line may be larger.
	maxBatchBytes = 4_000_000
	// itemOverhead is about what an item costs in a request beside its payload.
	itemOverhead = 64
)

// produceFlags are the flags of produce.
type produceFlags struct {
	item         client.ProduceItem
	payload      string
	file         string
	enqueueAt    string
	lines        bool
	batch        int
	sourcePrefix string
}

func (e *env) produceCommand() *cobra.Command {
	var p produceFlags
	cmd := &cobra.Command{
		Use:   "produce QUEUE [PAYLOAD]",
		Short: "Add an item, or one for each line of a file",
		Long: `Add an item. Its payload is the argument, --payload, the content of --file, or what comes on stdin.

With --lines each line of the file or of stdin is an item. Lines go to the agent in batches; when the command
ends with 0, all of them are on flash, and when it fails, it says how many are.`,
		Example: `  querator produce readings '{"t":21.4}'
  querator produce readings --lines < sensor.log
  querator produce mails --file mail.eml --enqueue-at 2026-12-24T18:00:00Z`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return e.produce(cmd, args, &p) },
	}
	f := cmd.Flags()
	f.StringVarP(&p.payload, "payload", "p", "", "the payload")
	f.StringVar(&p.file, "file", "", "read the payload or the lines from this file; - is stdin")
	f.BoolVar(&p.lines, "lines", false, "every line is an item")
	f.IntVar(&p.batch, "batch", 500, "with --lines: most items in one request, 1 to 1000")
	f.StringVar(&p.item.Encoding, "encoding", "", "label: how the payload is encoded")
	f.StringVar(&p.item.Kind, "kind", "", "label: what the item is")
	f.StringVar(&p.item.Reference, "reference", "", "label: what the item belongs to")
	f.StringVar(&p.enqueueAt, "enqueue-at", "", "not to be leased before this time (RFC 3339)")
	f.StringVar(&p.item.SourceID, "source-id", "", "skip the item if one with this source id is in the queue's partition")
	f.StringVar(&p.sourcePrefix, "source-prefix", "", "with --lines: give each item this and its line number as source id")
	cmd.MarkFlagsMutuallyExclusive("payload", "file")
	cmd.MarkFlagsMutuallyExclusive("payload", "lines")
	cmd.MarkFlagsMutuallyExclusive("source-id", "lines")
	return cmd
}

func (e *env) produce(cmd *cobra.Command, args []string, p *produceFlags) error {
	given := cmd.Flags().Changed
	switch {
	case len(args) == 2 && (given("payload") || given("file") || p.lines):
		return usagef("the payload is given twice; PAYLOAD goes with none of --payload, --file and --lines")
	case p.sourcePrefix != "" && !p.lines:
		return usagef("--source-prefix needs --lines; use --source-id for one item")
	case p.batch < 1 || p.batch > 1000:
		return usagef("--batch %d is invalid; 1 to 1000 are allowed", p.batch)
	}
	if p.enqueueAt != "" {
		at, err := parseTime("--enqueue-at", p.enqueueAt)
		if err != nil {
			return err
		}
		p.item.EnqueueAt = at
	}
	queue := args[0]
	if p.lines {
		return e.produceLines(cmd.Context(), queue, p)
	}
	switch {
	case len(args) == 2:
		p.item.Payload = []byte(args[1])
	case given("payload"):
		p.item.Payload = []byte(p.payload)
	default:
		var err error
		if p.item.Payload, err = e.readPayload(p.file); err != nil {
			return err
		}
	}
	ctx, cancel := e.limited(cmd.Context())
	defer cancel()
	if err := e.client().Produce(ctx, queue, p.item); err != nil {
		return err
	}
	return e.produced(queue, 1, int64(len(p.item.Payload)))
}

// readPayload reads a file or stdin whole.
func (e *env) readPayload(path string) ([]byte, error) {
	in, err := e.input(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	payload, err := io.ReadAll(io.LimitReader(in, maxPayload+1))
	if len(payload) > maxPayload {
		return nil, fmt.Errorf("the payload has more than %d bytes, which the agent does not take in one request", maxPayload)
	}
	return payload, err
}

// produced prints the result.
func (e *env) produced(queue string, items int, bytes int64) error {
	return e.print(map[string]any{"queue_name": queue, "items": items, "bytes": bytes}, nil, func(t *columns) {
		if items == 1 {
			t.row(fmt.Sprintf("Successfully produced item with payload of %d bytes", bytes))
			return
		}
		t.row(fmt.Sprintf("Successfully produced %d items with payloads of %d bytes", items, bytes))
	})
}

// produceLines produces an item for each line, batch after batch: what is counted is on flash.
func (e *env) produceLines(ctx context.Context, queue string, p *produceFlags) error {
	in, err := e.input(p.file)
	if err != nil {
		return err
	}
	defer in.Close()
	read := newLineReader(in, maxPayload)
	shown := e.progress()
	var stored int
	var bytes int64
	for {
		batch, size, readErr := p.readBatch(read)
		if len(batch) > 0 {
			if err := e.produceBatch(ctx, queue, batch); err != nil {
				shown.done()
				return stoppedAt(err, stored)
			}
			stored += len(batch)
			bytes += size
			shown.show("%d lines are stored, %s", stored, bytesText(bytes))
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			shown.done()
			return stoppedAt(readErr, stored)
		}
	}
	shown.done()
	return e.produced(queue, stored, bytes)
}

func (e *env) produceBatch(ctx context.Context, queue string, batch []client.ProduceItem) error {
	ctx, cancel := e.limited(ctx)
	defer cancel()
	return e.client().Produce(ctx, queue, batch...)
}

// stoppedAt says how far produce came, so that nothing has to be produced twice.
func stoppedAt(err error, stored int) error {
	if errors.Is(err, client.ErrUnavailable) {
		return fmt.Errorf("%w\n%d lines are stored, perhaps those of the next request too", err, stored)
	}
	return fmt.Errorf("%w\n%d lines are stored; the next is line %d (tail -n +%d gives the rest)", err, stored, stored+1, stored+1)
}

// readBatch reads the lines of one request. With an error, io.EOF at the end, it returns those before it.
func (p *produceFlags) readBatch(read *lineReader) (batch []client.ProduceItem, size int64, err error) {
	var cost int
	for len(batch) < p.batch {
		line, err := read.next()
		if err != nil {
			return batch, size, err
		}
		it := p.item
		it.Payload = line
		if p.sourcePrefix != "" {
			it.SourceID = p.sourcePrefix + strconv.Itoa(read.n)
		}
		cost += len(line) + len(it.Encoding) + len(it.Kind) + len(it.Reference) + len(it.SourceID) + itemOverhead
		if len(batch) > 0 && cost > maxBatchBytes {
			read.unread(line)
			break
		}
		batch = append(batch, it)
		size += int64(len(line))
	}
	return batch, size, nil
}

// parseTime reads the value of a flag that is a time.
func parseTime(flag, value string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return at, usagef("%s '%s' is invalid; use RFC 3339, for example 2026-12-24T18:00:00Z", flag, value)
	}
	return at, nil
}
