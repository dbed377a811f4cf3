package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// auditPage is how many queues are listed at a time.
const auditPage = 1000

func (e *env) auditCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "audit [QUEUE]",
		Short: "Count all items on flash and compare them with the books",
		Long: `Count all items of a queue, or of all queues, as they lie on flash, and compare them with what the agent keeps
about them: the totals and the ledger (IN is what was produced, imported and moved in, OUT what was completed,
expired and so on; the difference is what is held). A partition serves nobody while it is counted, for about a
second for a million items. Exits with 1 if anything does not add up.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var found []client.PartitionAudit
			var err error
			if len(args) == 1 {
				found, err = e.auditQueue(cmd.Context(), args[0])
			} else {
				found, err = e.auditAll(cmd.Context())
			}
			if err != nil {
				return err
			}
			return e.auditReport(found)
		},
	}
}

// auditQueue audits one queue, in one request.
func (e *env) auditQueue(ctx context.Context, queue string) ([]client.PartitionAudit, error) {
	ctx, cancel := e.limited(ctx)
	defer cancel()
	return e.client().Audit(ctx, queue)
}

// auditAll audits queue after queue, so that no request takes longer than the largest queue.
func (e *env) auditAll(ctx context.Context) ([]client.PartitionAudit, error) {
	found := []client.PartitionAudit{}
	shown := e.progress()
	defer shown.done()
	done := 0
	for pivot := ""; ; {
		call, cancel := e.limited(ctx)
		queues, err := e.client().ListQueues(call, pivot, auditPage)
		cancel()
		if err != nil {
			return nil, err
		}
		for _, q := range queues {
			some, err := e.auditQueue(ctx, q.Name)
			if err != nil && !errors.Is(err, client.ErrNotFound) { // It may have been deleted meanwhile.
				return nil, fmt.Errorf("queue '%s': %w", q.Name, err)
			}
			found = append(found, some...)
			done++
			shown.show("%d queues", done)
		}
		if len(queues) < auditPage {
			return found, nil
		}
		pivot = queues[len(queues)-1].Name + "\x00" // No name lies between the two.
	}
}

// auditReport prints what was found, and returns an error if anything is wrong.
func (e *env) auditReport(found []client.PartitionAudit) error {
	wrong := 0
	for i := range found {
		if !found[i].OK() {
			wrong++
		}
	}
	whole := struct {
		OK         bool                    `json:"ok"`
		Partitions []client.PartitionAudit `json:"partitions"`
	}{wrong == 0, found}
	if err := e.print(whole, anys(found), func(t *columns) { auditTable(t, found) }); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d partition(s) do not add up", wrong, len(found))
	}
	e.note("%d partition(s) add up", len(found))
	return nil
}

func auditTable(t *columns, found []client.PartitionAudit) {
	t.row("QUEUE", "PARTITION", "READY", "LEASED", "SCHEDULED", "MOVING", "BYTES", "IN", "OUT", "RESULT")
	for i := range found {
		a := &found[i]
		l, result := &a.Ledger, "ok"
		switch {
		case a.Failure != "":
			result = "FAILED"
		case !a.OK():
			result = "DIFFERS"
		}
		out := l.Completed + l.Dead + l.Expired + l.Cleared + l.Deleted + l.Dropped + l.Quarantined + l.MovedOut
		t.row(a.Queue, a.Partition, a.Ready, a.Leased, a.Scheduled, a.Moving, bytesText(a.Bytes),
			l.Produced+l.Imported+l.MovedIn, out, result)
	}
	for i := range found {
		a := &found[i]
		place := fmt.Sprintf("queue '%s' partition %d: ", a.Queue, a.Partition)
		if a.Failure != "" {
			t.row(place + a.Failure)
		}
		for _, d := range a.Differences {
			t.row(place + d)
		}
	}
}
