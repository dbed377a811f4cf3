package badgerstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// What a back-up has of a partition: its state at one moment, as a checkpoint
// (see checkpoint.go), and of each segment that is there at that moment what was
// in it, keys and values as they are. Blocks and records are only ever added to a
// segment, in rising order, so that a mark (queue.BackupMark) of how many items
// and commits an earlier back-up has is enough to send the rest.
//
// The data of a piece is a run of entries without gaps:
//
//	uvarint  length of the key
//	bytes    key, see keys.go
//	uvarint  length of the value
//	bytes    value, with its own version and checksum
//
// For example, the block of items from 1<<24 on, which has 34 bytes:
//
//	09 62 00 00 00 00 01 00 00 00  'b' and the number
//	22 11 00 ...                   block, version 1
//
// Of a segment come the header and the checkpoint first, unless an earlier
// back-up has them, then blocks, then records, both in rising order. A value that
// does not verify is left out, and the piece says so. What is in the quarantine
// is in no back-up.

// backup is a back-up of a partition that is under way. It belongs to the
// partition's goroutine. The segments that it has not read yet are kept although
// they may be done with, until the disk is full (partition.giveUpBackup).
type backup struct {
	p    *partition
	head queue.PartitionHead
	next uint64 // State.Next of the moment: what lies beyond is none of it
	todo []backupSegment
	err  error // why it was given up

	piece queue.BackupPiece
	buf   []byte
}

// backupSegment is a segment of which something is still to be read.
type backupSegment struct {
	from, to queue.BackupMark
	begun    bool
	letter   byte   // what comes next: letterHeader, letterBlock or letterRecord
	at       uint64 // number of the next block or record
}

var _ queue.BackupStore = (*partition)(nil)

// BeginBackup begins a back-up of the partition as it is now.
func (p *partition) BeginBackup(since []queue.BackupMark) (queue.PartitionBackup, error) {
	if p.backup != nil {
		return nil, &queue.Error{Kind: queue.ErrOverloaded, Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: fmt.Sprintf("another back-up of partition %s is being taken; try again later", p.key)}
	}
	if err := p.Sync(); err != nil {
		return nil, err
	}
	b := &backup{p: p, next: p.state.Next, head: queue.PartitionHead{
		Tag: p.key.Tag, State: appendCheckpoint(nil, p.state), Items: p.state.Held(), Bytes: p.state.Totals.Bytes,
	}}
	had := make(map[uint64]queue.BackupMark, len(since))
	for _, m := range since {
		had[m.Span] = m
	}
	for i, s := range p.segments {
		to := p.backupMark(s, i == len(p.segments)-1)
		b.head.Marks = append(b.head.Marks, to)
		from, known := had[s.span]
		from.Span = s.span
		if from.Whole || known && !to.Whole && from == to {
			continue // One without a commit has a beginning all the same.
		}
		b.todo = append(b.todo, backupSegment{from: from, to: to, letter: letterHeader})
	}
	p.backup = b
	return b, nil
}

// backupMark returns how much there is of a segment.
func (p *partition) backupMark(s *segment, last bool) queue.BackupMark {
	t := p.resting
	if s == p.tail {
		t = s.writer
	}
	if !last || t == nil {
		return queue.BackupMark{Span: s.span, Whole: true}
	}
	return queue.BackupMark{Span: s.span, Items: uint64(t.items), Commits: t.commits}
}

// Head returns what the back-up says of the partition before its items.
func (b *backup) Head() *queue.PartitionHead { return &b.head }

// End gives free what was kept.
func (b *backup) End() {
	if b.p.backup == b {
		b.p.backup = nil
	}
	b.todo, b.buf = nil, nil
	if b.err == nil {
		b.err = errors.New("BUG: a back-up was read after its end")
	}
}

// Next returns the next piece.
func (b *backup) Next(maxBytes int) (*queue.BackupPiece, error) {
	switch {
	case b.err != nil:
		return nil, b.err
	case b.p.err != nil:
		return nil, b.p.err
	case len(b.todo) == 0:
		return nil, io.EOF
	}
	seg := &b.todo[0]
	s := b.p.segment(seg.to.Span)
	b.piece = queue.BackupPiece{Span: seg.to.Span, From: seg.from}
	if s == nil {
		// Not even damage removes one that is still to be read.
		return nil, b.p.bug("the segment %s is gone during a back-up", segmentName(seg.to.Span))
	}
	if s.isBusy() {
		return nil, nil // It is being closed, which may take a while.
	}
	d, release, err := b.p.open(s)
	if isCorrupt(err) {
		b.piece.Lost = fmt.Sprintf("the segment %s cannot be read: %v", s.path(), err)
		b.todo = b.todo[1:]
		return &b.piece, nil
	}
	if err != nil {
		return nil, b.p.failUnlessFull(err)
	}
	defer release()
	b.buf = b.buf[:0]
	if cap(b.buf) > maxKeptBuffer {
		b.buf = nil
	}
	seg.begin()
	done, err := b.read(d, seg, maxBytes)
	b.piece.Data = b.buf
	if err != nil && !isCorrupt(err) {
		return nil, b.p.fail(err)
	}
	if err != nil {
		b.piece.Lost = fmt.Sprintf("a part of the segment %s cannot be read: %v", s.path(), err)
		done = true
	}
	if done {
		b.todo = b.todo[1:]
	}
	return &b.piece, nil
}

