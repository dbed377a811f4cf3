package badgerstore

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kapetan-io/querator-edge/queue"
)

// What recovery finds in a segment, beside errors for the caller.
var (
	// errStale: the partition belongs to an earlier queue of that name.
	errStale = errors.New("stale partition")
	// errUnborn: the segment was being created when the power went.
	errUnborn = errors.New("segment without a beginning")
)

func sortSpans(spans []uint64) { slices.Sort(spans) }

// recover reads the state of the partition: from the newest segment that has a
// beginning, its checkpoint and then its records. Older segments are not opened.
//
// Where that fails for damage, the segment before it leads to the same state if
// it is still there: what its records end in is what the next one's checkpoint
// was. Then, or when records are lost, what the newest segments hold beyond the
// state that can be had is offered again, since nobody knows what became of it.
func (p *partition) recover() error {
	names, err := listDir(p.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", p.dir)
	}
	if err := removeLeftovers(p.dir, names); err != nil {
		return unavailable(err, "cannot remove what is left in %s", p.dir)
	}
	p.nextSpan = nextSpanAfter(p.dir, names)
	if names, err = listDir(p.dir); err != nil {
		return unavailable(err, "cannot read the directory %s", p.dir)
	}
	for _, span := range segmentSpans(names) {
		p.segments = append(p.segments, newSegment(p.dir, span))
	}
	base, found, err := p.findBase()
	if err != nil {
		return err
	}
	if err := p.replayFrom(base, found); err != nil {
		return err
	}
	p.nextSpan = max(p.nextSpan, queue.Span(p.state.Next)+1)
	for _, s := range p.segments {
		s.bytes = diskBytes(s.dir)
	}
	p.findMissing()
	return p.fillLeases()
}

// findBase finds the newest segment with a beginning, and takes its checkpoint
// as the state. Without one the state is that of a new partition. Segments that
// nothing can be read of are no longer among p.segments.
func (p *partition) findBase() (base int, found bool, err error) {
	newest := true
	for i := len(p.segments) - 1; i >= 0; i-- {
		s := p.segments[i]
		s.mayEnd = newest
		state, err := p.begin(s)
		if isCorrupt(err) && s.aside == "" {
			// The files may hold more than Badger finds without the damaged part.
			again, fault := p.repair(s, err)
			if fault != nil {
				return 0, false, fault
			}
			s.gone = !again
			if again {
				state, err = p.begin(s)
			}
		}
		switch {
		case errors.Is(err, errUnborn):
			p.storage.readers.drop(s)
			if err := discardDir(s.dir); err != nil {
				return 0, false, unavailable(err, "cannot remove the directory %s", s.dir)
			}
			p.segments = slices.Delete(p.segments, i, i+1)
			continue
		case isCorrupt(err):
			p.note(s, err)
			if s.gone {
				p.segments = slices.Delete(p.segments, i, i+1)
			}
		case err != nil:
			return 0, false, err
		default:
			if s.aside != "" {
				p.note(s, corrupt(nil, "the segment %s was damaged", s.dir))
			}
			p.state = state
			return i, true, nil
		}
		newest = false
	}
	p.state = queue.NewState(p.key.Tag, p.storage.options.Boot)
	return 0, false, nil
}

// note keeps a report of damage to a segment of which no items are known to be
// lost.
func (p *partition) note(s *segment, err error) {
	p.found = append(p.found, &queue.Damage{Span: s.span, Path: s.path(), Err: err})
}

// noteDamage keeps a report of damage, and a copy of the segment.
func (p *partition) noteDamage(s *segment, why error) error {
	if s.aside == "" {
		if _, err := p.SetAside(s.span, why.Error()); err != nil {
			return err
		}
	}
	p.note(s, why)
	return nil
}

// abandon closes what recover has opened.
func (p *partition) abandon() {
	for _, s := range p.segments {
		p.storage.readers.drop(s)
	}
}

// nextSpanAfter returns the least span beyond all that left a trace in dir: a
// segment, one that is being removed, one that was set aside.
func nextSpanAfter(dir string, names []string) uint64 {
	next := uint64(1)
	aside, _ := listDir(filepath.Join(dir, quarantineName)) // There need not be one.
	for _, name := range slices.Concat(names, aside) {
		base, _, _ := strings.Cut(name, ".")
		if span, ok := parseSegmentName(base); ok {
			next = max(next, span+1)
		}
	}
	return next
}

