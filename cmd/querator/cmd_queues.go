package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	defaultLeaseTimeout = time.Minute
	// expirePerLease and leastExpire give the expire timeout of a queue that is created without one: an item
	// outlives a night without its consumer.
	expirePerLease = 60
	leastExpire    = 24 * time.Hour
)

func (e *env) queuesCommand() *cobra.Command {
	return group("queues", "Create, change, list and delete queues",
		e.createCommand(), e.updateCommand(), e.listCommand(), e.infoCommand(), e.deleteCommand())
}

// queueFlags adds the flags of create and update to cmd.
func queueFlags(cmd *cobra.Command, q *client.QueueInfo) {
	f := cmd.Flags()
	f.DurationVar(&q.LeaseTimeout, "lease-timeout", q.LeaseTimeout, "how long a lease lasts")
	f.DurationVar(&q.ExpireTimeout, "expire-timeout", 0, "how long an item is kept (create: default 24h, or 60 x the lease timeout if that is more)")
	f.IntVar(&q.MaxAttempts, "max-attempts", 0, "leases after which an item is dead; 0 is no limit")
	f.StringVar(&q.DeadQueue, "dead-queue", "", "queue for items that are out of attempts or expired; empty drops them")
	f.StringVar(&q.Reference, "reference", "", "a note")
	f.IntVar(&q.Partitions, "partitions", q.Partitions, "number of partitions")
	f.Int64Var(&q.MaxItems, "max-items", 0, "most items that the queue may hold; 0 is no limit")
	f.Var((*sizeFlag)(&q.MaxBytes), "max-bytes", "most bytes of payloads and labels that it may hold, such as 256MiB; 0 is no limit")
	f.StringVar(&q.FullPolicy, "full-policy", q.FullPolicy, "what becomes of a produce beyond them: "+
		client.FullReject+" or "+client.FullDropOldest)
	f.BoolVar(&q.ReleaseOnExit, "release-on-exit", false, "leases end when the process that leased ends, unless a lease says otherwise")
}

func (e *env) createCommand() *cobra.Command {
	q := client.QueueInfo{LeaseTimeout: defaultLeaseTimeout, Partitions: 1, FullPolicy: client.FullReject}
	cmd := &cobra.Command{
		Use:     "create QUEUE",
		Short:   "Create a queue",
		Example: "  querator queues create readings --max-attempts 5 --dead-queue failed-readings",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Name = args[0]
			if !cmd.Flags().Changed("expire-timeout") {
				q.ExpireTimeout = max(expirePerLease*q.LeaseTimeout, leastExpire)
			}
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			if err := e.client().CreateQueue(ctx, q); err != nil {
				return err
			}
			return e.report(q, "Successfully created queue '%s' (partitions: %d)", q.Name, q.Partitions)
		},
	}
	queueFlags(cmd, &q)
	return cmd
}

func (e *env) updateCommand() *cobra.Command {
	var q client.QueueInfo
	cmd := &cobra.Command{
		Use:   "update QUEUE",
		Short: "Change options of a queue; those that are not given stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			now, err := e.client().QueueInfo(ctx, args[0])
			if err != nil {
				return err
			}
			if !mergeQueue(cmd, &now, &q) {
				return usagef("nothing to change is given")
			}
			if err := e.client().UpdateQueue(ctx, now); err != nil {
				return err
			}
			return e.report(now, "Successfully updated queue '%s'", now.Name)
		},
	}
	queueFlags(cmd, &q)
	return cmd
}

// mergeQueue puts the options that were given over those that the queue has, and reports whether any was.
func mergeQueue(cmd *cobra.Command, now, given *client.QueueInfo) bool {
	any := false
	set := func(flag string, apply func()) {
		if cmd.Flags().Changed(flag) {
			any = true
			apply()
		}
	}
	set("lease-timeout", func() { now.LeaseTimeout = given.LeaseTimeout })
	set("expire-timeout", func() { now.ExpireTimeout = given.ExpireTimeout })
	set("max-attempts", func() { now.MaxAttempts = given.MaxAttempts })
	set("dead-queue", func() { now.DeadQueue = given.DeadQueue })
	set("reference", func() { now.Reference = given.Reference })
	set("partitions", func() { now.Partitions = given.Partitions })
	set("max-items", func() { now.MaxItems = given.MaxItems })
	set("max-bytes", func() { now.MaxBytes = given.MaxBytes })
	set("release-on-exit", func() { now.ReleaseOnExit = given.ReleaseOnExit })
	set("full-policy", func() { now.FullPolicy = given.FullPolicy })
	return any
}

