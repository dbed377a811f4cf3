package badgerstore

import (
	"cmp"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// decodedBlock is the block that was read last, so that reading on inside it
// need not decode it again.
type decodedBlock struct {
	span  uint64
	first uint64
	items []queue.Item
}

func (b *decodedBlock) holds(seq uint64) bool {
	return seq >= b.first && seq-b.first < uint64(len(b.items))
}

// Read returns ready items from sequence number from on.
func (p *partition) Read(from uint64, maxItems int, maxBytes int64) ([]queue.Item, uint64, error) {
	if p.err != nil {
		return nil, 0, p.err
	}
	var (
		items []queue.Item
		bytes int64
		seq   = max(from, p.state.Totals.Cursor)
	)
	for {
		var more bool
		if seq, more = p.nextInSpans(seq); !more {
			return items, max(from, p.state.Next), nil
		}
		b, err := p.blockOf(seq, &p.block)
		if err != nil {
			return nil, 0, p.failUnlessCorrupt(err)
		}
		for ; b.holds(seq); seq++ {
			if !p.state.IsReady(seq) {
				continue
			}
			it := &b.items[seq-b.first]
			if len(items) > 0 && (len(items) >= maxItems || bytes+it.Size() > maxBytes) {
				return items, seq, nil
			}
			items = append(items, *it)
			bytes += it.Size()
		}
	}
}

// nextInSpans returns the least sequence number of at least seq that lies in a
// span with ready items.
func (p *partition) nextInSpans(seq uint64) (uint64, bool) {
	spans := p.state.Spans
	i, _ := slices.BinarySearchFunc(spans, queue.Span(seq), compareSpan)
	for ; i < len(spans); i++ {
		begin := spans[i].Span << queue.SpanBits
		seq = max(seq, begin)
		if seq-begin < uint64(spans[i].Count) {
			return seq, true
		}
	}
	return seq, false
}

func compareSpan(sp queue.SpanInfo, span uint64) int { return cmp.Compare(sp.Span, span) }

// failUnlessCorrupt makes the partition refuse everything, unless the error is
// of damage in one place: then the rest can still be used.
func (p *partition) failUnlessCorrupt(err error) error {
	if isCorrupt(err) {
		return err
	}
	return p.fail(err)
}

// Get returns the items with these sequence numbers.
func (p *partition) Get(seqs []uint64) ([]queue.Item, error) {
	if p.err != nil {
		return nil, p.err
	}
	order := make([]int, len(seqs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(seqs[a], seqs[b]) })
	items := make([]queue.Item, len(seqs))
	for _, i := range order {
		b, err := p.blockOf(seqs[i], &p.looked)
		if err != nil {
			return nil, p.failUnlessCorrupt(err)
		}
		items[i] = b.items[seqs[i]-b.first]
	}
	return items, nil
}

// blockOf returns the block that holds sequence number seq. One that has to be
// decoded is kept in keep.
func (p *partition) blockOf(seq uint64, keep *decodedBlock) (*decodedBlock, error) {
	for _, b := range []*decodedBlock{&p.block, &p.looked} {
		if b.holds(seq) {
			return b, nil
		}
	}
	s := p.segment(queue.Span(seq))
	if s == nil {
		return nil, p.lost(seq, corrupt(nil, "the segment %s is not there", newSegment(p.dir, queue.Span(seq)).dir))
	}
	d, release, err := p.open(s)
	if err != nil {
		return nil, p.lost(seq, err)
	}
	defer release()
	first := seq
	items, found, err := readBlock(d, first, p.key.Tag, s.boot == p.storage.options.Boot)
	if err == nil && !found {
		if first, found = d.blockBefore(seq); found {
			items, found, err = readBlock(d, first, p.key.Tag, s.boot == p.storage.options.Boot)
		}
	}
	if err != nil {
		return nil, p.lost(seq, err)
	}
	b := decodedBlock{span: s.span, first: first, items: items}
	if !found || !b.holds(seq) {
		return nil, p.lost(seq, corrupt(nil, "no block of %s holds the item %d", s.dir, seq))
	}
	*keep = b
	return keep, nil
}

// lost adds the partition to an error of reading an item.
func (p *partition) lost(seq uint64, err error) error {
	if !isCorrupt(err) {
		return err
	}
	e := corrupt(err, "item %d of partition %s cannot be read", seq, p.key)
	e.Queue, e.Partition = p.key.Queue, p.key.Partition
	return e
}

// segment returns the segment of a span, nil if there is none.
func (p *partition) segment(span uint64) *segment {
	i, ok := slices.BinarySearchFunc(p.segments, span, func(s *segment, span uint64) int { return cmp.Compare(s.span, span) })
	if !ok {
		return nil
	}
	return p.segments[i]
}

// open returns the segment's database for reading. The caller calls release
// when it is done with it.
func (p *partition) open(s *segment) (d *database, release func(), err error) {
	if s.writer != nil {
		return s.writer.database, func() {}, nil
	}
	d, err = p.storage.readers.acquire(s)
	if err != nil {
		return nil, nil, err
	}
	if s.boot == "" {
		h, err := readHeader(d)
		if err != nil {
			p.storage.readers.release(s)
			return nil, nil, err
		}
		s.boot = h.Boot
	}
	return d, func() { p.storage.readers.release(s) }, nil
}

// FindSource looks for the item with a source id, in the newest segment first.
func (p *partition) FindSource(sourceID string) (seq uint64, found bool, err error) {
	if p.err != nil {
		return 0, false, p.err
	}
	var buf [8]uint32
	for i := len(p.segments) - 1; i >= 0; i-- {
		s := p.segments[i]
		if s != p.tail && p.isDone(s.span) {
			continue
		}
		indexes, err := p.sourceIndexes(s, sourceID, buf[:0])
		if err != nil {
			return 0, false, p.failUnlessCorrupt(err)
		}
		for _, index := range indexes {
			seq := s.span<<queue.SpanBits + uint64(index)
			if !p.state.IsAlive(seq) {
				continue
			}
			b, err := p.blockOf(seq, &p.looked)
			if err != nil {
				return 0, false, p.failUnlessCorrupt(err)
			}
			if b.items[seq-b.first].SourceID == sourceID {
				return seq, true, nil
			}
		}
	}
	return 0, false, nil
}

// sourceIndexes appends to dst the indexes of the items of a segment that may
// have the source id. A sealed segment's index that is missing or damaged is
// made again from the blocks.
func (p *partition) sourceIndexes(s *segment, sourceID string, dst []uint32) ([]uint32, error) {
	if s.writer != nil {
		return s.writer.sources.find(sourceID, dst), nil
	}
	if s.barren {
		return dst, nil
	}
	if s.sources == nil {
		if err := p.openSources(s); err != nil {
			return nil, err
		}
		if s.barren {
			return dst, nil
		}
	}
	defer p.limitSources(s)
	return s.sources.find(sourceID, dst)
}

// maxOpenSources bounds the indexes that a partition keeps open.
const maxOpenSources = 16

// limitSources closes the index again when many are open already.
func (p *partition) limitSources(s *segment) {
	var n int
	for _, o := range p.segments {
		if o.sources != nil {
			n++
		}
	}
	if n > maxOpenSources {
		_ = s.sources.close() // It was only read.
		s.sources = nil
	}
}

func (p *partition) openSources(s *segment) error {
	s.wait()
	f, err := openSources(s.dir, s.verified)
	if isCorrupt(err) {
		if err = p.rebuildSources(s); err == nil {
			f, err = openSources(s.dir, true)
		}
	}
	if err != nil {
		return err
	}
	s.verified = true
	if f.len() == 0 {
		s.barren = true
		return f.close()
	}
	s.sources = f
	return nil
}

// rebuildSources writes the index of a sealed segment from its blocks.
func (p *partition) rebuildSources(s *segment) error {
	d, release, err := p.open(s)
	if err != nil {
		return err
	}
	defer release()
	t := newSourceTail(maxSegmentSources)
	err = d.each(letterBlock, 0, func(first uint64, _ func(func([]byte) error) error) (bool, error) {
		items, _, err := readBlock(d, first, p.key.Tag, false)
		if isCorrupt(err) {
			return true, nil // Its items are lost; the others are to be found.
		}
		for i := range items {
			if items[i].SourceID != "" {
				t.add(items[i].SourceID, uint32((first+uint64(i))&(queue.MaxSpanItems-1)))
			}
		}
		return true, err
	})
	if err != nil {
		return err
	}
	n, err := writeSources(s.dir, t)
	p.written.Add(n)
	return err
}
