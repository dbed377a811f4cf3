package badgerstore

import (
	"errors"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// prepared is a segment that is opened ahead of its use by a goroutine, so that
// no request waits for it.
type prepared struct {
	span  uint64
	dir   string
	sizes sizes
	ready chan struct{} // closed when tail and err are set
	tail  *tail
	err   error
}

// demand is what a commit may take of a segment.
type demand struct {
	blocks int64 // number of blocks
	values int64 // bytes of the value log
}

// mem returns what it takes of a memtable.
func (d demand) mem(z *sizes) int64 {
	return (d.blocks + 2) * (z.memCost(numberedKeySize, z.threshold-1) + int64(endOfTxn))
}

// Reserve makes room for a commit, in a new segment if need be. An error of kind
// queue.ErrFull has changed nothing.
func (p *partition) Reserve(items int, bytes int64) (uint64, error) {
	if p.err != nil {
		return 0, p.err
	}
	need := p.demand(items, bytes)
	if items > 0 {
		if err := p.storage.needRoom(p.dir, need.values); err != nil {
			p.giveUpBackup()
			return 0, err
		}
	}
	if p.tail == nil && p.resting != nil {
		if err := p.resume(); err != nil {
			return 0, p.failUnlessFull(err)
		}
	}
	if p.tail == nil || !p.fits(items, need) {
		if err := p.roll(need); err != nil {
			return 0, p.failUnlessFull(err)
		}
	}
	t := p.tail.writer
	if err := t.reserve(need.values); err != nil && (items > 0 || !errors.Is(err, queue.ErrFull)) {
		// A commit without items makes do with what is reserved already.
		return 0, p.failUnlessFull(err)
	}
	p.first = p.tail.span<<queue.SpanBits + uint64(t.items)
	return p.first, nil
}

func (p *partition) failUnlessFull(err error) error {
	if errors.Is(err, queue.ErrFull) {
		return err
	}
	return p.fail(err)
}

const (
	// itemBytes is what an item takes in a block beside its queue.Item.Size, at
	// most.
	itemBytes = 128
	// recordBytes bounds the record of a commit, beside what it says of each
	// lease and scheduled item.
	recordBytes   = 256 << 10
	recordPerItem = 36
)

// demand returns an upper bound of what a commit takes.
func (p *partition) demand(items int, bytes int64) demand {
	// Two blocks in a row have more than blockRawMax or blockItemsMax together.
	raw := bytes + int64(items)*itemBytes
	blocks := 2 + 2*raw/blockRawMax + 2*int64(items)/blockItemsMax
	if items == 0 {
		raw, blocks = 0, 0
	}
	blocks = min(blocks, int64(items))
	held := int64(len(p.state.Leases) + len(p.state.Scheduled))
	record := recordBytes + recordPerItem*held
	return demand{blocks: blocks, values: raw + blocks*256 + record}
}

// fits reports whether the tail takes a commit of so many items.
func (p *partition) fits(items int, need demand) bool {
	t := p.tail.writer
	if t.memLeft() < need.mem(&t.sizes) || t.valueLeft() < need.values {
		return false
	}
	if items == 0 || t.items == 0 {
		return true
	}
	return int64(t.items)+int64(items) <= maxSegmentItems && t.bytes < p.storage.options.SegmentBytes &&
		!t.sources.full() && (t.sources.len() < fewSources || p.storage.hasRoom(0))
}

// fewSources is how many source ids the tail may have in memory although the
// budget is spent.
const fewSources = 1024

// wantedMem returns the memtable that suits the partition, or the least one when
// there is no room for that.
func (p *partition) wantedMem() int64 {
	z := sizes{mem: p.memSize}
	if !p.storage.hasRoom(z.memory()) {
		return minMemTable
	}
	return z.mem
}

// sizesFor returns what a segment is made for whose first commit needs so much
// and whose checkpoint has that size; its memtable has at least mem bytes.
func (p *partition) sizesFor(mem int64, need demand, checkpoint int64) sizes {
	z := sizes{mem: mem, values: p.storage.options.SegmentBytes + recordSlack, threshold: valueThreshold}
	if need.blocks > manyBlocks {
		z.threshold = lowThreshold
	}
	need.blocks += 2 // Header and checkpoint.
	for least := need.mem(&z); z.mem*memLimit/100 < least; {
		z.mem *= 4
	}
	z.values = max(z.values, need.values+checkpoint+recordSlack)
	return z
}

// roll makes a new segment the tail: everything before it is on flash then, and
// the state as it is now is its checkpoint, on flash as well.
func (p *partition) roll(need demand) error {
	checkpoint := appendCheckpoint(nil, p.state)
	t, err := p.takeNext(need, int64(len(checkpoint)))
	if err != nil {
		return err
	}
	if p.tail != nil {
		if err := p.tail.writer.sync(); err != nil {
			p.discardTail(t)
			return p.fail(err)
		}
		p.adapt(p.tail.writer)
	}
	header := segmentHeader{
		Queue: p.key.Queue, Partition: p.key.Partition, Tag: p.key.Tag,
		Span: t.span, Boot: p.storage.options.Boot, Created: p.storage.options.Now().UnixNano(),
	}
	if format := stateFormat(p.state); format > oldestFormat {
		header.Format = format
		err = p.storage.raiseFormat(format)
	}
	if err == nil {
		err = t.begin(&header, checkpoint)
	}
	if err != nil {
		p.discardTail(t)
		return p.fail(err)
	}
	p.resting = nil
	s := newSegment(p.dir, t.span)
	s.writer, s.boot = t, header.Boot
	p.segments = append(p.segments, s)
	p.tail = s
	p.sealOld(p.spare(), p.storage.options.MinFree)
	return nil
}

// begin writes header and checkpoint of a segment; they are on flash on return.
func (t *tail) begin(header *segmentHeader, checkpoint []byte) error {
	err := t.write([]entry{
		{key: headerKey(), value: appendHeader(nil, header)},
		{key: checkpointKey(), value: checkpoint},
	})
	if err == nil {
		err = t.sync()
	}
	if err == nil {
		err = t.markUsed()
	}
	return err
}

// adapt chooses the memtable of the next segment after one that was filled: a
// larger one when it was closed for its many small commits.
func (p *partition) adapt(t *tail) {
	limit := t.mem * memLimit / 100
	switch {
	case t.memUsed > limit*3/4 && t.bytes < p.storage.options.SegmentBytes/2:
		p.memSize = min(p.memSize*4, p.storage.options.maxMem())
	case t.memUsed < limit/16:
		p.memSize = max(p.memSize/4, minMemTable)
	}
}

// takeNext returns a new tail for such a first commit and checkpoint: the one
// that was prepared, if it will do.
func (p *partition) takeNext(need demand, checkpoint int64) (*tail, error) {
	if n := p.next; n != nil {
		<-n.ready
		z := p.sizesFor(minMemTable, need, checkpoint)
		if n.err == nil && n.sizes.mem >= z.mem && n.sizes.values >= z.values && n.sizes.threshold == z.threshold {
			p.next = nil
			return n.tail, nil
		}
		p.discardNext()
	}
	span := p.takeSpan()
	dir := newSegment(p.dir, span).dir
	t, err := createTail(dir, span, p.sizesFor(p.wantedMem(), need, checkpoint), &p.storage.writing)
	if err != nil {
		_ = discardDir(dir) // What is left of it is removed when the partition is opened.
		return nil, err
	}
	return t, nil
}

func (p *partition) takeSpan() uint64 {
	span := p.nextSpan
	p.nextSpan++
	return span
}

// prepareNext has the next segment opened when the tail is 70 % full.
func (p *partition) prepareNext() {
	t, full := p.tail.writer, p.storage.options.SegmentBytes
	limit := t.mem * memLimit / 100
	if p.next != nil || t.memUsed < limit*7/10 && t.bytes < full*7/10 && t.items < maxSegmentItems*7/10 {
		return
	}
	z := p.sizesFor(p.wantedMem(), demand{}, 0)
	if t.memUsed > limit*7/10 && t.bytes < full/2 {
		larger := z
		larger.mem = min(z.mem*4, p.storage.options.maxMem())
		if p.storage.hasRoom(larger.memory()) {
			z = larger
		}
	}
	if !p.storage.hasRoom(z.memory()) {
		return // It is opened when it is needed.
	}
	span := p.takeSpan()
	n := &prepared{span: span, dir: newSegment(p.dir, span).dir, ready: make(chan struct{}), sizes: z}
	p.next = n
	p.background.Go(func() {
		defer close(n.ready)
		if n.err = needSpace(p.dir, n.sizes.mem+valueStep, p.storage.options.MinFree); n.err == nil {
			n.tail, n.err = createTail(n.dir, n.span, n.sizes, &p.storage.writing)
		}
	})
}

// discardNext gives up the segment that was prepared.
func (p *partition) discardNext() {
	n := p.next
	if n == nil {
		return
	}
	p.next = nil
	p.background.Go(func() {
		<-n.ready
		if n.tail != nil {
			_ = n.tail.close() // Nothing was written.
		}
		p.storage.report(n.dir, discardDir(n.dir))
	})
}

// discardTail gives up a new tail that could not be used.
func (p *partition) discardTail(t *tail) {
	_ = t.close() // What it holds is not wanted.
	p.storage.report(t.dir, discardDir(t.dir))
}

// spare returns how many segments before the tail may stay open.
func (p *partition) spare() int {
	if p.storage.hasRoom(0) {
		return 1
	}
	return 0
}

// sealOld seals all segments that are open for writing, but the tail and the so
// many that were written last. So many bytes of the disk stay free.
func (p *partition) sealOld(keep int, floor int64) {
	for i := len(p.segments) - 1; i >= 0; i-- {
		s := p.segments[i]
		if s.writer == nil || s == p.tail {
			continue
		}
		if keep > 0 {
			keep--
			continue
		}
		p.seal(s, false, floor)
	}
}

// seal has a segment closed for good by a goroutine: the index of its sources is
// written, unless it only rests, then the database closed, which turns its memtable into a table. That
// is written through a mapping that nothing was reserved for, so it is not begun
// near a full disk, which is where floor bytes are left: the segment stays open
// and is tried again, unless the partition is closed; then its files stay as
// after a crash.
func (p *partition) seal(s *segment, closing bool, floor int64) {
	t := s.writer
	if err := needSpace(p.dir, t.mem+settleSpace, floor); err != nil {
		if closing {
			t.closeFiles()
			s.writer = nil
		}
		return
	}
	p.takeCost(t)
	s.writer, s.busy, s.before, s.filled = nil, make(chan struct{}), t.usedBytes(), t.filled()
	busy := s.busy
	p.background.Go(func() {
		defer close(busy)
		if !t.rests {
			n, err := writeSources(s.dir, t.sources)
			p.storage.report(s.dir, err)
			p.written.Add(n)
		}
		p.storage.report(s.dir, t.close())
		p.written.Add(t.memUsed)
		s.bytes = diskBytes(s.dir)
	})
}

// takeCost adds up what a segment has cost that is no longer written.
func (p *partition) takeCost(t *tail) {
	p.written.Add(t.written)
	p.syncs.Add(t.syncs)
}

// Maintain removes segments whose items are all done, and closes what is not
// used.
func (p *partition) Maintain(idle bool) error {
	if p.err != nil {
		return p.err
	}
	if idle {
		if err := p.rest(); err != nil {
			return err
		}
	}
	p.removeDone()
	p.sealOld(p.spare(), p.storage.options.MinFree)
	if idle {
		p.background.Wait() // The memory is free only then.
		if p.resting != nil {
			p.resting.shed()
		}
	}
	return nil
}

// removeDone removes the segments of which nothing is alive and that no event
// needs. What made them done
// must be on flash, and the last segment is what the state is recovered from.
func (p *partition) removeDone() {
	if len(p.segments) < 2 || p.tail != nil && !p.tail.writer.isSynced() {
		return
	}
	last := len(p.segments) - 1
	if p.backup != nil && needSpace(p.dir, createMargin, p.storage.options.MinFree) != nil {
		p.giveUpBackup()
	}
	kept := p.segments[:0]
	for i, s := range p.segments {
		if i == last || !p.isDone(s.span) || p.state.HasEvents(s.span) || p.isKept(s.span) || !p.remove(s) {
			kept = append(kept, s)
		}
	}
	clear(p.segments[len(kept):])
	p.segments = kept
}

// isDone reports whether nothing in a span that takes no more items is alive.
// Beside those before the first with ready items, which State.IsDone knows, that
// are the ones in between which have none, such as those that only took records
// while a backlog was worked off.
func (p *partition) isDone(span uint64) bool {
	if p.state.Pinned(span) > 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(p.state.Spans, span, compareSpan)
	return !found
}

// remove has a segment removed by a goroutine. It reports false when there is no
// room to close its database first.
func (p *partition) remove(s *segment) bool {
	t := s.writer
	if t != nil {
		giveBlocksBack(t)
		if needSpace(p.dir, t.mem+settleSpace, 0) != nil {
			return false
		}
		p.takeCost(t)
		s.writer = nil
	}
	for _, b := range []*decodedBlock{&p.block, &p.looked} {
		if b.span == s.span {
			*b = decodedBlock{}
		}
	}
	p.storage.readers.drop(s)
	if s.sources != nil {
		_ = s.sources.close() // It was only read.
	}
	p.background.Go(func() {
		s.wait()
		if t != nil {
			_ = t.close() // What it holds is not wanted.
		}
		p.storage.report(s.dir, discardDir(s.dir))
		p.storage.keepBallast()
	})
	return true
}
