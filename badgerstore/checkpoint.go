package badgerstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// A checkpoint is the whole state of a partition at one moment. It is one value,
// with the beginning and the end that codec.go gives every value:
//
//	byte      0x31: kind checkpoint, version 1; or 0x32, or 0x33
//	12 bytes  tag of the partition
//	string    boot id
//	uvarint   Next
//	totals    see appendTotals, with wall 0
//	leases    uvarint how many, rising by sequence number; then for each, every
//	          difference to the entry before and for the first to 0:
//	          uvarint  sequence number, difference
//	          varint   deadline, difference
//	          varint   wall, difference
//	          varint   attempts
//	          varint   created, difference
//	          varint   expire minus created, difference
//	          uvarint  size
//	scheduled see appendScheduled, with wall 0; rising by sequence number
//	removed   uvarint how many spans, rising; then for each:
//	          uvarint  span, difference to the one before
//	          bits     see bits.go
//	spans     uvarint how many, rising; then for each, every difference to the
//	          entry before and for the first to 0:
//	          uvarint  span, difference
//	          uvarint  count
//	          byte     bit 0 Ordered, bit 1 OldBoot
//	          varint   MinExpire, difference
//	          varint   MinMono, difference
//	          varint   MaxMono, difference
//	origins   uvarint how many, the oldest first; then for each:
//	          12 bytes tag
//	          seqs     sequence numbers, see seqs.go
//	events    in version 2; see eventcodec.go
//	feeds     in version 3, with the events; see feedcodec.go
//	4 bytes   CRC-32C of all of the above
//
// Spans without a removed item are left out of removed. Equal states give equal
// bytes. A checkpoint takes some 60 bytes, about 25 for each lease (8 when many
// share their times), 20 for each scheduled item and 20 for each span.
//
// For example, a new partition in boot "b":
//
//	31                                   checkpoint, version 1
//	74 74 74 74 74 74 74 74 74 74 74 74  tag
//	01 62 00                             "b", next is 0
//	00 00 00 00 00                       cursor, ready, ages, bytes, no counters
//	00 00 00 00 00                       no leases ... no origins
//	03 fb 1b 3a                          CRC-32C
const checkpointVersion = 1

// What an entry of each kind takes at least.
const (
	checkpointLeaseMin   = 7
	checkpointRemovedMin = 3
	checkpointSpanMin    = 6
	checkpointOriginMin  = queue.TagSize + 1
)

// Flags of a span.
const (
	spanOrdered = 1 << iota
	spanOldBoot
)

// appendCheckpoint appends the whole state to dst and returns it. Equal states
// give equal bytes.
func appendCheckpoint(dst []byte, s *queue.State) []byte {
	start := len(dst)
	version := byte(checkpointVersion)
	switch {
	case len(s.Feeds) > 0:
		version = checkpointVersion3
	case s.Events != nil:
		version = checkpointVersion2
	}
	dst = append(dst, kindCheckpoint|version)
	dst = append(dst, s.Tag[:]...)
	dst = appendString(dst, s.Boot)
	dst = binary.AppendUvarint(dst, s.Next)
	dst = appendTotals(dst, &s.Totals, 0)
	dst = appendLeaseMap(dst, s.Leases)

	scheduled := make([]queue.Scheduled, 0, len(s.Scheduled))
	for _, seq := range slices.Sorted(maps.Keys(s.Scheduled)) {
		scheduled = append(scheduled, *s.Scheduled[seq])
	}
	dst = appendScheduled(dst, scheduled, 0)

	dst = appendRemoved(dst, s.Removed)
	dst = appendSpans(dst, s.Spans)
	allowance := checkpointSeqRuns
	dst = binary.AppendUvarint(dst, uint64(len(s.Origins)))
	for i := range s.Origins {
		dst = append(dst, s.Origins[i].From[:]...)
		dst = appendSeqs(dst, s.Origins[i].Seqs, &allowance)
	}
	if version == checkpointVersion3 {
		dst = append(dst, boolByte(s.Events != nil))
	}
	if s.Events != nil {
		dst = appendBook(dst, s.Events, &allowance)
	}
	if version == checkpointVersion3 {
		dst = appendFeeds(dst, s.Feeds)
	}
	return appendSum(dst, start)
}

// decodeCheckpoint verifies and reads a checkpoint; the state is restored
// (State.Restore) and ready for replay. The error Is queue.ErrCorrupt or
// queue.ErrFormat.
func decodeCheckpoint(value []byte) (*queue.State, error) {
	body, version, err := openVersions(value, "checkpoint", kindCheckpoint|checkpointVersion3)
	if err != nil {
		return nil, err
	}
	r := &reader{b: body}
	s := queue.NewState(r.tag(), r.string())
	s.Next = r.uvarint()
	s.Totals = r.totals(0)
	r.leaseMap(s.Leases)
	r.scheduledMap(s.Scheduled)
	r.removed(s.Removed)
	s.Spans = r.spans()
	allowance := checkpointSeqRuns
	for range r.count(checkpointOriginMin) {
		s.Origins = append(s.Origins, queue.Origin{From: r.tag(), Seqs: r.seqs(&allowance)})
	}
	if version == checkpointVersion2 || version == checkpointVersion3 && r.bool() {
		s.Events = r.book(&allowance)
	}
	if version == checkpointVersion3 {
		if s.Feeds = r.feeds(); s.Feeds == nil {
			r.fail()
		}
	}
	if err := r.end("checkpoint"); err != nil {
		return nil, err
	}
	s.Restore()
	return s, nil
}

