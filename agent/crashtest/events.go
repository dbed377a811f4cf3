package crashtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// flushTimeout is far beyond what the uplink needs for the events of a series.
const flushTimeout = 2 * time.Minute

// Event is an event as a receiver has it.
type Event struct {
	Queue     string
	Partition int
	Epoch     uint64
	Seq       uint64
	Type      queue.EventType
	Gap       *queue.Gap // for queue.EventGap only
	Reference string     // of the item; it names the item
	ItemLost  bool
}

// completion is the complete that an item left its queue by.
type completion struct {
	queue string
	start int // of the agent; see Book.start
}

// reference is the label that tells which item an event is about.
func reference(n uint64) string { return "item-" + strconv.FormatUint(n, 10) }

// numberOf is the inverse of reference.
func numberOf(reference string) (n uint64, err error) {
	text, ok := strings.CutPrefix(reference, "item-")
	if !ok {
		return 0, fmt.Errorf("the reference %q names no item", reference)
	}
	return strconv.ParseUint(text, 10, 64)
}

// begins notes that the agent is started.
func (b *Book) begins() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start++
}

// start starts the agent, and notes that.
func (r *Rounds) start() (*Process, error) {
	r.Book.begins()
	return r.Agent.Start()
}

// Flush has the uplink deliver all events, which it must be able to reach its
// server for, and returns the ledger of every partition. Drain comes before it.
func (r *Rounds) Flush(ctx context.Context) (Ledgers, error) {
	p, err := r.start()
	if err != nil {
		return nil, err
	}
	defer p.Kill()
	if err := p.Ready(readyTimeout); err != nil {
		return nil, err
	}
	late := time.Now().Add(flushTimeout)
	for {
		s, err := p.Client.ControlUplink(ctx, "flush", readyTimeout)
		if err != nil {
			return nil, fmt.Errorf("flush: %w", err)
		}
		if s.Left == 0 && s.State == "connected" {
			break
		}
		if time.Now().After(late) {
			return nil, fmt.Errorf("%d events cannot be delivered: %+v", s.Left, s)
		}
		rest(ctx, 50*time.Millisecond)
	}
	pic, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.audit(ctx, r.Agent.Binary); err != nil {
		return nil, err
	}
	return pic.ledgers(), r.judgeLog(p)
}

// Ledgers are what the partitions of queues count.
type Ledgers map[partitionName]partitionLedger

type partitionName struct {
	queue     string
	partition int
}

// partitionLedger is how many items left a partition in a way that has an event.
type partitionLedger struct{ completed, died uint64 }

// ledgers returns those of all partitions. Dead items are counted as such where
// there is no dead queue, else as moved out; from dead queues items are moved out
// by redrive, which has no event.
func (p *picture) ledgers() Ledgers {
	all := make(Ledgers)
	for _, q := range p.status.Queues {
		name := q.Info.GetQueueName()
		for _, part := range q.Partitions {
			l := part.Ledger
			sums := partitionLedger{completed: l.GetCompleted(), died: l.GetDead() + l.GetExpired()}
			if p.queues[name].DeadQueue != "" {
				sums.died += l.GetMovedOut()
			}
			all[partitionName{name, int(part.Partition)}] = sums
		}
	}
	return all
}

// eventCheck compares events with the book.
type eventCheck struct {
	book   *Book
	parts  map[partitionName]*eventTrack
	seen   map[uint64]bool // items whose event of completion is there
	starts map[uint64]int  // start of the agent, by epoch
}

// wrongStart marks an epoch that was reported already.
const wrongStart = -1

// eventTrack is what the events of a partition told so far.
type eventTrack struct {
	epochs       map[uint64]bool
	epoch, seq   uint64
	told, gapped partitionLedger
}

// CheckEvents compares all events that were delivered, those of each partition in
// their order, with the book and the ledgers: the events of a partition are
// numbered without a gap, every completed item has its event once, or is one of
// those that a gap event counts, and nothing else has one; all events of an epoch
// are of one start of the agent. What is wrong is added to Problems.
func (b *Book) CheckEvents(events []Event, ledgers Ledgers) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &eventCheck{
		book: b, parts: make(map[partitionName]*eventTrack), seen: make(map[uint64]bool), starts: make(map[uint64]int),
	}
	for i := range events {
		c.event(&events[i])
	}
	lasting := make(map[string]bool)
	for name, l := range ledgers {
		if !isPassing(name.queue) {
			lasting[name.queue] = true
			c.sums(name, l)
		}
	}
	missing := uint64(0)
	for n, done := range b.completed {
		if lasting[done.queue] && !c.seen[n] {
			missing++
		}
	}
	gapped := uint64(0)
	for name, track := range c.parts {
		if lasting[name.queue] {
			gapped += track.gapped.completed
		}
	}
	if missing != gapped {
		b.problem("%d completed items have no event, gap events count %d", missing, gapped)
	}
	b.totals.Events += len(events)
	b.totals.Gapped += int(gapped)
}

