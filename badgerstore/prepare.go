package badgerstore

import (
	"errors"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Segments are made ahead of their use. Usually that saves a request from
// waiting for it. Where the disk is nearly full it is the reserve that leases and
// completes go on with when others take the rest: a spare is made then as soon as
// there is a tail, and it is a lean one, with few blocks reserved. When there is
// no spare either, a lean segment is made of the ballast.

const (
	// leanStep is how far ahead of the write offset a lean segment reserves blocks.
	leanStep = 64 << 10
	// leanSpace is what the small files of a new segment take.
	leanSpace = 64 << 10
	// leanGrowth is how much larger checkpoint and record may have become when a
	// lean spare is used, in times.
	leanGrowth = 2

	// A disk is short of space when less than this times Options.MinFree is free.
	shortSpace = 4
	// prepareAgain is how long after a failure a spare is tried to be made again.
	prepareAgain = 100 * time.Millisecond
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

// isReady reports whether it was made, or could not be.
func (n *prepared) isReady() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// hasFailed reports whether it could not be made.
func (n *prepared) hasFailed() bool { return n.isReady() && n.err != nil }

// suits reports whether it is made for at least those sizes. It waits until it is
// made.
func (n *prepared) suits(z *sizes) bool {
	<-n.ready
	return n.err == nil && n.sizes.mem >= z.mem && n.sizes.values >= z.values && n.sizes.threshold == z.threshold
}

// sizesFor returns what a segment is made for whose first commit needs so much
// and whose checkpoint has that size.
// Its memtable has at least mem bytes.
func (p *partition) sizesFor(mem int64, need demand, checkpoint int64) sizes {
	z := sizes{mem: mem, values: p.storage.options.SegmentBytes + recordSlack, threshold: valueThreshold}
	if need.blocks > manyBlocks {
		z.threshold = lowThreshold
	}
	z.fit(need, checkpoint)
	return z
}

// leanSizes returns what a segment is made for that takes records only, in as
// little space as will do.
func (p *partition) leanSizes(checkpoint int64) sizes {
	need := p.demand(0, 0)
	z := sizes{mem: minMemTable, values: p.storage.options.SegmentBytes + recordSlack, threshold: valueThreshold, step: leanStep}
	z.fit(need, checkpoint)
	z.first = checkpoint + need.values
	return z
}

// fit makes the sizes large enough for a first commit and a checkpoint.
func (z *sizes) fit(need demand, checkpoint int64) {
	need.blocks += 2 // Header and checkpoint.
	mem := need.mem(z)
	for z.memLimit() < mem {
		z.mem *= 4
	}
	z.values = max(z.values, need.values+checkpoint+recordSlack)
}

// takeNext returns a new tail for a commit that needs so much, with blocks
// reserved for the checkpoint: the one that was prepared, if it will do, or a new
// one. One that is for records only is lean when space is short.
func (p *partition) takeNext(need demand, checkpoint int64) (*tail, error) {
	z := p.sizesFor(minMemTable, need, checkpoint)
	if n := p.next; n != nil && (n.suits(&z) || p.isLastResort(need, checkpoint)) {
		err := n.tail.reserve(checkpoint + need.values)
		if err == nil {
			p.next = nil
			return n.tail, nil
		}
		if !errors.Is(err, queue.ErrFull) {
			return nil, err
		}
	}
	p.discardNext()
	z = p.sizesFor(p.wantedMem(), need, checkpoint)
	t, err := p.newTail(z, checkpoint, func(need int64) error { return needSpace(p.dir, need, createMargin) })
	if need.blocks == 0 && errors.Is(err, queue.ErrFull) {
		t, err = p.newTail(p.leanSizes(checkpoint), checkpoint, func(need int64) error { return makeSpace(p.dir, need, 0) })
	}
	return t, err
}

// isLastResort reports whether the segment that was prepared is too small as
// such, but what there is for a commit without items.
func (p *partition) isLastResort(need demand, checkpoint int64) bool {
	z := p.leanSizes(checkpoint)
	return need.blocks == 0 && p.storage.isShort(p.dir) && p.next.suits(&z)
}

// newTail makes a new segment, after room has found what it takes.
func (p *partition) newTail(z sizes, checkpoint int64, room func(need int64) error) (*tail, error) {
	if err := room(z.space()); err != nil {
		return nil, err
	}
	span := p.takeSpan()
	dir := newSegment(p.dir, span).dir
	t, err := createTail(dir, span, z, &p.storage.writing, &p.spent)
	if err != nil {
		_ = discardDir(dir) // What is left of it is removed when the partition is opened.
		return nil, err
	}
	if err := t.reserve(checkpoint); err != nil {
		p.discardTail(t)
		return nil, err
	}
	return t, nil
}

func (p *partition) takeSpan() uint64 {
	span := p.nextSpan
	p.nextSpan++
	return span
}

// prepareNext has the next segment made when the tail is 70 % full, or at once
// when space is short.
func (p *partition) prepareNext() {
	isShort := p.storage.isShort(p.dir)
	due := p.isFilling()
	if !due && !isShort || p.next != nil && !p.next.hasFailed() {
		return
	}
	now := time.Since(p.storage.started)
	if p.next != nil && now < p.prepareAt {
		return
	}
	p.discardNext()
	p.prepareAt = now + prepareAgain
	z, floor := p.sizesFor(p.wantedMem(), demand{}, 0), p.storage.options.MinFree
	if p.isCrowded(p.tail.writer) {
		larger := z
		larger.mem = min(z.mem*4, p.storage.options.maxMem())
		if p.storage.hasRoom(larger.memory()) {
			z = larger
		}
	}
	if isShort {
		z = p.leanSizes(0)
		z.first *= leanGrowth
		floor /= 2 // The rest is left to other partitions.
	}
	if isShort && due {
		floor = 0
	}
	if !p.storage.hasRoom(z.memory()) {
		return // It is made when it is needed.
	}
	span := p.takeSpan()
	n := &prepared{span: span, dir: newSegment(p.dir, span).dir, ready: make(chan struct{}), sizes: z}
	p.next = n
	journal := p.tail.writer.journal != nil && !isShort && p.storage.hasRoom(z.memory()+journalMemory)
	p.background.Go(func() {
		defer close(n.ready)
		if n.err = needSpace(p.dir, z.space()+createMargin, floor); n.err == nil {
			n.tail, n.err = createTail(n.dir, n.span, n.sizes, &p.storage.writing, &p.spent)
		}
		if n.err == nil && journal {
			// It will want one, too.
			n.tail.making = newJournal(n.dir, n.tail.number)
		}
	})
}

// isFilling reports whether the tail is 70 % full.
func (p *partition) isFilling() bool {
	t := p.tail.writer
	return p.isMemFilling(t) || t.bytes >= p.storage.options.SegmentBytes*7/10 || t.items >= maxSegmentItems*7/10
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
	p.storage.report(t.dir, t.throwAway(nil))
}

// startJournal has a journal made for the tail when it takes small commits, where
// there is room for one on the disk and in memory, and uses it when it is made.
func (p *partition) startJournal() error {
	t := p.tail.writer
	if t.making != nil {
		p.storage.report(t.dir, t.takeJournal())
		return nil
	}
	if !t.wantsJournal() {
		return nil
	}
	if !p.storage.hasRoom(journalMemory) {
		t.postponeJournal()
		return nil
	}
	err := needSpace(p.dir, journalBytes, shortSpace*p.storage.options.MinFree)
	if err == nil {
		err = p.storage.raiseFormat(journalFormat)
	}
	if errors.Is(err, queue.ErrFull) {
		t.postponeJournal()
		return nil
	}
	if err != nil {
		return p.fail(err)
	}
	m := &madeJournal{ready: make(chan struct{})}
	t.making = m
	dir, log := t.dir, t.number
	p.background.Go(func() { m.make(dir, log) })
	return nil
}
