package crashtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkPatience is the default of Book.Patience.
const checkPatience = 10 * time.Second

// Check compares all that the agent holds with the book, and takes what it finds
// for what became of the changes that were under way. Nobody else uses the agent
// meanwhile. What is wrong is added to Problems.
func (b *Book) Check(ctx context.Context, p *Process) error {
	deadline := time.Now().Add(b.Patience)
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		pic, err := p.look(ctx)
		if err != nil {
			return fmt.Errorf("check: %w", err)
		}
		v := b.compare(pic)
		if len(v.wrong) == 0 || time.Now().After(deadline) {
			b.settleAll(v)
			return nil
		}
		<-every.C
	}
}

// verdict is what a picture says about the book. Nothing is changed in the book
// before it is accepted.
type verdict struct {
	pic   *picture
	seen  map[uint64]*sighting
	wrong []string
	// What the changes and batches under way came to.
	came, never      []*batch
	applied, dropped []*change
	here, notHere    []string // queues
}

func (v *verdict) bad(format string, args ...any) {
	if len(v.wrong) < maxProblems {
		v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
	}
}

func (b *Book) compare(pic *picture) *verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := &verdict{pic: pic, seen: make(map[uint64]*sighting)}
	if n := pic.moving(); n > 0 {
		v.bad("%d items are on their way between queues and do not arrive", n)
	}
	b.compareQueues(v)
	problems := len(b.problems)
	for i := range pic.items {
		b.compareItem(v, &pic.items[i])
	}
	// What find notes counts only if it persists.
	v.wrong = append(v.wrong, b.problems[problems:]...)
	b.problems = b.problems[:problems]
	b.compareOrder(v)
	b.compareBatches(v)
	b.compareChanges(v)
	b.compareMissing(v)
	b.compareHeld(v)
	b.compareLedgers(v)
	return v
}

func (b *Book) compareQueues(v *verdict) {
	for name, q := range b.queues {
		info, ok := v.pic.queues[name]
		switch {
		case ok && q.state == absent:
			v.bad("queue %s, which was deleted, is back", name)
		case !ok && q.state == present:
			v.bad("queue %s, whose create was acknowledged, is not there", name)
		case ok && q.state != present:
			v.here = append(v.here, name)
		case !ok && q.state != absent:
			v.notHere = append(v.notHere, name)
		}
		info.CreatedAt, info.UpdatedAt = q.info.CreatedAt, q.info.UpdatedAt
		if ok && info != q.info {
			v.bad("queue %s is %+v, it was created as %+v", name, info, q.info)
		}
	}
	for name := range v.pic.queues {
		if b.queues[name] == nil {
			v.bad("queue %s was never created", name)
		}
	}
}

func (b *Book) compareItem(v *verdict, s *sighting) {
	it := b.find(s.Payload, fmt.Sprintf("in %s/%d under %s (leased: %v, scheduled: %v, attempts: %d)",
		s.queue, s.partition, s.ID, s.IsLeased, s.scheduled, s.Attempts))
	if it == nil {
		return
	}
	if other := v.seen[it.n]; other != nil {
		v.bad("%v is there twice: in %s/%d under %s and in %s/%d under %s", it, other.queue, other.partition, other.ID,
			s.queue, s.partition, s.ID)
		return
	}
	v.seen[it.n] = s
	if bad := b.moved(it, s.queue, s.Attempts); bad != "" {
		v.bad("%s", bad)
	}
	if b.cut && s.IsLeased {
		v.bad("%v is leased after a power cut, which all its holders died in", it)
	}
	if it.deadSent && it.change == nil && s.queue == it.at {
		v.bad("%v was given back as dead, which was acknowledged, and is there still", it)
	}
	if s.Kind != it.kind {
		v.bad("%v has kind %q, not %q", it, s.Kind, it.kind)
	}
	if s.queue == it.home && it.at == it.home && s.SourceID != it.sourceID {
		v.bad("%v has source id %q, not %q", it, s.SourceID, it.sourceID)
	}
}

