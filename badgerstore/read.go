package badgerstore

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// Read returns ready items from sequence number from on.
func (p *partition) Read(from uint64, maxItems int, maxBytes int64) (queue.Chunks, uint64, error) {
	if p.err != nil {
		return nil, 0, p.err
	}
	r := reading{items: max(1, maxItems), bytes: maxBytes}
	for seq := max(from, p.state.Totals.Cursor); ; {
		var more bool
		if seq, more = p.state.NextReady(seq); !more {
			return r.end(), max(from, p.state.Next), nil
		}
		most := int64(noMost)
		if r.some {
			most = r.bytes
		}
		if r.items == 0 {
			return r.end(), seq, nil
		}
		b, err := p.blockUpTo(seq, &p.block, most)
		if (isCorrupt(err) || isBeyond(err)) && r.some {
			return r.end(), seq, nil // The next call reports it.
		}
		if err != nil {
			return nil, 0, p.failUnlessCorrupt(err)
		}
		if run := p.takeRun(b, seq, &r); run != nil {
			r.add(run)
			seq += uint64(len(run))
			continue
		}
		var full bool
		if seq, full = p.pick(b, seq, &r); full {
			return r.end(), seq, nil
		}
	}
}

// reading is what Read has so far, and how much more it may take.
type reading struct {
	chunks queue.Chunks
	loose  []queue.Item // the next chunk: items that were taken out of their blocks
	some   bool         // there is an item
	items  int
	bytes  int64
}

// add adds a chunk.
func (r *reading) add(chunk []queue.Item) {
	r.close()
	for i := range chunk {
		r.bytes -= chunk[i].Size()
	}
	r.chunks, r.some, r.items = append(r.chunks, chunk), true, r.items-len(chunk)
}

// close makes a chunk of what is loose.
func (r *reading) close() {
	if len(r.loose) > 0 {
		queue.Own(r.loose)
		r.chunks, r.loose = append(r.chunks, r.loose), nil
	}
}

// end returns the chunks.
func (r *reading) end() queue.Chunks {
	r.close()
	return r.chunks
}

// takeRun takes what a reader may have of a block from seq on out of it, without a copy:
// items that are ready, one after the other, and much of the block, since they hold the
// memory of all of it. It returns nil when these are too few.
func (p *partition) takeRun(b *decodedBlock, seq uint64, r *reading) []queue.Item {
	rest := b.items[seq-b.first:]
	n, size := 0, int64(0)
	for ; n < min(len(rest), r.items) && p.state.IsReady(seq+uint64(n)); n++ {
		more := rest[n].Size()
		if size+more > r.bytes && (r.some || n > 0) {
			break
		}
		size += more
	}
	if n == 0 || (size+int64(n)*itemMemory)*runShare < b.whole {
		return nil
	}
	if b.items, b.first = rest[n:], seq+uint64(n); len(b.items) == 0 {
		p.storage.dropBlock(b)
	}
	return rest[:n:n]
}

// runShare is the part of a block, one in so many by its memory, that is handed over as it
// is. What is less is copied.
const runShare = 4

// pick takes the ready items of a block from seq on. It returns where to go on, and
// whether no more may be taken.
func (p *partition) pick(b *decodedBlock, seq uint64, r *reading) (next uint64, full bool) {
	if left := int(b.first + uint64(len(b.items)) - seq); cap(r.loose) == len(r.loose) {
		r.loose = slices.Grow(r.loose, max(1, min(left, r.items)))
	}
	for ; b.holds(seq); seq++ {
		if !p.state.IsReady(seq) {
			continue
		}
		it := &b.items[seq-b.first]
		size := it.Size()
		if r.some && (r.items == 0 || size > r.bytes) {
			return seq, true
		}
		r.loose, r.some = append(r.loose, *it), true
		r.items--
		r.bytes -= size
	}
	return seq, false
}

func compareSpan(sp queue.SpanInfo, span uint64) int { return cmp.Compare(sp.Span, span) }

