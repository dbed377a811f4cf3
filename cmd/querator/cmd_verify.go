package main

import (
	"fmt"

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
		Use:   "verify DIR",
		Short: "Look for damage in a data directory that no agent uses",
		Long: `Read all that is stored in DIR, the data directory of an agent or one of its storage directories, and print
what is damaged: queue, partition, sequence numbers and file. Nothing is repaired; the agent does that when it
starts, and keeps what is damaged in a directory named quarantine. Exits with 1 when anything is damaged, with 69
while an agent uses the directory.`,
		Example: "  querator verify /var/lib/querator",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return e.verify(args[0]) },
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