// compareOrder checks the items that have the place they were produced to.
func (b *Book) compareOrder(v *verdict) {
	type order struct {
		queue string
		track
	}
	last := make(map[order]uint64)
	for i := range v.pic.items {
		s := &v.pic.items[i]
		n, err := readPayload(s.Payload)
		it := b.items[n]
		if err != nil || it == nil || s.scheduled || it.loose || !it.due.IsZero() || s.queue != it.home {
			continue
		}
		if s.Attempts > 1 || s.Attempts == 1 && !s.IsLeased {
			continue // It was given back, by a lease that was lost or lapsed.
		}
		o := order{s.queue, track{s.partition, it.producer}}
		if before, ok := last[o]; ok && before > n {
			v.bad("%v is behind item %d of the same producer in %s/%d", it, before, s.queue, s.partition)
		}
		last[o] = n
	}
}

// compareBatches decides about batches whose produce was not answered.
func (b *Book) compareBatches(v *verdict) {
	looked := make(map[*batch]bool)
	for _, it := range b.items {
		bt := it.batch
		if bt.acked || looked[bt] || b.isGone(v, bt.queue) {
			continue
		}
		looked[bt] = true
		here := 0
		for _, it := range bt.items {
			if v.seen[it.n] != nil {
				here++
			}
		}
		switch here {
		case 0:
			v.never = append(v.never, bt)
		case len(bt.items):
			v.came = append(v.came, bt)
		default:
			v.bad("a batch of %d items to queue %s, whose produce was under way, is there in part: %d of them (first %v)",
				len(bt.items), bt.queue, here, bt.items[0])
		}
	}
}

// isGone reports whether the queue is not there and need not be.
func (b *Book) isGone(v *verdict, queue string) bool {
	_, ok := v.pic.queues[queue]
	return !ok && b.queues[queue] != nil && b.queues[queue].state != present
}

// compareChanges decides about changes that were not answered.
func (b *Book) compareChanges(v *verdict) {
	for _, c := range b.unknown {
		if b.isGone(v, c.queue) {
			continue
		}
		here, known := 0, 0
		for _, it := range c.items {
			if b.items[it.n] == nil {
				continue // Another change has settled it since.
			}
			known++
			if s := v.seen[it.n]; s != nil {
				here++
			}
		}
		isRemoval := c.kind == changeComplete || c.kind == changeDelete || c.kind == changeClear
		switch {
		case !isRemoval || here == known && known > 0:
			v.dropped = append(v.dropped, c)
		case here == 0:
			v.applied = append(v.applied, c)
		case c.kind == changeClear: // It is a change of each partition.
			v.applied = append(v.applied, c)
		default:
			v.bad("a change of %d items of %s/%d (kind %d), which was under way, was done in part: %d are there still (first %v)",
				known, c.queue, c.partition, c.kind, here, c.items[0])
		}
	}
}

// compareMissing looks for items that are not there and should be.
func (b *Book) compareMissing(v *verdict) {
	excused := make(map[uint64]bool)
	for _, c := range v.applied {
		for _, it := range c.items {
			excused[it.n] = true
		}
	}
	for _, it := range b.items {
		if v.seen[it.n] != nil || excused[it.n] || !it.batch.acked || b.isGone(v, it.at) {
			continue
		}
		what := ""
		if c := it.change; c != nil {
			what = fmt.Sprintf("; a change of kind %d is not answered", c.kind)
		}
		v.bad("%v is lost; its produce was acknowledged (batch of %d, %d bytes, due %v)%s",
			it, len(it.batch.items), it.size, it.due, what)
	}
}

// compareHeld checks that leases with time left are held under their ids.
func (b *Book) compareHeld(v *verdict) {
	now := time.Now()
	for _, l := range slices.Concat(b.held, b.kept) {
		for i, it := range l.items {
			s := v.seen[it.n]
			if s == nil || now.After(l.until) || it.change != nil {
				continue
			}
			if !s.IsLeased || s.ID != l.ids[i] {
				v.bad("%v was leased under %s until at least %s from now; it is under %s, leased: %v, deadline %v",
					it, l.ids[i], l.until.Sub(now), s.ID, s.IsLeased, s.LeaseDeadline)
			}
		}
	}
}