// begin reads the state that the segment began with.
func (p *partition) begin(s *segment) (*queue.State, error) {
	c, err := inspect(s.dir)
	if err != nil && !isCorrupt(err) {
		return nil, err
	}
	if s.mayEnd && c.mem > 0 {
		if err := refresh(s.dir); err != nil {
			return nil, err
		}
	}
	used := isUsed(s.dir)
	if err == nil && !c.manifest && !used {
		return nil, errUnborn
	}
	if !used || s.mayEnd && c.mem > 0 {
		h, err := collect(s.dir, isOurs)
		if err != nil {
			return nil, err
		}
		if !used && len(h.numbers(letterRecord))+len(h.numbers(letterBlock)) == 0 {
			return nil, errUnborn
		}
		s.torn = h.torn || h.unfound > 0
	}
	d, err := p.acquire(s)
	if err != nil {
		return nil, err
	}
	defer p.storage.readers.release(s)
	s.torn = s.torn && s.aside == "" // Else what is missing is damage.
	header, state, err := readBeginning(d)
	if err != nil {
		return nil, err
	}
	if header.Tag != p.key.Tag {
		return nil, errStale
	}
	if header.Span != s.span {
		return nil, corrupt(nil, "%s says that it is the segment %s", s.dir, segmentName(header.Span))
	}
	s.boot = header.Boot
	return state, nil
}

// readBeginning reads header and checkpoint. They are written together and are
// on flash before the first record is written; so if they are missing and there
// is neither a record nor the mark of use, the segment was never used.
func readBeginning(d *database) (h segmentHeader, s *queue.State, err error) {
	h, err = readHeader(d)
	if err == nil {
		s, err = readCheckpoint(d)
	}
	if err == nil || !isCorrupt(err) {
		return h, s, err
	}
	found := isUsed(d.dir)
	for _, letter := range []byte{letterRecord, letterBlock} {
		scan := d.each(letter, 0, func(uint64, func(func([]byte) error) error) (bool, error) {
			found = true
			return false, nil
		})
		found = found || scan != nil
	}
	if !found {
		return h, nil, errUnborn
	}
	return h, nil, corrupt(err, "the segment %s was in use, but has no beginning", d.dir)
}

