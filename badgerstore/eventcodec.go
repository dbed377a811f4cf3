package badgerstore

import (
	"encoding/binary"

	"github.com/kapetan-io/querator-edge/queue"
)

// What records and checkpoints say of events, from version 2 of both on. A
// record that has none of it is of version 1, and so is the checkpoint of a
// partition that never had an event.
//
// The events of a commit stand in its record:
//
//	8 bytes  epoch, big endian
//	uvarint  number of the first event
//	varint   bytes: the sum of queue.Item.Size of the items
//	uvarint  number of groups, then for each:
//	         byte     type: 0 completed, 1 dead, 2 expired, 3 dropped
//	         varint   attempts
//	         seqs     sequence numbers of the items, in the order of the events
//
// An event is no more than that: when it happened is when the commit was made,
// and what the item was stands in its block. 100 completed items that lie 8 apart
// take 25 bytes. For example, items 1<<24+2 and +3, completed at their first
// attempt as events 7 and 8 of epoch 1, with 300 bytes:
//
//	00 00 00 00 00 00 00 01   epoch
//	07 d8 04                  from event 7 on, 300 bytes
//	01 00 02                  one group: completed, one attempt
//	09 82 80 80 08 01         two numbers by their distance: 1<<24 + 2, and 1 more
//
// The marks of an event book are four uvarints: delivered, fence, released,
// dropped. Gaps are
//
//	uvarint  how many, then for each:
//	         uvarint  number of the first event
//	         uvarint  number of the last minus that
//	         uvarint  completed, dead, expired and dropped events: four
//	         varint   bytes
//	         8 bytes  epoch, big endian
//	         string   reason
//	         instant, string  when it was made, and the boot
//
// and an instant is its wall time as a varint, its boot time as a varint, and a
// byte: 1 when nobody believed the wall clock.
//
// A checkpoint has the whole book:
//
//	uvarint  head
//	marks, see above
//	varint   base
//	varint   last
//	epochs   uvarint how many, ascending; then for each 8 bytes epoch, and as a
//	         uvarint its first event, difference to the entry before
//	gaps     see above
//	runs     uvarint how many, ascending; then for each:
//	         uvarint  number of the first event, difference to the entry before
//	         uvarint  completed, dead, expired and dropped events: four
//	         uvarint  span of the commits
//	         uvarint  number of the record, in that span, of the first event
//	         seqs     spans of the items
//	         varint   bytes
//	         instant  of the first event
//	         varint   since
//	         varint   until minus since
const (
	recordVersion2     = 2
	checkpointVersion2 = 2
)

// More parts of a record, in a second byte that follows the first from version 2
// on.
const (
	moreEvents    = 1 << iota
	moreMarks     //
	moreGaps      //
	moreUntrusted // Commit.At.Untrusted
	moreFeeds     // in version 3 only

	moreKnown = moreEvents | moreMarks | moreGaps | moreUntrusted | moreFeeds
)

// What an entry of each kind takes at least.
const (
	eventGroupMin = 4
	epochMin      = epochSize + 1
	gapMin        = 7 + epochSize + 1 + instantMin + 1
	eventRunMin   = 1 + eventTypes + 2 + 1 + 1 + instantMin + 2
	instantMin    = 3

	epochSize  = 8
	eventTypes = 4
)

// morePartsOf returns the second byte of a record's parts; without events it is 0,
// and the record of version 1.
func morePartsOf(c *queue.Commit) byte {
	var parts byte
	if c.Events != nil {
		parts |= moreEvents
	}
	if c.Marks != nil {
		parts |= moreMarks
	}
	if len(c.Gaps) > 0 {
		parts |= moreGaps
	}
	if len(c.Feeds) > 0 {
		parts |= moreFeeds
	}
	if parts != 0 && c.At.Untrusted {
		parts |= moreUntrusted
	}
	return parts
}

