package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// eventReader collects events for a reader.
type eventReader struct {
	p        *partition
	events   []Event
	max      int
	maxBytes int64
	bytes    int64
	payload  bool
	labels   *Item // whose labels are shared
}

// eventsAtOnce bounds the events that room is made for before they are read; so
// many take some 100 KB.
const eventsAtOnce = 256

func (r *eventReader) isFull() bool {
	return len(r.events) >= r.max || len(r.events) > 0 && r.bytes >= r.maxBytes
}

// readOutbox returns events above after. It runs in the loop.
func (p *partition) readOutbox(after uint64, maxEvents int, maxBytes int64, payload bool) ([]Event, error) {
	o, b := p.outbox, p.st.Events
	if b == nil || after >= o.synced {
		return nil, nil
	}
	r := &eventReader{p: p, max: maxEvents, maxBytes: maxBytes, payload: payload}
	r.events = make([]Event, 0, min(uint64(maxEvents), o.synced-after, eventsAtOnce))
	for seq := max(after+1, b.first()); seq <= o.synced && !r.isFull(); {
		next, err := r.read(seq)
		var d *EventDamage
		if errors.As(err, &d) {
			err = p.loseEvents(seq, d)
		}
		if err != nil {
			return nil, p.giveUp(err)
		}
		seq = max(seq, next)
	}
	if n := len(r.events); n > 0 {
		o.shown = max(o.shown, r.events[n-1].Seq)
	}
	return r.events, nil
}

// read collects the events from number seq on, which is not above the last, to
// the end of the gap or run they are in, and returns where to go on.
func (r *eventReader) read(seq uint64) (next uint64, err error) {
	b := r.p.st.Events
	gap, begin := b.gap(seq)
	if gap != nil {
		g := *gap
		r.events = append(r.events, Event{Epoch: g.Epoch, Seq: g.Last, Type: EventGap, At: g.At, Boot: g.Boot, Gap: &g})
		return g.Last + 1, nil
	}
	last := min(r.p.outbox.synced, begin-1)
	run := b.run(seq)
	if run == nil {
		return seq, &EventDamage{Span: 0, First: seq, Last: b.holeEnd(seq, last), Err: errLostEvents(seq)}
	}
	last = min(last, run.Last())
	stored, err := r.p.ps.Events(run, seq, min(r.max-len(r.events), 1024))
	if err != nil {
		return seq, err
	}
	next = seq
	for i := range stored {
		if next, err = r.batch(&stored[i], next, last); err != nil || next > last || r.isFull() {
			return next, err
		}
	}
	if next == seq {
		return seq, &EventDamage{Span: run.Span, First: seq, Last: last, Err: errLostEvents(seq)}
	}
	return next, nil
}

// holeEnd returns the number of the last event of those from seq on, at most
// last, that are in no run.
func (b *EventBook) holeEnd(seq, last uint64) uint64 {
	for i := range b.Runs {
		if first := b.Runs[i].First; first > seq {
			return min(last, first-1)
		}
	}
	return last
}

func errLostEvents(seq uint64) error {
	return &Error{Kind: ErrCorrupt, Op: "read events", Msg: fmt.Sprintf("event %d is not where it should be", seq)}
}

// batch collects the events of one commit with numbers from seq to last.
func (r *eventReader) batch(s *StoredEvents, seq, last uint64) (next uint64, err error) {
	n := s.First
	if n > seq {
		return seq, &EventDamage{Span: s.Span, First: seq, Last: min(n-1, last), Err: errLostEvents(seq)}
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		if end := n + uint64(len(g.Seqs)); end <= seq {
			n = end
			continue
		}
		for _, item := range g.Seqs {
			if n < seq {
				n++
				continue
			}
			if n > last || r.isFull() {
				return n, nil
			}
			e := Event{Epoch: s.Epoch, Seq: n, Type: g.Type, At: s.At, Boot: s.Boot}
			if err := r.item(&e, item, g.Attempts); err != nil {
				return n, err
			}
			r.events = append(r.events, e)
			n++
		}
	}
	return max(seq, n), nil
}

