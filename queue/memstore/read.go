package memstore

import (
	"fmt"

	"github.com/kapetan-io/querator-edge/queue"
)

// Read returns ready items from a sequence number on. Their payloads are shared
// with the store, which never changes them.
func (h *handle) Read(from uint64, maxItems int, maxBytes int64) (queue.Chunks, uint64, error) {
	if h.err != nil {
		return nil, from, h.err
	}
	p := h.p
	from = max(from, p.state.Totals.Cursor)
	var items []queue.Item
	i, _ := p.find(queue.Span(from))
	for ; i < len(p.spans); i++ {
		sp := p.spans[i]
		seq := max(from, sp.first())
		for ; seq-sp.first() < uint64(len(sp.items)); seq++ {
			it := sp.items[seq-sp.first()]
			if it == nil || !p.state.IsReady(seq) {
				continue
			}
			size := it.Size()
			if len(items) > 0 && (len(items) >= maxItems || size > maxBytes) {
				return chunks(items), seq, nil
			}
			maxBytes -= size
			items = append(items, p.present(sp, it))
		}
	}
	return chunks(items), max(from, p.state.Next), nil
}

func chunks(items []queue.Item) queue.Chunks {
	if len(items) == 0 {
		return nil
	}
	return queue.Chunks{items}
}

// Get returns items by their sequence numbers.
func (h *handle) Get(seqs []uint64) ([]queue.Item, error) {
	if h.err != nil {
		return nil, h.err
	}
	p := h.p
	items := make([]queue.Item, 0, len(seqs))
	for _, seq := range seqs {
		if it := p.told.items[seq]; it != nil {
			items = append(items, *it)
			continue
		}
		i, ok := p.find(queue.Span(seq))
		if !ok || seq-p.spans[i].first() >= uint64(len(p.spans[i].items)) || p.spans[i].items[seq-p.spans[i].first()] == nil {
			return nil, h.fail(&queue.Error{
				Kind: queue.ErrCorrupt, Op: "get", Queue: p.key.Queue, Partition: p.key.Partition,
				Msg: fmt.Sprintf("partition %s has no item %d", p.key, seq),
			})
		}
		items = append(items, p.present(p.spans[i], p.spans[i].items[seq-p.spans[i].first()]))
	}
	return items, nil
}

// present returns the item as it is seen in the present boot.
func (p *partition) present(sp *span, it *queue.Item) queue.Item {
	c := *it
	c.SameBoot = sp.boot == p.boot
	return c
}

// ReadySize returns how many bytes the first ready item from a number on has.
func (h *handle) ReadySize(from uint64) (int64, error) {
	chunks, _, err := h.Read(from, 1, 0) // Their payloads are shared, nothing is copied.
	if err != nil || len(chunks) == 0 {
		return 0, err
	}
	return chunks[0][0].Size(), nil
}

// FindSource returns the sequence number of the item with the source id.
func (h *handle) FindSource(sourceID string) (uint64, bool, error) {
	if h.err != nil {
		return 0, false, h.err
	}
	seq, ok := h.p.sources[sourceID]
	return seq, ok, nil
}

// Damage returns nil: nothing here is damaged.
func (h *handle) Damage() []*queue.Damage { return nil }

// SetAside does nothing: there are no files.
func (h *handle) SetAside(uint64, string) (string, error) { return "", h.err }