// compareLedgers checks the sums of each queue.
func (b *Book) compareLedgers(v *verdict) {
	for _, q := range v.pic.status.Queues {
		if strings.HasPrefix(q.Info.GetQueueName(), beside) {
			continue
		}
		if q.Failure != "" {
			v.bad("queue %s: %s", q.Info.GetQueueName(), q.Failure)
		}
		name := q.Info.GetQueueName()
		var produced, completed, deleted uint64
		for _, p := range q.Partitions {
			l := p.Ledger
			in := l.GetProduced() + l.GetImported() + l.GetMovedIn()
			out := l.GetCompleted() + l.GetDead() + l.GetExpired() + l.GetCleared() + l.GetDeleted() +
				l.GetDropped() + l.GetQuarantined() + l.GetMovedOut()
			held := uint64(p.Ready + p.Leased + p.Scheduled + p.Moving)
			if p.Failure != "" {
				v.bad("queue %s, partition %d: %s", name, p.Partition, p.Failure)
			} else if in-out != held {
				v.bad("the ledger of %s/%d does not add up: in %d, out %d, held %d: %v", name, p.Partition, in, out, held, l)
			}
			produced, completed, deleted = produced+l.GetProduced(), completed+l.GetCompleted(), deleted+l.GetDeleted()
		}
		b.compareCounts(v, name, int(produced), int(completed), int(deleted))
	}
}

// compareCounts compares the ledger of a queue with the book.
func (b *Book) compareCounts(v *verdict, name string, produced, completed, deleted int) {
	q := b.queues[name]
	if q == nil {
		return
	}
	p, c, d := q.produced, q.completed, q.deleted
	for _, bt := range v.came {
		if bt.queue == name {
			p += len(bt.items)
		}
	}
	for _, ch := range v.applied {
		if ch.queue != name {
			continue
		}
		for _, it := range ch.items {
			switch {
			case b.items[it.n] == nil:
			case ch.kind == changeComplete:
				c++
			case ch.kind == changeDelete:
				d++
			}
		}
	}
	if p != produced || c != completed || d != deleted {
		v.bad("the ledger of %s counts %d produced, %d completed, %d deleted; there were %d, %d, %d",
			name, produced, completed, deleted, p, c, d)
	}
}

// settleAll accepts a verdict.
func (b *Book) settleAll(v *verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range v.wrong {
		b.problem("%s", w)
	}
	b.totals.Checked += len(v.pic.items)
	for _, name := range v.here {
		b.queues[name].state = present
	}
	for _, bt := range v.came {
		b.arrived(bt)
	}
	for _, bt := range v.never {
		b.forgetBatch(bt)
	}
	for _, c := range v.applied {
		b.settleChange(v, c)
	}
	for _, name := range v.notHere {
		b.gone(name)
	}
	b.unknown = nil
	b.redriving, b.cut = false, false
	for _, q := range b.queues {
		q.lost = 0
	}
	for n, it := range b.items {
		if s := v.seen[n]; s != nil {
			it.settle(s.queue, s.Attempts)
			it.sure = s.Attempts
			it.change, it.deadSent = nil, false
		}
	}
}

// settleChange notes that a change under way was made.
func (b *Book) settleChange(v *verdict, c *change) {
	left := *c
	left.items = nil
	for _, it := range c.items {
		if b.items[it.n] != nil && v.seen[it.n] == nil {
			left.items = append(left.items, it)
		}
	}
	b.applied(&left)
}

// String is the summary line of a test.
func (t Totals) String() string {
	var s strings.Builder
	if t.Cuts > 0 {
		fmt.Fprintf(&s, "%d power cuts, ", t.Cuts)
	}
	fmt.Fprintf(&s, "%d kills, %d operations, %d items acknowledged, %d completed, ", t.Kills, t.Operations, t.Acknowledged, t.Completed)
	fmt.Fprintf(&s, "%d in flight when the agent ended, %d looked at", t.Unknown, t.Checked)
	if t.Events > 0 {
		fmt.Fprintf(&s, ", %d events delivered, %d more items in gaps", t.Events, t.Gapped)
	}
	return s.String()
}
