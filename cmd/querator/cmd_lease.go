package main

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// leasedItem is a leased item as JSON.
type leasedItem struct {
	Queue         string    `json:"queue_name"`
	Partition     int       `json:"partition"`
	ID            string    `json:"id"`
	Attempts      int       `json:"attempts"`
	LeaseDeadline time.Time `json:"lease_deadline,omitzero"`
	Encoding      string    `json:"encoding,omitempty"`
	Kind          string    `json:"kind,omitempty"`
	Reference     string    `json:"reference,omitempty"`
	Payload       []byte    `json:"payload"` // base64
	// Text is the payload again if it is UTF-8.
	Text *string `json:"text,omitempty"`
}

func (e *env) leaseCommand() *cobra.Command {
	var o client.LeaseOptions
	cmd := &cobra.Command{
		Use:   "lease QUEUE",
		Short: "Take items under a lease, waiting for the first one",
		Long: `Take items under a lease. The command waits up to --timeout for the first one and exits with 3 if none came.
Before the lease deadline each item has to be completed, retried or extended, with its partition and its id;
else somebody else gets it.`,
		Example: `  querator lease readings
  querator lease readings -b 100 --timeout 5s --output jsonl | jq -r .text`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Wait = e.timeout
			return e.lease(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&o.BatchSize, "batch-size", "b", 1, "most items to take")
	f.StringVarP(&o.ClientID, "client-id", "c", "", "name of this waiting request (default random)")
	f.DurationVar(&o.LeaseTimeout, "lease-timeout", 0, "how long the lease lasts (default the queue's)")
	return cmd
}

func (e *env) lease(ctx context.Context, queue string, o client.LeaseOptions) error {
	if o.BatchSize < 1 {
		return usagef("--batch-size %d is invalid; it must be at least 1", o.BatchSize)
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout+grace)
	defer cancel()
	items, err := e.client().Lease(ctx, queue, o)
	if err != nil {
		return err
	}
	list := make([]leasedItem, len(items))
	partition := 0
	for i, it := range items {
		partition = it.Partition
		list[i] = leasedItem{
			Queue: it.Queue, Partition: it.Partition, ID: it.ID, Attempts: it.Attempts, LeaseDeadline: it.LeaseDeadline,
			Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference, Payload: it.Payload,
		}
		if text := string(it.Payload); utf8.ValidString(text) {
			list[i].Text = &text
		}
	}
	whole := struct {
		Queue     string       `json:"queue_name"`
		Partition int          `json:"partition"`
		Items     []leasedItem `json:"items"`
	}{queue, partition, list}
	err = e.print(whole, anys(list), func(t *columns) {
		t.row("PARTITION", "ID", "ATTEMPTS", "LEASE DEADLINE", "PAYLOAD")
		for _, it := range items {
			t.row(it.Partition, it.ID, it.Attempts, timeText(it.LeaseDeadline), preview(it.Payload))
		}
	})
	if err == nil {
		e.note("Successfully leased %d item(s) from queue '%s'", len(items), queue)
	}
	return err
}