// item reads the item that an event is about. Its memory is the event's: in a
// store it shares that of many others.
func (r *eventReader) item(e *Event, seq uint64, attempts int32) error {
	items, err := r.p.ps.Get([]uint64{seq})
	var d *Damage
	if errors.As(err, &d) {
		e.ItemLost = true
		e.Item = Item{ID: NewID(seq, r.p.key.Tag), Attempts: attempts}
		r.p.tellLostItems(d)
		return nil
	}
	if err != nil {
		return err
	}
	it := items[0]
	e.PayloadSize = int64(len(it.Payload))
	r.bytes += it.Size()
	if r.payload {
		it.Payload = bytes.Clone(it.Payload)
	} else {
		r.bytes -= e.PayloadSize
		it.Payload = nil
	}
	it.SourceID = strings.Clone(it.SourceID)
	if l := r.labels; l != nil && l.Encoding == it.Encoding && l.Kind == it.Kind && l.Reference == it.Reference {
		it.Encoding, it.Kind, it.Reference = l.Encoding, l.Kind, l.Reference
	} else {
		it.Encoding, it.Kind, it.Reference = strings.Clone(it.Encoding), strings.Clone(it.Kind), strings.Clone(it.Reference)
		labels := it
		r.labels = &labels
	}
	it.Attempts, it.IsLeased = attempts, false
	e.Item = it
	return nil
}

// tellLostItems reports damage to items that are gone, of which events tell;
// once for the events of a span in a row.
func (p *partition) tellLostItems(d *Damage) {
	if p.outbox.lost == d.Span || p.events.Quarantined == nil {
		return
	}
	p.outbox.lost = d.Span
	p.events.Quarantined(Quarantine{Queue: p.key.Queue, Partition: p.key.Partition, Path: d.Path, Err: d})
}

// loseEvents puts a gap in place of events that cannot be read, which begin at
// or behind seq, and sets the damaged file aside.
func (p *partition) loseEvents(seq uint64, d *EventDamage) error {
	b := p.st.Events
	first, last := max(seq, d.First), min(max(seq, d.Last), p.outbox.synced)
	if first > last {
		return fmt.Errorf("BUG: events from %d on are asked for: %w", seq, d)
	}
	path := d.Path
	if d.Span != 0 {
		aside, err := p.ps.SetAside(d.Span, d.Error())
		if err != nil {
			return err
		}
		if aside != "" {
			path = aside
		}
	}
	var lost []Gap
	err := p.alone(0, 0, func(g *group) error {
		gap := g.newGap(first, last, GapQuarantined)
		for i := range b.Runs {
			if r := &b.Runs[i]; r.First <= last && r.Last() >= first {
				gap.count(r)
			}
		}
		lost = append(lost, gap)
		g.addGap(gap)
		m := b.marks()
		g.c.Marks, g.c.Sync = &m, true
		return nil
	})
	if err != nil {
		return err
	}
	p.tellGaps(lost)
	if p.events.Quarantined != nil {
		p.events.Quarantined(Quarantine{Queue: p.key.Queue, Partition: p.key.Partition, Path: path, Err: d})
	}
	return nil
}

// auditEvents counts the events that are to be delivered, and sees whether they
// are where the book says.
func (p *partition) auditEvents(ctx context.Context, a *Audit) error {
	a.Outbox = p.outboxState()
	b := p.st.Events
	if b == nil {
		return nil
	}
	for seq := max(b.Delivered+1, b.first()); seq <= b.Head; {
		if err := ctx.Err(); err != nil {
			return err
		}
		gap, begin := b.gap(seq)
		if gap != nil {
			seq = gap.Last + 1
			continue
		}
		run := b.run(seq)
		if run == nil {
			seq = min(b.holeEnd(seq, b.Head)+1, begin)
			continue
		}
		last := min(run.Last(), begin-1)
		stored, err := p.ps.Events(run, seq, 1024)
		var d *EventDamage
		if errors.As(err, &d) {
			a.Differences = append(a.Differences, d.Error())
			seq = max(seq, min(d.Last, last)) + 1
			continue
		}
		if err != nil {
			return err
		}
		from := seq
		for i := range stored {
			s := &stored[i]
			if s.First > seq {
				break
			}
			if end := min(s.End(), last+1); end > seq {
				a.Events += end - seq
				seq = end
			}
		}
		if seq == from {
			a.Differences = append(a.Differences, errLostEvents(seq).Error())
			seq = last + 1
		}
	}
	if a.Events != a.Outbox.Pending {
		a.Differences = append(a.Differences, fmt.Sprintf("events: found %d, expected %d", a.Events, a.Outbox.Pending))
	}
	return nil
}
