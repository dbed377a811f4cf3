package queue

import (
	"cmp"
	"math"
	"slices"
)

// Events of a partition lie in the commits that made them happen, as references
// to the items: what an event tells of is read back when it is asked for. So the
// segments of these commits and items stay until the events are delivered. The
// EventBook says which these are. It knows events by runs of thousands, so that
// its size depends on the number of segments, not of events.

// EventBook is what a partition knows of its events without looking at them. It
// is part of the State.
type EventBook struct {
	// Head is the number of the last event written.
	Head uint64
	// Delivered is the number of the last event that was delivered, Fence what
	// the deliverer wants kept with it.
	Delivered, Fence uint64
	// Released: events up to this one cannot be read any more.
	Released uint64
	// Dropped is how many events are in Gaps, or were when they were delivered.
	Dropped uint64

	// Base and the boot time are how long the device has run since the first
	// event, reboots left out. Last is the boot time of the last commit.
	Base, Last int64

	// Epochs has the first event of each epoch, ascending; at most maxEpochs.
	Epochs []EpochStart
	// Gaps are the ranges of events above Released that cannot be had, ascending,
	// and Runs the others. A gap may cover a part of a run.
	Gaps []Gap
	Runs []EventRun

	bytes int64          // sum of the runs' Bytes
	holds map[uint64]int // runs that need the segment, by span
}

// EventRun is a run of events with consecutive numbers whose commits lie in one
// span.
type EventRun struct {
	First uint64             // number of the first event
	Count [eventTypes]uint32 // events of each type
	// Span is the one that the commits lie in, Pos the place in it, in the
	// store's words, of the commit with the first event.
	Span, Pos uint64
	// Spans are those that the items lie in.
	Spans []uint64
	Bytes int64 // the sum of Item.Size of the items
	// At is the moment of the first event; Since and Until those of the first
	// and the last on the scale of EventBook.Base.
	At           Instant
	Since, Until int64
}

// EventBatch are the events of one commit.
type EventBatch struct {
	Epoch  uint64
	First  uint64 // number of the first event
	Groups []EventGroup
	Bytes  int64 // the sum of Item.Size of the items
	// Span and Pos say where the store puts the commit; see PartitionStore.Place.
	Span, Pos uint64

	seqs []uint64 // what add has put into Groups, in one piece
	from int      // where in it the last group begins
}

// EventGroup are events in a row that differ in the item only.
type EventGroup struct {
	Type     EventType
	Attempts int32
	Seqs     []uint64 // sequence numbers of the items, at least one
}

// EventMarks are the marks of an EventBook after a commit, not differences.
type EventMarks struct{ Delivered, Fence, Released, Dropped uint64 }

const (
	// maxEpochs and maxGaps bound the lists of an EventBook.
	maxEpochs = 256
	maxGaps   = 256

	// A run ends before it has more than these, or than a part runShare of all
	// that is held, whichever is more; or when it is runTime old.
	runEvents = 4096
	runBytes  = 128 << 10
	runShare  = 256
	runTime   = int64(3600e9)
	// runSpans bounds the spans that the items of a run lie in, but for what one
	// commit brings.
	runSpans = 8
)

// Len returns the number of events.
func (b *EventBatch) Len() int {
	n := 0
	for i := range b.Groups {
		n += len(b.Groups[i].Seqs)
	}
	return n
}

// End returns the number after the last event.
func (b *EventBatch) End() uint64 { return b.First + uint64(b.Len()) }

// add appends an event.
func (b *EventBatch) add(t EventType, seq uint64, attempts int32) {
	if n := len(b.Groups); n == 0 || b.Groups[n-1].Type != t || b.Groups[n-1].Attempts != attempts {
		b.Groups = append(b.Groups, EventGroup{Type: t, Attempts: attempts})
		b.from = len(b.seqs)
	}
	b.seqs = append(b.seqs, seq)
	b.Groups[len(b.Groups)-1].Seqs = b.seqs[b.from:]
}

