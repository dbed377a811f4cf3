package badgerstore

import (
	"encoding/binary"
	"math"

	"github.com/kapetan-io/querator-edge/queue"
)

// A segment's header says what the segment is. It is one value, with the
// beginning and the end that codec.go gives every value:
//
//	byte      0x41: kind header, version 1
//	uvarint   version of the store format that its checkpoint asks for
//	string    name of the queue
//	uvarint   partition
//	12 bytes  tag of the partition
//	uvarint   span
//	string    boot id
//	varint    when it was created, nanoseconds since 1970 by the wall clock
//	4 bytes   CRC-32C of all of the above
//
// For example, span 2 of partition 1 of the queue "q", created at 1000 in boot
// "b":
//
//	41 01 01 71 01  header of format 1, "q", partition 1
//	74 74 74 74 74 74 74 74 74 74 74 74  tag
//	02 01 62 d0 0f  span 2, "b", 1000
//	f9 f4 fc a6     CRC-32C
const headerVersion = 1

// The versions of the whole store format; see doc.go. A segment whose header has
// a greater one than the newest is refused.
const (
	oldestFormat  = 1
	eventFormat   = 2
	feedFormat    = 3
	zstdFormat    = 5 // of a store only
	spentFormat   = 7 // of a store only
	journalFormat = 8 // of a store only; 4 and 6 before
	newestFormat  = journalFormat
)

// maxSpan is the greatest span that sequence numbers reach.
const maxSpan = math.MaxUint64 >> queue.SpanBits

// segmentHeader says what a segment is.
type segmentHeader struct {
	Format    uint32 // version of the store format; 0 stands for the oldest
	Queue     string
	Partition int
	Tag       queue.Tag
	Span      uint64
	Boot      string // the boot in which the segment was created
	Created   int64  // wall clock, nanoseconds since 1970
}

// appendHeader appends the header to dst and returns it.
func appendHeader(dst []byte, h *segmentHeader) []byte {
	start := len(dst)
	dst = append(dst, kindHeader|headerVersion)
	dst = binary.AppendUvarint(dst, uint64(max(h.Format, oldestFormat)))
	dst = appendString(dst, h.Queue)
	dst = binary.AppendUvarint(dst, uint64(h.Partition))
	dst = append(dst, h.Tag[:]...)
	dst = binary.AppendUvarint(dst, h.Span)
	dst = appendString(dst, h.Boot)
	dst = binary.AppendVarint(dst, h.Created)
	return appendSum(dst, start)
}

// decodeHeader verifies and reads a header. The error Is queue.ErrCorrupt or
// queue.ErrFormat.
func decodeHeader(value []byte) (segmentHeader, error) {
	body, err := openValue(value, "segment header", kindHeader|headerVersion)
	if err != nil {
		return segmentHeader{}, err
	}
	r := &reader{b: body}
	var h segmentHeader
	h.Format = r.uint32()
	if h.Format > newestFormat {
		return segmentHeader{}, errNewer("segment header", "store format %d is newer than %d", h.Format, newestFormat)
	}
	h.Queue = r.string()
	partition := r.uvarint()
	h.Tag = r.tag()
	h.Span = r.uvarint()
	h.Boot = r.string()
	h.Created = r.varint()
	if partition > math.MaxInt32 || h.Span > maxSpan || h.Format == 0 {
		r.fail()
	}
	h.Partition = int(partition & math.MaxInt32)
	if err := r.end("segment header"); err != nil {
		return segmentHeader{}, err
	}
	return h, nil
}
