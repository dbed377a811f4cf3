package badgerstore

import (
	"errors"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

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
			p.giveBackSpent()
			p.giveUpBackup()
			return 0, err
		}
	}
	return p.reserve(items, need)
}

// ReserveMove is Reserve for copies of items that are there: they may take half of
// what new items leave alone.
func (p *partition) ReserveMove(items int, bytes int64) (uint64, error) {
	if p.err != nil {
		return 0, p.err
	}
	need := p.demand(items, bytes)
	if err := needSpace(p.dir, need.values, p.storage.options.MinFree/2); err != nil {
		p.giveBackSpent()
		return 0, err
	}
	return p.reserve(items, need)
}

func (p *partition) reserve(items int, need demand) (uint64, error) {
	if p.tail == nil && p.resting != nil {
		// Where there is no room for new files of it, a new segment may do.
		if err := p.resume(); err != nil && !errors.Is(err, queue.ErrFull) {
			return 0, p.fail(err)
		}
	}
	if p.tail != nil {
		if err := p.tail.writer.wake(); err != nil {
			return 0, p.fail(err)
		}
	}
	if p.tail == nil || !p.fits(items, need) {
		if err := p.roll(need); err != nil {
			return 0, p.failUnlessFull(err)
		}
	}
	p.asked = max(p.asked, need.mem(&p.tail.writer.sizes))
	err := p.tail.writer.reserve(need.values)
	if items == 0 && errors.Is(err, queue.ErrFull) {
		err = p.reserveLast(need)
	}
	if err != nil {
		return 0, p.failUnlessFull(err)
	}
	p.first = p.tail.span<<queue.SpanBits + uint64(p.tail.writer.items)
	return p.first, nil
}

// reserveLast reserves blocks for a record when others have filled the disk: by
// giving up ballast, or in the segment that was made for that.
func (p *partition) reserveLast(need demand) error {
	p.spent.drop()
	t := p.tail.writer
	if makeSpace(t.dir, need.values+t.ahead(), 0) == nil {
		if err := t.reserve(need.values); !errors.Is(err, queue.ErrFull) {
			return err
		}
	}
	if err := p.roll(need); err != nil {
		return err
	}
	return p.tail.writer.reserve(need.values)
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
		p.tail.writer.giveBack()
		p.adapt(p.tail.writer)
		if p.tail.writer.journal != nil {
			t.small = journalAfter // It will want one, too.
		}
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
	p.resting, p.asked = nil, 0
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
	limit := t.memLimit()
	switch {
	case p.isCrowded(t):
		p.memSize = min(p.memSize*4, p.storage.options.maxMem())
	case t.memUsed() < limit/16:
		p.memSize = max(p.memSize/4, minMemTable)
	}
}

// isCrowded reports whether the memtable of a tail is nearly full, while there is room
// for as many items again.
func (p *partition) isCrowded(t *tail) bool {
	return p.isMemFilling(t) && t.bytes < p.storage.options.SegmentBytes/2
}

// isMemFilling reports whether it is 70 % full with what a commit may ask for: a tail is
// closed when that is not there.
func (p *partition) isMemFilling(t *tail) bool { return t.memUsed()+p.asked >= t.memLimit()*7/10 }

// spares is how many segments before the tail stay open where there is memory for
// them: one whose items are done before it would be sealed never gets a table, which
// would be another write of all that is small in it.
const spares = 3

// spare returns how many segments before the tail may stay open: where space is short
// one, since sealing the others gives back what is reserved of them.
func (p *partition) spare() int {
	switch {
	case !p.storage.hasRoom(0):
		return 0
	case p.storage.isShort(p.dir):
		return 1
	}
	return spares
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
// written, unless it only rests, then the database closed and its memtable turned
// into a table, for which blocks are reserved first. That is not begun near a full
// disk, which is where floor bytes are left: the segment stays open and is tried
// again, unless the partition is closed; then its files stay as after a crash.
func (p *partition) seal(s *segment, closing bool, floor int64) {
	t := s.writer
	t.failed = t.failed || p.err != nil // What is on flash is not known.
	if t.asleep.is && closing {
		p.shutAsleep(s)
		return
	}
	if err := t.wake(); err != nil { // Not when it is closing.
		if !t.asleep.told {
			t.asleep.told = true
			p.storage.report(t.dir, err)
		}
		return // It is tried again.
	}
	n, err := p.tableFor(t, floor)
	if err != nil && !closing {
		return
	}
	p.takeCost(t)
	used := t.memUsed()
	s.writer, s.busy, s.before, s.filled = nil, make(chan struct{}), t.usedBytes(), t.filled()
	busy := s.busy
	p.background.Go(func() {
		defer close(busy)
		if !t.rests && n != nil {
			n, err := writeSources(s.dir, t.sources)
			p.reportUnlessFull(s, err)
			p.written.Add(n)
		}
		err := p.storage.shutTail(t, n)
		if errors.Is(err, errStuck) {
			s.stuck = err
		}
		p.reportUnlessFull(s, err)
		p.written.Add(used)
		s.bytes = diskBytes(s.dir)
	})
}

// shutAsleep closes a segment that sleeps when the partition is closed.
func (p *partition) shutAsleep(s *segment) {
	t := s.writer
	p.takeCost(t)
	s.writer = nil
	p.background.Go(func() { p.reportUnlessFull(s, t.shutAsleep()) })
}

// reportUnlessFull reports a failure to close a segment, but for others having
// taken the room: what is missing then is made when the segment is read.
func (p *partition) reportUnlessFull(s *segment, err error) {
	if !isFull(err) && !errors.Is(err, queue.ErrFull) {
		p.storage.report(s.dir, err)
	}
}

// tableFor makes room for the table of a tail's memtable where so many bytes stay
// free then; nil if it is empty.
func (p *partition) tableFor(t *tail, floor int64) (*tableFile, error) {
	if err := needSpace(p.dir, tableSpace(t.memUsed())+settleSpace, floor); err != nil {
		return nil, err
	}
	return t.newTable()
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
		if p.tail != nil && p.tail.writer.asleep.is {
			// Nobody bounds how many are closed at a time.
			p.storage.rousing <- struct{}{}
			defer func() { <-p.storage.rousing }()
		}
		if err := p.rest(false); err != nil {
			return err
		}
	}
	p.removeDone()
	if p.storage.isShort(p.dir) {
		p.giveBackSpent()
	}
	p.storage.tendBallast()
	p.sealOld(p.spare(), p.storage.options.MinFree)
	if p.tail != nil && !p.tail.writer.asleep.is {
		p.prepareNext()
	}
	if idle {
		p.background.Wait() // The memory is free only then.
		p.spent.drop()
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
		if i == last || !p.isDone(s.span) || p.state.HasEvents(s.span) || p.isKept(s.span) {
			kept = append(kept, s)
			continue
		}
		p.remove(s)
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

// remove has a segment removed by a goroutine.
func (p *partition) remove(s *segment) {
	t := s.writer
	if t != nil {
		p.takeCost(t)
		s.writer = nil
	}
	for _, b := range []*decodedBlock{&p.block, &p.looked} {
		if b.span == s.span {
			p.storage.dropBlock(b)
		}
	}
	p.storage.readers.drop(s)
	if s.sources != nil {
		_ = s.sources.close() // It was only read.
	}
	spent := p.spentOf()
	p.background.Go(func() {
		s.wait()
		err := error(nil)
		if t != nil {
			err = t.throwAway(spent)
		} else {
			err = discardSealed(s.dir, spent)
		}
		p.reportUnlessFull(s, err)
		p.storage.keepBallast()
	})
}