// spans returns the spans of the items.
func (b *EventBatch) spans() []uint64 {
	var spans []uint64
	for i := range b.Groups {
		for _, seq := range b.Groups[i].Seqs {
			// Mostly it is the one before.
			if no := Span(seq); len(spans) == 0 || spans[len(spans)-1] != no && !slices.Contains(spans, no) {
				spans = append(spans, no)
			}
		}
	}
	slices.Sort(spans)
	return spans
}

// Len returns the number of events.
func (r *EventRun) Len() uint64 {
	var n uint64
	for _, c := range r.Count {
		n += uint64(c)
	}
	return n
}

// Last returns the number of the last event.
func (r *EventRun) Last() uint64 { return r.First + r.Len() - 1 }

// applyEvents does what the commit says of events.
func (s *State) applyEvents(c *Commit) {
	if c.Marks != nil {
		s.SetEventMarks(*c.Marks)
	}
	for i := range c.Gaps {
		s.AddGap(c.Gaps[i])
	}
	if c.Events != nil {
		s.AddEvents(c.At, c.Events)
	}
	if s.Events != nil {
		s.Events.Last = c.At.Mono
	}
}

// AddEvents takes note of the events of a commit.
func (s *State) AddEvents(at Instant, b *EventBatch) {
	book := s.eventBook()
	if n := len(book.Epochs); n == 0 || book.Epochs[n-1].Epoch != b.Epoch {
		if n >= maxEpochs {
			book.Epochs = slices.Delete(book.Epochs, 0, n-maxEpochs+1)
		}
		book.Epochs = append(book.Epochs, EpochStart{Epoch: b.Epoch, First: b.First})
	}
	spans, up := b.spans(), addSat(book.Base, at.Mono)
	n := len(book.Runs)
	if n == 0 || !book.goesOn(&book.Runs[n-1], b, spans, up) {
		book.Runs = append(book.Runs, EventRun{First: b.First, Span: b.Span, Pos: b.Pos, At: at, Since: up})
		book.hold(b.Span, 1)
		n = len(book.Runs)
	}
	r := &book.Runs[n-1]
	for _, no := range spans {
		if i, found := slices.BinarySearch(r.Spans, no); !found {
			r.Spans = slices.Insert(r.Spans, i, no)
			book.hold(no, 1)
		}
	}
	for i := range b.Groups {
		r.Count[b.Groups[i].Type] += uint32(len(b.Groups[i].Seqs))
	}
	r.Bytes, r.Until = r.Bytes+b.Bytes, up
	book.bytes += b.Bytes
	book.Head = b.End() - 1
}

// goesOn reports whether the batch belongs to the run r, which is the last one.
func (b *EventBook) goesOn(r *EventRun, batch *EventBatch, spans []uint64, up int64) bool {
	if r.Span != batch.Span || r.Last()+1 != batch.First || up-r.Since > runTime {
		return false
	}
	n := len(r.Spans)
	for _, no := range spans {
		if _, found := slices.BinarySearch(r.Spans, no); !found {
			n++
		}
	}
	return n <= runSpans && r.Len() < max(runEvents, (b.Head-b.Released)/runShare) && r.Bytes < max(runBytes, b.bytes/runShare)
}

// SetEventMarks sets the marks, and forgets what they release.
func (s *State) SetEventMarks(m EventMarks) {
	b := s.eventBook()
	b.Delivered, b.Fence, b.Dropped = m.Delivered, m.Fence, m.Dropped
	b.release(m.Released)
}

// release forgets the runs and gaps up to event number to.
func (b *EventBook) release(to uint64) {
	b.Released = max(b.Released, to)
	b.dropRuns(func(r *EventRun) bool { return r.Last() <= b.Released })
	b.Gaps = slices.DeleteFunc(b.Gaps, func(g Gap) bool { return g.Last <= b.Released })
}