func appendLeaseMap(dst []byte, leases map[uint64]*queue.Lease) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(leases)))
	prev := &queue.Lease{}
	for _, seq := range slices.Sorted(maps.Keys(leases)) {
		l := leases[seq]
		dst = binary.AppendUvarint(dst, l.Seq-prev.Seq)
		dst = binary.AppendVarint(dst, l.Deadline-prev.Deadline)
		dst = binary.AppendVarint(dst, l.Wall-prev.Wall)
		dst = binary.AppendVarint(dst, int64(l.Attempts))
		dst = binary.AppendVarint(dst, l.Created-prev.Created)
		dst = binary.AppendVarint(dst, (l.Expire-l.Created)-(prev.Expire-prev.Created))
		dst = binary.AppendUvarint(dst, uint64(l.Size))
		prev = l
	}
	return dst
}

func (r *reader) leaseMap(leases map[uint64]*queue.Lease) {
	n := r.count(checkpointLeaseMin)
	prev := &queue.Lease{}
	for i := range n {
		l := &queue.Lease{
			Seq:      prev.Seq + r.uvarint(),
			Deadline: prev.Deadline + r.varint(),
			Wall:     prev.Wall + r.varint(),
			Attempts: r.int32(),
			Created:  prev.Created + r.varint(),
		}
		l.Expire = l.Created + (prev.Expire - prev.Created) + r.varint()
		l.Size = r.uint32()
		if r.bad || i > 0 && l.Seq <= prev.Seq {
			r.fail()
			return
		}
		leases[l.Seq] = l
		prev = l
	}
}

func (r *reader) scheduledMap(scheduled map[uint64]*queue.Scheduled) {
	list := r.scheduled(0)
	for i := range list {
		if i > 0 && list[i].Seq <= list[i-1].Seq {
			r.fail()
		}
		if r.bad {
			return
		}
		// Each in memory of its own: the state drops them one by one.
		d := list[i]
		scheduled[d.Seq] = &d
	}
}

func appendRemoved(dst []byte, removed map[uint64]*queue.Bitset) []byte {
	spans := make([]uint64, 0, len(removed))
	for no, b := range removed {
		if b != nil && len(trimWords(b.Words)) > 0 {
			spans = append(spans, no)
		}
	}
	slices.Sort(spans)
	allowance := checkpointBitWords
	dst = binary.AppendUvarint(dst, uint64(len(spans)))
	last := uint64(0)
	for _, no := range spans {
		dst = binary.AppendUvarint(dst, no-last)
		dst = appendBits(dst, removed[no].Words, &allowance)
		last = no
	}
	return dst
}

func (r *reader) removed(removed map[uint64]*queue.Bitset) {
	allowance := checkpointBitWords
	last := uint64(0)
	for i := range r.count(checkpointRemovedMin) {
		no := last + r.uvarint()
		words := r.bits(&allowance)
		if r.bad || i > 0 && no <= last || no > maxSpan {
			r.fail()
			return
		}
		removed[no] = &queue.Bitset{Words: words}
		last = no
	}
}

func appendSpans(dst []byte, spans []queue.SpanInfo) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(spans)))
	prev := &queue.SpanInfo{}
	for i := range spans {
		sp := &spans[i]
		dst = binary.AppendUvarint(dst, sp.Span-prev.Span)
		dst = binary.AppendUvarint(dst, uint64(sp.Count))
		var flags byte
		if sp.Ordered {
			flags |= spanOrdered
		}
		if sp.OldBoot {
			flags |= spanOldBoot
		}
		dst = append(dst, flags)
		dst = binary.AppendVarint(dst, sp.MinExpire-prev.MinExpire)
		dst = binary.AppendVarint(dst, sp.MinMono-prev.MinMono)
		dst = binary.AppendVarint(dst, sp.MaxMono-prev.MaxMono)
		prev = sp
	}
	return dst
}

func (r *reader) spans() []queue.SpanInfo {
	n := r.count(checkpointSpanMin)
	if n == 0 {
		return nil
	}
	spans := make([]queue.SpanInfo, n)
	prev := &queue.SpanInfo{}
	for i := range spans {
		sp := &spans[i]
		sp.Span = prev.Span + r.uvarint()
		sp.Count = r.uint32()
		flags := r.byte()
		sp.Ordered, sp.OldBoot = flags&spanOrdered != 0, flags&spanOldBoot != 0
		sp.MinExpire = prev.MinExpire + r.varint()
		sp.MinMono = prev.MinMono + r.varint()
		sp.MaxMono = prev.MaxMono + r.varint()
		if r.bad || i > 0 && sp.Span <= prev.Span || sp.Span > maxSpan || sp.Count > queue.MaxSpanItems {
			r.fail()
			return nil
		}
		prev = sp
	}
	return spans
}