func (e *env) listCommand() *cobra.Command {
	var pivot string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List queues by name",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			list, err := e.client().ListQueues(ctx, pivot, limit)
			if err != nil {
				return err
			}
			whole := struct {
				Queues []client.QueueInfo `json:"queues"`
				Count  int                `json:"count"`
			}{list, len(list)}
			err = e.print(whole, anys(list), func(t *columns) {
				t.row("QUEUE", "LEASE", "EXPIRE", "ATTEMPTS", "DEAD QUEUE", "PARTITIONS", "LIMIT", "CREATED", "REFERENCE")
				for _, q := range list {
					t.row(q.Name, durationText(q.LeaseTimeout), durationText(q.ExpireTimeout), countLimit(int64(q.MaxAttempts)),
						dash(q.DeadQueue), q.Partitions, quotaText(&q), timeText(q.CreatedAt), q.Reference)
				}
			})
			if err == nil {
				e.note("Found %d queue(s)", len(list))
			}
			return err
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "most queues to list")
	cmd.Flags().StringVar(&pivot, "pivot", "", "begin with this name")
	return cmd
}

// quotaText says in one cell what a queue may hold, and what becomes of a produce beyond it.
func quotaText(q *client.QueueInfo) string {
	var parts []string
	if q.MaxItems > 0 {
		parts = append(parts, fmt.Sprintf("%d items", q.MaxItems))
	}
	if q.MaxBytes > 0 {
		parts = append(parts, bytesText(q.MaxBytes))
	}
	if len(parts) == 0 && q.FullPolicy == client.FullReject {
		return "-"
	}
	return strings.Join(append(parts, q.FullPolicy), ", ")
}

func countLimit(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprint(n)
}

func byteLimit(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return bytesText(n)
}

func (e *env) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info QUEUE",
		Short: "Show the options of a queue",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := e.limited(cmd.Context())
			defer cancel()
			q, err := e.client().QueueInfo(ctx, args[0])
			if err != nil {
				return err
			}
			return e.print(q, nil, func(t *columns) {
				t.row("queue", q.Name)
				t.row("lease timeout", durationText(q.LeaseTimeout))
				t.row("expire timeout", durationText(q.ExpireTimeout))
				t.row("max attempts", countLimit(int64(q.MaxAttempts)))
				t.row("dead queue", dash(q.DeadQueue))
				t.row("partitions", q.Partitions)
				t.row("max items", countLimit(q.MaxItems))
				t.row("max bytes", byteLimit(q.MaxBytes))
				t.row("full policy", q.FullPolicy)
				t.row("release on exit", q.ReleaseOnExit)
				t.row("reference", dash(q.Reference))
				t.row("created", timeText(q.CreatedAt))
				t.row("updated", timeText(q.UpdatedAt))
			})
		},
	}
}

func (e *env) deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete QUEUE",
		Short: "Remove a queue with all its items",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.queueCall(cmd.Context(), args[0], e.client().DeleteQueue, "Successfully deleted queue '%s'")
		},
	}
	cmd.Flags().Bool("force", false, "accepted for scripts; items never keep a queue from being deleted")
	return cmd
}

// queueCall makes a call that takes the name of a queue and returns nothing.
func (e *env) queueCall(ctx context.Context, queue string, call func(context.Context, string) error, note string) error {
	ctx, cancel := e.limited(ctx)
	defer cancel()
	if err := call(ctx, queue); err != nil {
		return err
	}
	return e.report(map[string]string{"queue_name": queue}, note, queue)
}
