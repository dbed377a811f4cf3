package memstore

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

const (
	// spanItems is how many items a span takes before the next one begins. A
	// commit is never divided, so that a span may have more.
	spanItems = 1 << 16
	// itemCost is what an item takes beside queue.Item.Size: the struct, its
	// pointer and its entry in the map of source ids.
	itemCost = 256
)

// partition is what is kept of a partition, open or not.
type partition struct {
	storage *Storage
	key     queue.PartitionKey
	open    bool // guarded by Storage.mu

	// The rest belongs to whoever has the partition open.
	boot     string
	state    *queue.State
	spans    []*span           // ascending; the last one takes new items
	sources  map[string]uint64 // source ids of the items that are held
	fresh    bool              // the next commit with items begins a span
	swept    uint64            // what the cursor passed is freed up to here
	bytes    int64             // what its items take of the storage's bound
	reserved int64             // what Reserve took of it
	first    uint64            // what Reserve answered
	told     told
}

// span is a run of items with consecutive sequence numbers.
type span struct {
	no    uint64
	boot  string
	items []*queue.Item // by index; nil when gone
	live  int           // how many are not
}

func (s *span) first() uint64 { return s.no << queue.SpanBits }

// handle is one opening of a partition. It refuses everything once it is closed
// or has failed.
type handle struct {
	p      *partition
	err    error
	closed bool
}

// State returns the partition's state.
func (h *handle) State() *queue.State { return h.p.state }

// Reserve makes room, which the next call of Reserve or Commit gives back.
func (h *handle) Reserve(items int, size int64) (uint64, error) {
	return h.reserve(items, size, h.p.storage.max)
}

// ReserveMove is Reserve for items whose copies take the place of others.
func (h *handle) ReserveMove(items int, size int64) (uint64, error) {
	return h.reserve(items, size, math.MaxInt64)
}

// reserve makes room where no more than limit is used then.
func (h *handle) reserve(items int, size, limit int64) (uint64, error) {
	if h.err != nil {
		return 0, h.err
	}
	p := h.p
	p.release()
	need := size + int64(items)*itemCost
	if !p.storage.reserve(need, limit) {
		return 0, &queue.Error{
			Kind: queue.ErrFull, Op: "reserve", Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: fmt.Sprintf("the memory store is full: it holds %d of %d bytes, the request needs %d",
				p.storage.used.Load(), p.storage.max, need),
			Hint: "complete or clear items, or raise the store's limit",
		}
	}
	p.reserved, p.first = need, p.nextSeq()
	return p.first, nil
}

// nextSeq returns the sequence number of the next item to be added.
func (p *partition) nextSeq() uint64 {
	next := p.state.Next
	index := next & (queue.MaxSpanItems - 1)
	if index > 0 && (p.fresh || index >= spanItems) {
		return (queue.Span(next) + 1) << queue.SpanBits
	}
	return next
}

func (p *partition) release() {
	p.storage.used.Add(-p.reserved)
	p.reserved = 0
}

// Commit copies the new items and frees those that are gone.
func (h *handle) Commit(c *queue.Commit) error {
	if h.err != nil {
		return h.err
	}
	p := h.p
	if err := p.check(c); err != nil {
		return h.fail(err)
	}
	p.release()
	if len(c.Items) > 0 {
		p.add(c)
	}
	p.tell(c)
	for _, seq := range c.Removed {
		p.free(seq)
	}
	p.sweep(c.Totals.Cursor)
	p.forget(c)
	return nil
}

// check refuses a commit that was not prepared as the interface asks for.
func (p *partition) check(c *queue.Commit) error {
	n := len(c.Items)
	switch {
	case int(c.Added.Count) != n:
		return p.bug("a commit of %d items says that it adds %d", n, c.Added.Count)
	case n > 0 && c.Added.First != p.first:
		return p.bug("items begin at %d, reserved was %d", c.Added.First, p.first)
	case n > 0 && p.state.Next != p.first+uint64(n):
		return p.bug("the state's next is %d after %d items from %d on", p.state.Next, n, p.first)
	case c.Totals != p.state.Totals:
		return p.bug("the commit's totals differ from the state's")
	}
	if n == 0 {
		return nil
	}
	var need int64
	for i := range c.Items {
		need += c.Items[i].Size() + itemCost
	}
	if need > p.reserved {
		return p.bug("a commit takes %d bytes, reserved were %d", need, p.reserved)
	}
	return nil
}

// add stores the items of a commit.
func (p *partition) add(c *queue.Commit) {
	no := queue.Span(c.Added.First)
	if n := len(p.spans); n == 0 || p.spans[n-1].no != no {
		p.spans = append(p.spans, &span{no: no, boot: p.boot})
	}
	sp := p.spans[len(p.spans)-1]
	var prev *queue.Item
	for i := range c.Items {
		it := copyItem(&c.Items[i], prev)
		seq := c.Added.First + uint64(i)
		it.ID, it.Written = queue.NewID(seq, p.key.Tag), c.At
		sp.items = append(sp.items, it)
		sp.live++
		if it.SourceID != "" {
			p.sources[it.SourceID] = seq
		}
		p.charge(it.Size() + itemCost)
		prev = it
	}
	p.fresh = false
}