// event checks the next event of its partition.
func (c *eventCheck) event(e *Event) {
	name := partitionName{e.Queue, e.Partition}
	t := c.parts[name]
	if t == nil {
		t = &eventTrack{epochs: make(map[uint64]bool)}
		c.parts[name] = t
	}
	first := e.Seq
	if e.Gap != nil {
		first = e.Gap.First
	}
	// A queue that was deleted and created again begins anew.
	isNew := isPassing(e.Queue) && first == 1 && !t.epochs[e.Epoch]
	if first != t.seq+1 && !isNew && !(isPassing(e.Queue) && e.Gap != nil) {
		c.book.problem("event %d of %v follows event %d", first, name, t.seq)
	}
	if e.Epoch != t.epoch && t.epochs[e.Epoch] && e.Gap == nil {
		c.book.problem("event %d of %v is of epoch %x, which had ended", e.Seq, name, e.Epoch)
	}
	t.seq = e.Seq
	if e.Gap == nil {
		t.epoch = e.Epoch
		t.epochs[e.Epoch] = true
	}
	switch e.Type {
	case queue.EventCompleted:
		t.told.completed++
		c.completed(name, e)
	case queue.EventDead, queue.EventExpired:
		t.told.died++
	case queue.EventGap:
		t.gapped.completed += e.Gap.Completed
		t.gapped.died += e.Gap.Dead + e.Gap.Expired
		if e.Gap.Reason != queue.GapFull {
			c.book.problem("events %d to %d of %v are in a gap for the reason %q", e.Gap.First, e.Gap.Last, name, e.Gap.Reason)
		}
	default:
		c.book.problem("event %d of %v is of type %s, which nothing here has", e.Seq, name, e.Type)
	}
}

// completed checks the event of a completed item.
func (c *eventCheck) completed(name partitionName, e *Event) {
	b := c.book
	n, err := numberOf(e.Reference)
	switch {
	case e.ItemLost:
		b.problem("event %d of %v says that its item is lost", e.Seq, name)
		return
	case err != nil:
		b.problem("event %d of %v: %v", e.Seq, name, err)
		return
	case c.seen[n]:
		b.problem("event %d of %v is the second that says item %d was completed", e.Seq, name, n)
		return
	}
	c.seen[n] = true
	done, ok := b.completed[n]
	switch {
	case !ok && isPassing(e.Queue):
		return // The queue went before it could be seen whether the complete was done.
	case !ok:
		b.problem("event %d of %v says that item %d was completed, which it was not", e.Seq, name, n)
		return
	case done.queue != e.Queue:
		b.problem("event %d of %v says that item %d was completed, which was in %s", e.Seq, name, n, done.queue)
	}
	start, known := c.starts[e.Epoch]
	switch {
	case !known:
		c.starts[e.Epoch] = done.start
	case start != done.start && start != wrongStart:
		b.problem("event %d of %v has the epoch of start %d of the agent; item %d was completed after start %d",
			e.Seq, name, start, n, done.start)
		c.starts[e.Epoch] = wrongStart
	}
}

// sums compares the events of a partition with its ledger.
func (c *eventCheck) sums(name partitionName, l partitionLedger) {
	t := c.parts[name]
	if t == nil {
		t = &eventTrack{}
	}
	completed, died := t.told.completed+t.gapped.completed, t.told.died+t.gapped.died
	if completed != l.completed || died != l.died || t.seq != completed+died {
		c.book.problem("%v: events up to %d tell of %d completed and %d dead items (%d and %d of them in gaps), the ledger counts %d and %d",
			name, t.seq, completed, died, t.gapped.completed, t.gapped.died, l.completed, l.died)
	}
}

// String is the form used in reports.
func (n partitionName) String() string { return fmt.Sprintf("%s/%d", n.queue, n.partition) }
