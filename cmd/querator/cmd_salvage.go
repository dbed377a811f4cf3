package main

import (
	"bufio"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

func (e *env) salvageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "salvage SEGMENT_DIR",
		Short: "Write the readable items of a segment that was set aside to stdout, one line of JSON each",
		Long: `Read what can be read in the directory of a segment, such as one that the agent has put into a directory named
quarantine, and write its items to stdout, in the form of items export. What became of them is not known: items
that were completed, and those that the agent still has, are among them. What cannot be read is named on stderr,
and makes it exit with 1. Nothing is changed.`,
		Example: "  querator salvage /var/lib/querator/partitions/readings-000000-partition/quarantine/00000000000016777216",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return e.salvage(args[0]) },
	}
}

// salvage writes the items of the segment in dir.
func (e *env) salvage(dir string) error {
	out := bufio.NewWriterSize(e.stdout, 256<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	count := 0
	faults, err := badgerstore.Salvage(dir, func(_ string, partition int, it *queue.Item) error {
		count++
		line := salvaged(partition, it)
		return enc.Encode(&line)
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	for _, f := range faults {
		e.note("%s: %s", f.Path, f.Reason)
	}
	e.note("Wrote %d item(s)", count)
	if len(faults) > 0 {
		return errors.New("not everything in " + dir + " can be read")
	}
	return nil
}

// salvaged returns an item as an export has it.
func salvaged(partition int, it *queue.Item) storedItem {
	return storedItem{Partition: partition, Scheduled: !it.EnqueueAt.IsZero(), StoredItem: client.StoredItem{
		ID: it.ID.String(), SourceID: it.SourceID, ExpireDeadline: it.ExpireDeadline, CreatedAt: it.CreatedAt,
		EnqueueAt: it.EnqueueAt, Attempts: int(it.Attempts), MaxAttempts: int(it.MaxAttempts),
		Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference, Payload: it.Payload,
	}}
}