// replayFrom applies the records of the segments from number base on, if the
// state is the one that the first begins with. Of the last one an end may be
// missing, which was never acknowledged; anything else that is missing is damage,
// and so may be a segment between two that do not follow each other. From there
// on items are offered again.
func (p *partition) replayFrom(base int, sound bool) error {
	for i := base; i < len(p.segments); i++ {
		s := p.segments[i]
		sound = sound && (i == base || s.span == p.segments[i-1].span+1)
		d, err := p.acquire(s)
		if err == nil {
			if sound {
				sound, err = p.replay(s, d, i == len(p.segments)-1)
			}
			if err == nil && (!sound || s.aside != "") {
				// Records at the end of a damaged segment may be lost without a trace.
				next := p.state.Next
				err = p.revive(d)
				sound = sound && p.state.Next == next
			}
			p.storage.readers.release(s)
		}
		if isCorrupt(err) {
			err = p.noteDamage(s, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replay applies the records of one segment, and reports whether all of them
// were there.
func (p *partition) replay(s *segment, d *database, last bool) (sound bool, err error) {
	r := replay{database: d, span: s.span, state: p.state}
	err = r.run()
	switch {
	case err == nil:
	case isCorrupt(err):
		return false, p.noteDamage(s, err)
	default:
		return false, err
	}
	if s.torn {
		r.dropped = max(1, r.dropped) // It may have no record that can be read.
	}
	if r.dropped == 0 {
		return true, nil
	}
	if p.storage.options.Events.Dropped != nil {
		p.storage.options.Events.Dropped(s.dir, r.dropped)
	}
	return last, nil
}

// revive adds the items of the blocks in d that the state has never heard of.
// The engine sets the sums right.
func (p *partition) revive(d *database) error {
	return d.each(letterBlock, p.state.Next, func(first uint64, _ func(func([]byte) error) error) (bool, error) {
		items, found, err := readBlock(d, first, p.key.Tag, false, noMost)
		if err != nil || !found || len(items) == 0 {
			if isCorrupt(err) {
				return true, nil // Nobody knows how many items it had.
			}
			return true, err
		}
		a := queue.Added{First: first, Count: uint32(len(items)), MinExpire: math.MaxInt64, MaxExpire: math.MinInt64}
		for i := range items {
			if it := &items[i]; it.EnqueueAt.IsZero() {
				e := it.ExpireDeadline.UnixNano()
				a.MinExpire, a.MaxExpire = min(a.MinExpire, e), max(a.MaxExpire, e)
			} else {
				p.state.SetScheduled(queue.Scheduled{Seq: it.Seq(), Due: it.EnqueueAt.UnixNano(), Attempts: it.Attempts, Size: uint32(it.Size())})
			}
		}
		p.state.Add(items[0].Written, &a)
		return true, nil
	})
}

// findMissing finds spans that have items, but no segment.
func (p *partition) findMissing() {
	missing := make(map[uint64]bool)
	look := func(span uint64) {
		if p.segment(span) != nil || missing[span] {
			return
		}
		missing[span] = true
		p.found = append(p.found, p.missing(span<<queue.SpanBits))
	}
	for i := range p.state.Spans {
		look(p.state.Spans[i].Span)
	}
	for seq := range p.state.Leases {
		look(queue.Span(seq))
	}
	for seq := range p.state.Scheduled {
		look(queue.Span(seq))
	}
}

// replay applies the records of a segment to the state of its checkpoint.
type replay struct {
	*database
	span  uint64
	state *queue.State

	commits uint64 // records applied
	synced  uint64 // so many records were on flash for sure
	dropped int    // records at the end that were never acknowledged
}

// run applies the records in order, up to the first that is missing, damaged or
// without its block. If that one was known to be on flash it is damage, of kind
// ErrCorrupt; what was applied stands. Otherwise it is where the power cut tore
// the file: nothing from there on was acknowledged, whether it can be read or
// not.
func (r *replay) run() error {
	total, err := r.survey()
	if err != nil {
		return err
	}
	for {
		why := r.step()
		switch {
		case why == nil:
			r.commits++
			continue
		case !isCorrupt(why):
			return why
		case r.commits < r.synced:
			return corrupt(why, "commit %d of at least %d of the segment %s is damaged; what was leased or completed by it and later ones is offered again",
				r.commits, r.synced, r.dir)
		}
		r.dropped = max(0, total-int(r.commits))
		return nil
	}
}

// survey counts the records and finds out how many were on flash for sure.
func (r *replay) survey() (total int, err error) {
	r.synced = syncedAtLeast(r.dir)
	err = r.each(letterRecord, 0, func(n uint64, read func(func([]byte) error) error) (bool, error) {
		total++
		err := read(func(value []byte) error {
			rec, err := decodeRecord(value)
			if err == nil && rec.N == n {
				r.synced = max(r.synced, rec.Synced)
			}
			return err
		})
		if err != nil && !isCorrupt(err) {
			return false, err
		}
		return true, nil
	})
	return total, err
}

// step applies the next record. An error of kind ErrCorrupt says that it cannot
// be had.
func (r *replay) step() error {
	var rec record
	found, err := r.get(recordKey(r.commits), func(value []byte) (err error) {
		rec, err = decodeRecord(value)
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		return errCorrupt("record", "number %d is missing", r.commits)
	case rec.N != r.commits:
		return errCorrupt("record", "number %d says that it is %d", r.commits, rec.N)
	}
	if err := r.checkAdded(&rec.Commit.Added); err != nil {
		return err
	}
	if e := rec.Commit.Events; e != nil {
		e.Span, e.Pos = r.span, rec.N
	}
	r.state.Apply(&rec.Commit)
	return nil
}

// checkAdded sees whether the blocks of new items are there. Those that were on
// flash for sure are checked when they are read.
func (r *replay) checkAdded(a *queue.Added) error {
	if a.Count == 0 {
		return nil
	}
	if queue.Span(a.First) != r.span || a.First < r.state.Next {
		return errCorrupt("record", "number %d adds items from %d on, which is not its place", r.commits, a.First)
	}
	if r.commits < r.synced {
		return nil
	}
	for first, end := a.First, a.First+uint64(a.Count); first < end; {
		h, err := r.verifyBlock(first)
		if err != nil {
			return err
		}
		first += uint64(h.Count)
		if first > end {
			return errCorrupt("block", "it ends with item %d, the commit with %d", first-1, end-1)
		}
	}
	return nil
}

// verifyBlock checks the block that begins with sequence number first.
func (d *database) verifyBlock(first uint64) (h blockHeader, err error) {
	found, err := d.get(blockKey(first), func(value []byte) (err error) {
		h, err = verifyBlock(value)
		return err
	})
	switch {
	case err != nil:
		return h, inBlock(d, first, err)
	case !found:
		return h, errCorrupt("block", "the one of items from %d on is missing in %s", first, d.dir)
	case h.First != first || h.Count == 0:
		return h, errCorrupt("block", "it begins with %d instead of %d and has %d items", h.First, first, h.Count)
	}
	return h, nil
}

// fillLeases adds what records do not hold to the leases: facts of the items.
func (p *partition) fillLeases() error {
	var seqs []uint64
	for seq, l := range p.state.Leases {
		if l.Size == 0 {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		b, err := p.blockOf(seq, &p.looked)
		var damage *queue.Damage
		if errors.As(err, &damage) {
			p.found = append(p.found, damage)
			continue
		}
		if err != nil {
			return err
		}
		it := &b.items[seq-b.first]
		l := p.state.Leases[seq]
		l.Created, l.Expire, l.Size = it.CreatedAt.UnixNano(), it.ExpireDeadline.UnixNano(), uint32(it.Size())
	}
	return nil
}