func appendMore(dst []byte, c *queue.Commit, parts byte, allowance *int) []byte {
	if parts&moreEvents != 0 {
		dst = appendEvents(dst, c.Events, allowance)
	}
	if parts&moreMarks != 0 {
		dst = appendMarks(dst, c.Marks)
	}
	if parts&moreGaps != 0 {
		dst = appendGaps(dst, c.Gaps)
	}
	if parts&moreFeeds != 0 {
		dst = appendFeeds(dst, c.Feeds)
	}
	return dst
}

func (r *reader) more(c *queue.Commit, parts byte, allowance *int) {
	if parts == 0 {
		return
	}
	if parts&^byte(moreKnown) != 0 || parts == moreUntrusted {
		r.fail()
	}
	c.At.Untrusted = parts&moreUntrusted != 0
	if parts&moreEvents != 0 {
		c.Events = r.events(allowance)
	}
	if parts&moreMarks != 0 {
		m := r.marks()
		c.Marks = &m
	}
	if parts&moreGaps != 0 {
		if c.Gaps = r.gaps(); c.Gaps == nil {
			r.fail()
		}
	}
	if parts&moreFeeds != 0 {
		if c.Feeds = r.feeds(); c.Feeds == nil {
			r.fail()
		}
	}
}

func appendEvents(dst []byte, b *queue.EventBatch, allowance *int) []byte {
	dst = binary.BigEndian.AppendUint64(dst, b.Epoch)
	dst = binary.AppendUvarint(dst, b.First)
	dst = binary.AppendVarint(dst, b.Bytes)
	dst = binary.AppendUvarint(dst, uint64(len(b.Groups)))
	for i := range b.Groups {
		g := &b.Groups[i]
		dst = append(dst, byte(g.Type))
		dst = binary.AppendVarint(dst, int64(g.Attempts))
		dst = appendSeqs(dst, g.Seqs, allowance)
	}
	return dst
}

func (r *reader) events(allowance *int) *queue.EventBatch {
	b := &queue.EventBatch{Epoch: r.uint64(), First: r.uvarint(), Bytes: r.varint()}
	n := r.count(eventGroupMin)
	for range n {
		g := queue.EventGroup{Type: r.eventType(), Attempts: r.int32(), Seqs: r.seqs(allowance)}
		if len(g.Seqs) == 0 || r.bad {
			r.fail()
			return nil
		}
		b.Groups = append(b.Groups, g)
	}
	if n == 0 || b.First == 0 || b.End() < b.First {
		r.fail()
		return nil
	}
	return b
}

func (r *reader) eventType() queue.EventType {
	t := queue.EventType(r.byte())
	if t > queue.EventDropped {
		r.fail()
		return 0
	}
	return t
}

