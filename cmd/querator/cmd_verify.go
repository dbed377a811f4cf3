package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/badgerstore"
)

// problem is a fault of a store as JSON.
type problem struct {
	Queue     string `json:"queue_name,omitempty"`
	Partition int    `json:"partition"`
	// First and Last are the sequence numbers of the items concerned, 0 if they are not known.
	First  uint64 `json:"first,omitempty"`
	Last   uint64 `json:"last,omitempty"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// items returns which items are concerned, for a table.
func (p *problem) items() string {
	switch {
	case p.First == 0:
		return "-"
	case p.First == p.Last:
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

func (e *env) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR | BACKUP...",
		Short: "Look for damage in a data directory that no agent uses, or in back-ups",
		Long: `Read all that is stored in DIR, the data directory of an agent or one of its storage directories, and print
what is damaged: queue, partition, sequence numbers and file. Nothing is repaired; the agent does that when it
starts, and keeps what is damaged in a directory named quarantine. Exits with 1 when anything is damaged, with 69
while an agent uses the directory.

Of back-ups, a full one and those that go on from it, everything is read and checked, and what the last of them
has is printed.`,
		Example: `  querator verify /var/lib/querator
  querator verify monday.backup tuesday.backup`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err == nil && info.Mode().IsRegular() {
				return e.verifyBackups(args)
			}
			if len(args) > 1 {
				return usagef("only back-ups can be more than one")
			}
			return e.verify(args[0])
		},
	}
}

// verify prints the faults of the stores in dir.
func (e *env) verify(dir string) error {
	var list []problem
	sum, err := badgerstore.Verify(dir, func(f badgerstore.Fault) { list = append(list, problem(f)) })
	if err != nil {
		return err
	}
	whole := map[string]any{"problems": list, "partitions": sum.Partitions, "segments": sum.Segments, "items": sum.Items}
	if list == nil {
		whole["problems"] = []problem{}
	}
	if len(list) > 0 || e.output != outputTable {
		err := e.print(whole, anys(list), func(t *columns) {
			t.row("QUEUE", "PARTITION", "ITEMS", "PATH", "PROBLEM")
			for i := range list {
				p := &list[i]
				t.row(dash(p.Queue), p.Partition, p.items(), p.Path, p.Reason)
			}
		})
		if err != nil {
			return err
		}
	}
	e.note("Looked at %d partition(s), %d segment(s), %d item(s) with those that are done", sum.Partitions, sum.Segments, sum.Items)
	if len(list) > 0 {
		return fmt.Errorf("%d problem(s) found in %s", len(list), dir)
	}
	return nil
}

// backedUp is a partition of a back-up as JSON.
type backedUp struct {
	Queue     string `json:"queue_name"`
	Partition int    `json:"partition"`
	Items     int64  `json:"items"`
	Bytes     int64  `json:"bytes"`
	Segments  int    `json:"segments"`
	// MemoryOnly and Failure say why it has no items.
	MemoryOnly bool   `json:"memory_only,omitempty"`
	Failure    string `json:"failure,omitempty"`
}

// verifyBackups checks back-ups, and prints what the last of them has.
func (e *env) verifyBackups(files []string) error {
	chain, size, closeFiles, err := e.openChain(files)
	if err != nil {
		return err
	}
	defer closeFiles()
	var list []backedUp
	for _, q := range chain.Head.Queues {
		for _, p := range q.Partitions {
			list = append(list, backedUp{Queue: string(q.Name), Partition: p.Partition, Items: p.Items, Bytes: p.Bytes,
				Segments: p.Segments(), MemoryOnly: p.Volatile, Failure: p.Failure})
		}
	}
	missing := append(chain.Head.Failures(), chain.Lost...)
	whole := map[string]any{"id": chain.Head.ID, "created_at": chain.Head.CreatedAt, "kind": chain.Head.Kind, "partitions": list,
		"missing": missing}
	err = e.print(whole, anys(list), func(t *columns) {
		t.row("QUEUE", "PARTITION", "ITEMS", "BYTES", "SEGMENTS")
		for i := range list {
			t.row(list[i].Queue, list[i].Partition, list[i].Items, list[i].Bytes, list[i].Segments)
		}
	})
	if err != nil {
		return err
	}
	for _, m := range missing {
		e.note("Missing: %s", m)
	}
	e.note("Taken at %s; %d file(s), %s, all sound", timeText(chain.Head.CreatedAt), len(files), bytesText(size))
	if len(missing) > 0 {
		return fmt.Errorf("%d part(s) are missing in the back-up", len(missing))
	}
	return nil
}
