package badgerstore

import (
	"errors"
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
func (p *partition) recover() error {
	names, err := listDir(p.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", p.dir)
	}
	if err := removeLeftovers(p.dir, names); err != nil {
		return unavailable(err, "cannot remove what is left in %s", p.dir)
	}
	p.nextSpan = nextSpanAfter(p.dir, names)
	for _, span := range segmentSpans(names) {
		p.segments = append(p.segments, newSegment(p.dir, span))
	}
	for len(p.segments) > 0 && p.state == nil {
		s := p.segments[len(p.segments)-1]
		p.state, err = p.load(s)
		switch {
		case errors.Is(err, errUnborn):
			p.storage.readers.drop(s)
			if err := discardDir(s.dir); err != nil {
				return unavailable(err, "cannot remove the directory %s", s.dir)
			}
			p.segments = p.segments[:len(p.segments)-1]
		case err != nil:
			return err
		}
	}
	if p.state == nil {
		p.state = queue.NewState(p.key.Tag, p.storage.options.Boot)
	}
	p.nextSpan = max(p.nextSpan, queue.Span(p.state.Next)+1)
	for _, s := range p.segments {
		s.bytes = diskBytes(s.dir)
	}
	return p.fillLeases()
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

// load reads the state that the segment leads to.
func (p *partition) load(s *segment) (*queue.State, error) {
	c, err := inspect(s.dir)
	if err != nil {
		return nil, err
	}
	if !c.manifest {
		return nil, errUnborn
	}
	d, err := p.storage.readers.acquire(s)
	if err != nil {
		return nil, err
	}
	defer p.storage.readers.release(s)
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
	r := replay{database: d, span: s.span, state: state}
	if err := r.run(); err != nil {
		return nil, err
	}
	if r.dropped > 0 && p.storage.options.Events.Dropped != nil {
		p.storage.options.Events.Dropped(s.dir, r.dropped)
	}
	return state, nil
}

// readBeginning reads header and checkpoint. They are written together and are
// on flash before the first record is written; so if they are missing and there
// is no record, the segment was never used.
func readBeginning(d *database) (h segmentHeader, s *queue.State, err error) {
	h, err = readHeader(d)
	if err == nil {
		s, err = readCheckpoint(d)
	}
	if err == nil || !isCorrupt(err) {
		return h, s, err
	}
	var records int
	scan := d.each(letterRecord, 0, func(uint64, func(func([]byte) error) error) (bool, error) {
		records++
		return false, nil
	})
	if scan == nil && records == 0 {
		return h, nil, errUnborn
	}
	return h, nil, corrupt(err, "the segment %s has records, but no beginning", d.dir)
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
// without its block. If that one was known to be on flash it is damage.
// Otherwise it is where the power cut tore the file: nothing from there on was
// acknowledged, whether it can be read or not.
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
			return corrupt(why, "commit %d of %d of the segment %s is damaged; items up to %d may be lost",
				r.commits, r.synced, r.dir, (r.span+1)<<queue.SpanBits-1)
		}
		r.dropped = max(0, total-int(r.commits))
		return nil
	}
}

// survey counts the records and finds out how many were on flash for sure.
func (r *replay) survey() (total int, err error) {
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
		if err != nil {
			return err
		}
		it := &b.items[seq-b.first]
		l := p.state.Leases[seq]
		l.Created, l.Expire, l.Size = it.CreatedAt.UnixNano(), it.ExpireDeadline.UnixNano(), uint32(it.Size())
	}
	return nil
}