// uint64 reads eight bytes.
func (r *reader) uint64() uint64 {
	b := r.bytes(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func appendMarks(dst []byte, m *queue.EventMarks) []byte {
	for _, n := range [...]uint64{m.Delivered, m.Fence, m.Released, m.Dropped} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func (r *reader) marks() queue.EventMarks {
	return queue.EventMarks{Delivered: r.uvarint(), Fence: r.uvarint(), Released: r.uvarint(), Dropped: r.uvarint()}
}

func appendInstant(dst []byte, at queue.Instant) []byte {
	dst = binary.AppendVarint(dst, at.Wall)
	dst = binary.AppendVarint(dst, at.Mono)
	if at.Untrusted {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func (r *reader) instant() queue.Instant {
	at := queue.Instant{Wall: r.varint(), Mono: r.varint()}
	switch r.byte() {
	case 0:
	case 1:
		at.Untrusted = true
	default:
		r.fail()
	}
	return at
}

func appendGaps(dst []byte, gaps []queue.Gap) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(gaps)))
	for i := range gaps {
		g := &gaps[i]
		for _, n := range [...]uint64{g.First, g.Last - g.First, g.Completed, g.Dead, g.Expired, g.Dropped} {
			dst = binary.AppendUvarint(dst, n)
		}
		dst = binary.AppendVarint(dst, g.Bytes)
		dst = binary.BigEndian.AppendUint64(dst, g.Epoch)
		dst = appendString(dst, g.Reason)
		dst = appendInstant(dst, g.At)
		dst = appendString(dst, g.Boot)
	}
	return dst
}

func (r *reader) gaps() []queue.Gap {
	n := r.count(gapMin)
	if n == 0 {
		return nil
	}
	gaps := make([]queue.Gap, n)
	for i := range gaps {
		g := queue.Gap{First: r.uvarint()}
		g.Last = g.First + r.uvarint()
		g.Completed, g.Dead, g.Expired, g.Dropped = r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
		g.Bytes, g.Epoch = r.varint(), r.uint64()
		g.Reason, g.At, g.Boot = r.string(), r.instant(), r.string()
		if g.First == 0 || g.Last < g.First {
			r.fail()
			return nil
		}
		gaps[i] = g
	}
	return gaps
}

// appendBook appends the part of a checkpoint that is about events.
func appendBook(dst []byte, b *queue.EventBook, allowance *int) []byte {
	dst = binary.AppendUvarint(dst, b.Head)
	dst = appendMarks(dst, &queue.EventMarks{Delivered: b.Delivered, Fence: b.Fence, Released: b.Released, Dropped: b.Dropped})
	dst = binary.AppendVarint(dst, b.Base)
	dst = binary.AppendVarint(dst, b.Last)
	dst = binary.AppendUvarint(dst, uint64(len(b.Epochs)))
	last := uint64(0)
	for _, e := range b.Epochs {
		dst = binary.BigEndian.AppendUint64(dst, e.Epoch)
		dst = binary.AppendUvarint(dst, e.First-last)
		last = e.First
	}
	dst = appendGaps(dst, b.Gaps)
	dst = binary.AppendUvarint(dst, uint64(len(b.Runs)))
	last = 0
	for i := range b.Runs {
		run := &b.Runs[i]
		dst = binary.AppendUvarint(dst, run.First-last)
		last = run.First
		for _, n := range run.Count {
			dst = binary.AppendUvarint(dst, uint64(n))
		}
		dst = binary.AppendUvarint(dst, run.Span)
		dst = binary.AppendUvarint(dst, run.Pos)
		dst = appendSeqs(dst, run.Spans, allowance)
		dst = binary.AppendVarint(dst, run.Bytes)
		dst = appendInstant(dst, run.At)
		dst = binary.AppendVarint(dst, run.Since)
		dst = binary.AppendVarint(dst, run.Until-run.Since)
	}
	return dst
}

func (r *reader) book(allowance *int) *queue.EventBook {
	b := &queue.EventBook{Head: r.uvarint()}
	m := r.marks()
	b.Delivered, b.Fence, b.Released, b.Dropped = m.Delivered, m.Fence, m.Released, m.Dropped
	b.Base, b.Last = r.varint(), r.varint()
	last := uint64(0)
	for i := range r.count(epochMin) {
		e := queue.EpochStart{Epoch: r.uint64()}
		e.First = last + r.uvarint()
		if i > 0 && e.First <= last {
			r.fail()
			return b
		}
		b.Epochs = append(b.Epochs, e)
		last = e.First
	}
	b.Gaps = r.gaps()
	end := uint64(1)
	last = 0
	for range r.count(eventRunMin) {
		run := r.eventRun(last, allowance)
		if r.bad || run.First < end || run.Len() == 0 || run.Last() < run.First || run.Last() > b.Head {
			r.fail()
			return b
		}
		b.Runs = append(b.Runs, run)
		last, end = run.First, run.Last()+1
	}
	return b
}

func (r *reader) eventRun(last uint64, allowance *int) queue.EventRun {
	run := queue.EventRun{First: last + r.uvarint()}
	for i := range run.Count {
		run.Count[i] = r.uint32()
	}
	run.Span, run.Pos, run.Spans = r.uvarint(), r.uvarint(), r.seqs(allowance)
	run.Bytes, run.At = r.varint(), r.instant()
	run.Since = r.varint()
	run.Until = run.Since + r.varint()
	if !isRising(run.Spans) || run.Span > maxSpan {
		r.fail()
	}
	return run
}
