package memstore

import (
	"fmt"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// told is what a partition keeps for the sake of its events: the events of each
// commit, and the items that they are about once these are gone otherwise.
type told struct {
	commits uint64 // how many there were, to name their places
	batches []queue.StoredEvents
	refs    map[uint64]int         // events that are kept, by item
	items   map[uint64]*queue.Item // items that are gone but for their events
}

// Place says where the next commit is: the span of new items, and its number.
func (h *handle) Place() (span, pos uint64) {
	return queue.Span(h.p.nextSeq()), h.p.told.commits
}

// Events returns the events of whole commits of the run.
func (h *handle) Events(run *queue.EventRun, from uint64, n int) ([]queue.StoredEvents, error) {
	if h.err != nil {
		return nil, h.err
	}
	all := h.p.told.batches
	i, _ := slices.BinarySearchFunc(all, from, func(b queue.StoredEvents, from uint64) int {
		if b.End() <= from {
			return -1
		}
		return 1
	})
	var found []queue.StoredEvents
	for ; i < len(all) && all[i].First <= run.Last() && n > 0; i++ {
		found = append(found, all[i])
		n -= all[i].Len()
	}
	if len(found) == 0 {
		return nil, h.fail(&queue.Error{
			Kind: queue.ErrCorrupt, Op: "events", Queue: h.p.key.Queue, Partition: h.p.key.Partition,
			Msg: fmt.Sprintf("partition %s has no event %d", h.p.key, from),
		})
	}
	return found, nil
}

// HeldForEvents returns what the items cost that events are about.
func (h *handle) HeldForEvents() int64 {
	b := h.p.state.Events
	if b == nil {
		return 0
	}
	var bytes int64
	for i := range b.Runs {
		bytes += b.Runs[i].Bytes + int64(b.Runs[i].Len())*itemCost
	}
	return bytes
}

// tell keeps the events of a commit.
func (p *partition) tell(c *queue.Commit) {
	p.told.commits++
	if c.Events == nil {
		return
	}
	if p.told.refs == nil {
		p.told.refs, p.told.items = make(map[uint64]int), make(map[uint64]*queue.Item)
	}
	b := queue.StoredEvents{EventBatch: *c.Events, At: c.At, Boot: p.boot}
	b.Groups = slices.Clone(b.Groups)
	for i := range b.Groups {
		g := &b.Groups[i]
		g.Seqs = slices.Clone(g.Seqs)
		for _, seq := range g.Seqs {
			p.told.refs[seq]++
		}
	}
	p.told.batches = append(p.told.batches, b)
}

// forget drops the events that no run has any more, and their items.
func (p *partition) forget(c *queue.Commit) {
	if c.Marks == nil && len(c.Gaps) == 0 {
		return
	}
	runs := p.state.Events.Runs
	p.told.batches = slices.DeleteFunc(p.told.batches, func(b queue.StoredEvents) bool {
		for len(runs) > 0 && runs[0].Last() < b.First {
			runs = runs[1:]
		}
		if len(runs) > 0 && runs[0].First < b.End() {
			return false
		}
		for i := range b.Groups {
			for _, seq := range b.Groups[i].Seqs {
				p.untell(seq)
			}
		}
		return true
	})
}

// untell drops one event about an item.
func (p *partition) untell(seq uint64) {
	if p.told.refs[seq]--; p.told.refs[seq] > 0 {
		return
	}
	delete(p.told.refs, seq)
	if it := p.told.items[seq]; it != nil {
		p.charge(-it.Size() - itemCost)
		delete(p.told.items, seq)
	}
}