// failUnlessCorrupt makes the partition refuse everything, unless the error is
// of damage in one place: then the rest can still be used; or there is no room to
// open or to repair a segment, which changes nothing.
func (p *partition) failUnlessCorrupt(err error) error {
	if isCorrupt(err) || errors.Is(err, queue.ErrFull) {
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
	b := &decodedBlock{}
	for _, i := range order {
		if !b.holds(seqs[i]) {
			var err error
			if b, err = p.blockOf(seqs[i], &p.looked); err != nil {
				return nil, p.failUnlessCorrupt(err)
			}
		}
		items[i] = b.items[seqs[i]-b.first]
	}
	return items, nil
}

// ReadySize returns about how many bytes the first ready item from sequence number
// from on has. Items in one block are small, and taken for alike.
func (p *partition) ReadySize(from uint64) (int64, error) {
	if p.err != nil {
		return 0, p.err
	}
	seq, some := p.state.NextReady(max(from, p.state.Totals.Cursor))
	if !some {
		return 0, nil
	}
	b, err := p.blockUpTo(seq, &p.block, 0)
	var beyond *beyondError
	switch {
	case errors.As(err, &beyond):
		return beyond.size, nil
	case err != nil:
		return 0, p.failUnlessCorrupt(err)
	}
	return b.items[seq-b.first].Size(), nil
}

// noMost lets a block of any size be read.
const noMost = math.MaxInt64

// blockOf returns the block that holds sequence number seq. One that has to be
// decoded is kept in keep. What cannot be read is a queue.Damage.
func (p *partition) blockOf(seq uint64, keep *decodedBlock) (*decodedBlock, error) {
	return p.blockUpTo(seq, keep, noMost)
}

// blockUpTo is blockOf, but does not decode a block whose items have more than most
// bytes each. The error is a beyondError then.
func (p *partition) blockUpTo(seq uint64, keep *decodedBlock, most int64) (*decodedBlock, error) {
	for _, b := range []*decodedBlock{&p.block, &p.looked} {
		if b.holds(seq) {
			return b, nil
		}
	}
	s := p.segment(queue.Span(seq))
	if s == nil {
		return nil, p.missing(seq)
	}
	d, release, err := p.open(s)
	if err != nil {
		return nil, p.damaged(seq, s.path(), err)
	}
	defer release()
	first := seq
	items, found, err := readBlock(d, first, p.key.Tag, s.boot == p.storage.options.Boot, most)
	if err == nil && !found {
		if first, found = d.blockBefore(seq); found {
			items, found, err = readBlock(d, first, p.key.Tag, s.boot == p.storage.options.Boot, most)
		}
	}
	if isBeyond(err) {
		return nil, err
	}
	b := decodedBlock{span: s.span, first: first, items: items}
	b.whole = b.memory()
	if err == nil && (!found || !b.holds(seq)) {
		err = corrupt(nil, "no block of %s holds the item %d", s.dir, seq)
		first += uint64(len(items))
	}
	if err == nil {
		if len(items) == 1 && items[0].Size() > blockRawMax {
			return &b, nil // It is not kept: nothing else is in it.
		}
		return p.storage.keepBlock(keep, &b), nil
	}
	e := p.damaged(seq, s.path(), err)
	var damage *queue.Damage
	if errors.As(e, &damage) {
		damage.First = max(damage.First, first)
		if after, found := d.blockAfter(seq); found {
			damage.Last = min(damage.Last, after-1)
		}
	}
	return nil, e
}

// missing is the damage of the segment that holds seq not being there.
func (p *partition) missing(seq uint64) *queue.Damage {
	first := queue.Span(seq) << queue.SpanBits
	dir := newSegment(p.dir, queue.Span(seq)).dir
	return &queue.Damage{Span: queue.Span(seq), First: first, Last: first + queue.MaxSpanItems - 1, Path: dir,
		Err: corrupt(nil, "the segment %s is not there; what became of its items is not known", dir)}
}

// damaged turns an error of reading the item seq into a queue.Damage of its whole
// span, if it is one of damage.
func (p *partition) damaged(seq uint64, path string, err error) error {
	if !isCorrupt(err) {
		return err
	}
	first := queue.Span(seq) << queue.SpanBits
	return &queue.Damage{Span: queue.Span(seq), First: first, Last: first + queue.MaxSpanItems - 1, Path: path, Err: err}
}

// path returns where the segment's files are to be looked into.
func (s *segment) path() string {
	if s.aside != "" {
		return s.aside
	}
	return s.dir
}

// segment returns the segment of a span, nil if there is none.
func (p *partition) segment(span uint64) *segment {
	i, ok := slices.BinarySearchFunc(p.segments, span, func(s *segment, span uint64) int { return cmp.Compare(s.span, span) })
	if !ok {
		return nil
	}
	return p.segments[i]
}

// open returns what the segment is read through. The caller calls release
// when it is done with it.
func (p *partition) open(s *segment) (d view, release func(), err error) {
	if s.writer != nil {
		return s.writer, func() {}, nil
	}
	sealed, err := p.acquire(s)
	if err != nil {
		return nil, nil, err
	}
	if s.boot == "" {
		s.boot = "unknown" // A damaged header: the items are older than this boot for all we know.
		if h, err := readHeader(sealed); err == nil {
			s.boot = h.Boot
		} else if !isCorrupt(err) {
			p.storage.readers.release(s)
			return nil, nil, err
		}
	}
	return sealed, func() { p.storage.readers.release(s) }, nil
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
	if p.resting != nil && s == p.segments[len(p.segments)-1] {
		return p.resting.sources.find(sourceID, dst), nil
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
		items, _, err := readBlock(d, first, p.key.Tag, false, noMost)
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