// AddGap puts a gap in place of the runs and gaps that lie in its range, and of
// the gap that ends where it does.
func (s *State) AddGap(g Gap) {
	b := s.eventBook()
	b.dropRuns(func(r *EventRun) bool { return r.First >= g.First && r.Last() <= g.Last })
	b.Gaps = slices.DeleteFunc(b.Gaps, func(o Gap) bool { return o.First >= g.First && o.Last <= g.Last || o.Last == g.Last })
	i, _ := slices.BinarySearchFunc(b.Gaps, g, func(o, g Gap) int { return cmp.Compare(o.First, g.First) })
	b.Gaps = slices.Insert(b.Gaps, i, g)
}

// dropRuns forgets the runs for which gone says so.
func (b *EventBook) dropRuns(gone func(r *EventRun) bool) {
	b.Runs = slices.DeleteFunc(b.Runs, func(r EventRun) bool {
		if !gone(&r) {
			return false
		}
		b.bytes -= r.Bytes
		b.hold(r.Span, -1)
		for _, no := range r.Spans {
			b.hold(no, -1)
		}
		return true
	})
}

// hold adds n runs that need a span.
func (b *EventBook) hold(span uint64, n int) {
	if b.holds[span] += n; b.holds[span] == 0 {
		delete(b.holds, span)
	}
}

// HasEvents reports whether events that can still be read need the span: their
// commits are in it, or their items.
func (s *State) HasEvents(span uint64) bool { return s.Events != nil && s.Events.holds[span] > 0 }

// eventBook returns the book, which is made when it is needed.
func (s *State) eventBook() *EventBook {
	if s.Events == nil {
		s.Events = &EventBook{holds: make(map[uint64]int)}
	}
	return s.Events
}

// restore rebuilds what is not stored.
func (b *EventBook) restore() {
	b.bytes, b.holds = 0, make(map[uint64]int)
	for i := range b.Runs {
		r := &b.Runs[i]
		b.bytes += r.Bytes
		b.hold(r.Span, 1)
		for _, no := range r.Spans {
			b.hold(no, 1)
		}
	}
}

// enterBoot goes on with the time that the device has run in a new boot.
func (b *EventBook) enterBoot() {
	b.Base, b.Last = addSat(b.Base, b.Last), 0
}

// marks returns the marks as they are.
func (b *EventBook) marks() EventMarks {
	return EventMarks{Delivered: b.Delivered, Fence: b.Fence, Released: b.Released, Dropped: b.Dropped}
}

// first returns the number of the oldest event that can be read, Head+1 if
// there is none.
func (b *EventBook) first() uint64 {
	first := b.Head + 1
	if len(b.Runs) > 0 {
		first = min(first, b.Runs[0].First)
	}
	if len(b.Gaps) > 0 {
		first = min(first, b.Gaps[0].Last)
	}
	return max(first, b.Released+1)
}

// run returns the run that holds event number seq, nil if none does.
func (b *EventBook) run(seq uint64) *EventRun {
	i, found := slices.BinarySearchFunc(b.Runs, seq, func(r EventRun, seq uint64) int {
		switch {
		case r.Last() < seq:
			return -1
		case r.First > seq:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &b.Runs[i]
}

// gap returns the gap that covers event number seq, and the number of the first
// event behind seq that a gap covers.
func (b *EventBook) gap(seq uint64) (g *Gap, next uint64) {
	next = math.MaxUint64
	for i := range b.Gaps {
		switch g := &b.Gaps[i]; {
		case g.Last < seq:
		case g.First <= seq:
			return g, next
		default:
			return nil, g.First
		}
	}
	return nil, next
}

// waiting returns how many bytes the items of the events have that are to be
// delivered, those of a whole run more at most.
func (b *EventBook) waiting() int64 {
	var bytes int64
	for i := len(b.Runs) - 1; i >= 0 && b.Runs[i].Last() > b.Delivered; i-- {
		bytes += b.Runs[i].Bytes
	}
	return bytes
}

// pending returns how many events are to be delivered, without those in gaps,
// and how many gaps.
func (b *EventBook) pending() (events uint64, gaps int) {
	events = b.Head - b.Delivered
	for i := range b.Gaps {
		if g := &b.Gaps[i]; g.Last > b.Delivered {
			events -= g.Last - max(g.First-1, b.Delivered)
			gaps++
		}
	}
	return events, gaps
}