// copyItem copies the item and everything that it refers to, so that it keeps
// nothing of a request's buffers alive. Labels that repeat are shared.
func copyItem(it, prev *queue.Item) *queue.Item {
	c := *it
	c.Payload = bytes.Clone(it.Payload)
	c.SourceID = strings.Clone(it.SourceID)
	if prev != nil && prev.Encoding == it.Encoding && prev.Kind == it.Kind && prev.Reference == it.Reference {
		c.Encoding, c.Kind, c.Reference = prev.Encoding, prev.Kind, prev.Reference
	} else {
		c.Encoding, c.Kind, c.Reference = strings.Clone(it.Encoding), strings.Clone(it.Kind), strings.Clone(it.Reference)
	}
	for _, t := range []*time.Time{&c.CreatedAt, &c.ExpireDeadline, &c.LeaseDeadline, &c.EnqueueAt} {
		*t = t.Round(0).UTC()
	}
	return &c
}

// free drops an item that is gone.
func (p *partition) free(seq uint64) {
	i, ok := p.find(queue.Span(seq))
	if !ok {
		return
	}
	sp := p.spans[i]
	index := seq - sp.first()
	if index >= uint64(len(sp.items)) || sp.items[index] == nil {
		return
	}
	it := sp.items[index]
	if at, ok := p.sources[it.SourceID]; ok && at == seq {
		delete(p.sources, it.SourceID)
	}
	if p.told.refs[seq] > 0 {
		p.told.items[seq] = it
	} else {
		p.charge(-it.Size() - itemCost)
	}
	sp.items[index] = nil
	sp.live--
	if sp.live == 0 && i < len(p.spans)-1 {
		p.spans = slices.Delete(p.spans, i, i+1)
	}
}

// sweep frees what the cursor has passed and is neither leased nor scheduled,
// such as items that were cleared.
func (p *partition) sweep(cursor uint64) {
	for p.swept < cursor {
		i, _ := p.find(queue.Span(p.swept))
		if i == len(p.spans) || p.spans[i].first() >= cursor {
			p.swept = cursor
			return
		}
		sp := p.spans[i]
		seq := max(p.swept, sp.first())
		if seq-sp.first() >= uint64(len(sp.items)) {
			p.swept = min(cursor, (sp.no+1)<<queue.SpanBits)
			continue
		}
		if !p.state.IsAlive(seq) {
			p.free(seq)
		}
		p.swept = seq + 1
	}
}

// find returns the place of span no in the list, or where it would be.
func (p *partition) find(no uint64) (int, bool) {
	return slices.BinarySearchFunc(p.spans, no, func(sp *span, no uint64) int {
		switch {
		case sp.no < no:
			return -1
		case sp.no > no:
			return 1
		}
		return 0
	})
}

func (p *partition) charge(n int64) {
	p.bytes += n
	p.storage.used.Add(n)
}

// drop gives up the partition with all that it holds.
func (p *partition) drop() {
	p.storage.used.Add(-p.bytes - p.reserved)
	p.bytes, p.reserved = 0, 0
	p.spans, p.sources, p.state, p.told = nil, nil, nil, told{}
}

// Sync does nothing: nothing here survives a power cut.
func (h *handle) Sync() error { return h.err }

// Maintain lets go of a last span that has nothing left when idle is set.
func (h *handle) Maintain(idle bool) error {
	if h.err != nil || !idle {
		return h.err
	}
	p := h.p
	p.release()
	if n := len(p.spans); n > 0 && p.spans[n-1].live == 0 {
		p.spans, p.fresh = p.spans[:n-1], true
	}
	return nil
}

// Yield gives back what was reserved and not used: the items stay where they are.
func (h *handle) Yield() error {
	if h.err == nil {
		h.p.release()
	}
	return h.err
}

// Usage tells how much memory the items take, as if it were disk.
func (h *handle) Usage() queue.Usage {
	n := len(h.p.spans)
	return queue.Usage{DiskBytes: h.p.bytes, Segments: n, Open: n}
}

// Close keeps what the partition holds for when it is opened again.
func (h *handle) Close() error {
	if h.closed {
		return nil
	}
	p := h.p
	p.release()
	h.closed, h.err = true, &queue.Error{
		Kind: queue.ErrClosed, Queue: p.key.Queue, Partition: p.key.Partition,
		Msg: fmt.Sprintf("partition %s is closed", p.key),
	}
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	p.open = false
	return nil
}

func (h *handle) fail(err error) error {
	h.err = err
	return err
}

// bug is a breach of the interface by the caller.
func (p *partition) bug(format string, args ...any) error {
	return &queue.Error{
		Kind: queue.ErrUnavailable, Queue: p.key.Queue, Partition: p.key.Partition,
		Msg: "BUG: " + fmt.Sprintf(format, args...),
	}
}
