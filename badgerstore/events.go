package badgerstore

import "github.com/kapetan-io/querator-edge/queue"

// eventPlace is where Events has found events: those from number first on in the
// record with number pos of a segment.
type eventPlace struct{ span, first, pos uint64 }

// Place says that the next commit is a record of the tail.
func (p *partition) Place() (span, pos uint64) {
	if p.tail == nil {
		return 0, 0 // A commit without Reserve, which Commit refuses.
	}
	return p.tail.span, p.tail.writer.commits
}

// Events returns the events of whole commits of the run.
func (p *partition) Events(run *queue.EventRun, from uint64, n int) ([]queue.StoredEvents, error) {
	if p.err != nil {
		return nil, p.err
	}
	damage := &queue.EventDamage{Span: run.Span, First: from, Last: run.Last()}
	s := p.segment(run.Span)
	if s == nil {
		damage.Path = newSegment(p.dir, run.Span).dir
		damage.Err = corrupt(nil, "the segment %s is not there", damage.Path)
		return nil, damage
	}
	damage.Path = s.path()
	d, release, err := p.open(s)
	if err == nil {
		defer release()
		r := eventReader{from: from, run: run, wanted: n, boot: s.boot}
		pos := run.Pos
		if at := &p.read; at.span == run.Span && at.first >= run.First && at.first <= from {
			pos = at.pos
		}
		if err = d.each(letterRecord, pos, r.record); err == nil && len(r.found) > 0 {
			p.read = eventPlace{span: run.Span, first: r.found[0].First, pos: r.found[0].Pos}
			return r.found, nil
		}
		if r.behind != 0 {
			damage.Last = min(damage.Last, r.behind-1)
		}
		if err == nil {
			err = r.fault
		}
	}
	switch {
	case err == nil:
		err = corrupt(nil, "no record of %s holds the event %d", s.dir, from)
	case !isCorrupt(err):
		return nil, p.fail(err)
	}
	damage.Err = err
	return nil, damage
}

// eventReader collects the events of the records of a segment, up to the first
// that are missing.
type eventReader struct {
	from   uint64 // number of the next event
	run    *queue.EventRun
	wanted int
	boot   string

	found  []queue.StoredEvents
	fault  error  // why a record could not be read; nil if all could
	behind uint64 // number of the first event behind those that are missing; 0 is none
}

// record looks at the next record; it is called by database.each.
func (r *eventReader) record(n uint64, read func(func([]byte) error) error) (more bool, err error) {
	var rec record
	err = read(func(value []byte) (err error) {
		rec, err = decodeRecord(value)
		return err
	})
	if isCorrupt(err) {
		r.fault = err
		return true, nil
	}
	e := rec.Commit.Events
	switch {
	case err != nil:
		return false, err
	case e == nil || e.End() <= r.from:
		return true, nil
	case e.First > r.from:
		r.behind = e.First
		return false, nil
	}
	e.Span, e.Pos = r.run.Span, n
	r.found = append(r.found, queue.StoredEvents{EventBatch: *e, At: rec.Commit.At, Boot: r.boot})
	r.wanted -= int(min(e.End()-r.from, uint64(max(r.wanted, 0))))
	r.from = e.End()
	return r.wanted > 0 && r.from <= r.run.Last(), nil
}

// HeldForEvents returns what segments occupy that only events need. The last one
// is there anyway.
func (p *partition) HeldForEvents() int64 {
	if p.state == nil || p.state.Events == nil || len(p.state.Events.Runs) == 0 {
		return 0
	}
	var bytes int64
	for _, s := range p.segments[:max(0, len(p.segments)-1)] {
		if !p.state.HasEvents(s.span) || !p.isDone(s.span) {
			continue
		}
		switch {
		case s.writer != nil: // What is reserved beyond is given back soon.
			bytes += s.writer.filled()
		case s.isBusy():
			bytes += s.filled
		default:
			bytes += s.bytes
		}
	}
	return bytes
}

// filled returns how much of the tail's files is written.
func (t *tail) filled() int64 { return t.memEnd + t.valueEnd }