// begin sets out at the first entry that is wanted.
func (seg *backupSegment) begin() {
	if seg.begun {
		return
	}
	seg.begun = true
	if seg.from.Items > 0 || seg.from.Commits > 0 {
		seg.letter, seg.at = letterBlock, seg.from.Span<<queue.SpanBits+seg.from.Items
	}
}

// read appends entries of the segment until there are enough, and reports
// whether these were the last.
func (b *backup) read(d view, seg *backupSegment, maxBytes int) (done bool, err error) {
	if seg.letter == letterHeader {
		for _, key := range [][]byte{headerKey(), checkpointKey()} {
			_, err := d.get(key, func(value []byte) error { return b.add(key, value) })
			if err = b.note(d, err); err != nil {
				return false, err
			}
		}
		seg.letter, seg.at = letterBlock, seg.to.Span<<queue.SpanBits
	}
	if seg.letter == letterBlock {
		end := b.next
		if !seg.to.Whole {
			end = seg.to.Span<<queue.SpanBits + seg.to.Items
		}
		if full, err := b.run(d, seg, end, maxBytes); full || err != nil {
			return false, err
		}
		seg.letter, seg.at = letterRecord, seg.from.Commits
	}
	end := seg.to.Commits
	if seg.to.Whole {
		end = math.MaxUint64
	}
	full, err := b.run(d, seg, end, maxBytes)
	return !full && err == nil, err
}

// run appends numbered entries up to end, until there are enough: then it
// reports true.
func (b *backup) run(d view, seg *backupSegment, end uint64, maxBytes int) (full bool, err error) {
	if seg.at >= end {
		return false, nil
	}
	err = d.each(seg.letter, seg.at, func(n uint64, read func(func([]byte) error) error) (bool, error) {
		if n >= end {
			return false, nil
		}
		if full = len(b.buf) >= maxBytes; full {
			return false, nil
		}
		seg.at = n + 1
		err := read(func(value []byte) error { return b.add(numberedKey(seg.letter, n), value) })
		return true, b.note(d, err)
	})
	return full, err
}

// note takes note of a value that cannot be read, and returns any other error.
func (b *backup) note(d view, err error) error {
	if !isCorrupt(err) {
		return err
	}
	b.piece.Lost = fmt.Sprintf("a part of %s cannot be read: %v", d.where(), err)
	return nil
}

// add appends an entry. The error Is queue.ErrCorrupt when the value does not
// verify.
func (b *backup) add(key, value []byte) error {
	if n := len(value) - sumSize; n < 1 || checksum(value[:n]) != leUint32(value[n:]) {
		return errCorrupt("value", "the one of key %x does not verify", key)
	}
	b.buf = appendEntry(b.buf, key, value)
	return nil
}

func appendEntry(dst, key, value []byte) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...)
}

// splitEntries returns the entries of a piece, which share its memory. The error
// Is queue.ErrCorrupt.
func splitEntries(data []byte) (entries []entry, err error) {
	r := &reader{b: data}
	for r.left() > 0 {
		e := entry{key: r.bytes(r.length())}
		e.value = r.bytes(r.length())
		if r.bad || len(e.key) == 0 {
			return nil, errCorrupt("back-up", "an entry goes beyond its piece")
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// CheckPiece checks the entries of a piece of a back-up, one by one, with their
// own checksums. The error Is queue.ErrCorrupt.
func CheckPiece(piece *queue.BackupPiece) error {
	entries, err := splitEntries(piece.Data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := checkEntry(piece.Span, e); err != nil {
			return err
		}
	}
	return nil
}

// checkEntry checks that an entry verifies and belongs to the span.
func checkEntry(span uint64, e entry) error {
	if !isOurs(e.key, e.value) {
		return errCorrupt("back-up", "the value of key %x does not verify", e.key)
	}
	if first, ok := keyNumber(letterBlock, e.key); ok && queue.Span(first) != span {
		return errCorrupt("back-up", "the block of items from %d on is not of the segment %s", first, segmentName(span))
	}
	return nil
}

// isKept reports whether the segment with that span is kept for a back-up.
func (p *partition) isKept(span uint64) bool {
	if p.backup == nil {
		return false
	}
	_, found := slices.BinarySearchFunc(p.backup.todo, span, func(s backupSegment, span uint64) int { return cmp.Compare(s.to.Span, span) })
	return found
}

// giveUpBackup ends a back-up that keeps segments which are done with when the
// disk is full, since what is in use comes first.
func (p *partition) giveUpBackup() {
	b := p.backup
	if b == nil {
		return
	}
	for i := range b.todo {
		if !p.isDone(b.todo[i].to.Span) {
			continue
		}
		b.err = &queue.Error{Kind: queue.ErrFull, Queue: p.key.Queue, Partition: p.key.Partition,
			Msg:  fmt.Sprintf("the disk is full: the back-up was given up, since it kept what partition %s has done with", p.key),
			Hint: "make room on the disk, or let the back-up be read faster"}
		b.todo, b.buf, p.backup = nil, nil, nil
		return
	}
}
