package queue

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Audit is what was found in one partition when its items were counted.
type Audit struct {
	Queue     string
	Partition int
	// Ready, Leased, Scheduled and Moving are the items that were found.
	Ready, Leased, Scheduled, Moving int64
	Bytes                            int64 // the sum of their Item.Size
	Ledger                           Ledger
	// Events is how many events were found that are to be delivered; Outbox is
	// what the books say of all.
	Events uint64
	Outbox OutboxState
	// Differences says in words what does not agree; empty is good.
	Differences []string
	// Failure is why the partition could not be audited; nil if it was.
	Failure error
}

// Audit counts all items of the queue on flash, and compares them with the
// totals and the ledger of each partition. A partition serves nobody while it
// is counted, for about a second for a million items.
func (q *Queue) Audit(ctx context.Context) []Audit {
	var all []Audit
	for _, p := range q.core.parts {
		var found Audit
		err := q.call(ctx, p, func() error {
			return p.reading(func() error {
				found = Audit{Queue: q.core.name, Partition: p.key.Partition}
				return p.audit(ctx, &found)
			})
		})
		if err != nil {
			all = append(all, Audit{Queue: q.core.name, Partition: p.key.Partition, Failure: err})
			continue
		}
		all = append(all, found)
	}
	return all
}

func (p *partition) audit(ctx context.Context, a *Audit) error {
	st := p.st
	a.Ledger = st.Totals.Ledger
	created, err := p.countReady(ctx, a)
	if err != nil {
		return err
	}
	if err := p.countHeld(a); err != nil {
		return err
	}
	if err := p.auditEvents(ctx, a); err != nil {
		return err
	}
	differ := func(what string, found, kept int64) {
		if found != kept {
			a.Differences = append(a.Differences, fmt.Sprintf("%s: found %d, expected %d", what, found, kept))
		}
	}
	differ("ready items", a.Ready, st.Totals.Ready)
	differ("bytes of items", a.Bytes, st.Totals.Bytes)
	differ("creation times of ready items (sum of ms)", created, st.Totals.ReadyCreated)
	differ("items by the ledger", a.Ready+a.Leased+a.Scheduled+a.Moving, int64(st.Totals.Ledger.In()-st.Totals.Ledger.Out()))
	return nil
}

// countReady reads all ready items.
func (p *partition) countReady(ctx context.Context, a *Audit) (created int64, err error) {
	last := uint64(0)
	for next := p.st.Totals.Cursor; next < p.st.Next; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		chunks, n, err := p.ps.Read(next, 1000, 1<<20)
		if err != nil {
			return 0, err
		}
		for it := range chunks.All() {
			if it.Seq() < last {
				a.Differences = append(a.Differences, fmt.Sprintf("item %s is out of order", it.ID))
			}
			last = it.Seq()
			a.Ready++
			a.Bytes += it.Size()
			created += it.CreatedAt.UnixNano() / int64(time.Millisecond)
		}
		if len(chunks) == 0 || n <= next {
			break
		}
		next = n
	}
	return created, nil
}

// countHeld reads all leased and scheduled items.
func (p *partition) countHeld(a *Audit) error {
	var seqs []uint64
	for seq, l := range p.st.Leases {
		if l.IsMoving() {
			a.Moving++
		} else {
			a.Leased++
		}
		seqs = append(seqs, seq)
	}
	for seq := range p.st.Scheduled {
		a.Scheduled++
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for chunk := range slices.Chunk(seqs, 64) {
		items, err := p.ps.Get(chunk)
		if err != nil {
			return err
		}
		for i := range items {
			a.Bytes += items[i].Size()
		}
	}
	return nil
}
