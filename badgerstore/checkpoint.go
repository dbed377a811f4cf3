package badgerstore

import "github.com/kapetan-io/querator-edge/queue"

// storeFormat is the version of the whole store format; a segment whose header
// has a greater one is refused.
const storeFormat = 1

// segmentHeader says what a segment is.
type segmentHeader struct {
	Format    uint32 // storeFormat of the program that created it; filled by appendHeader
	Queue     string
	Partition int
	Tag       queue.Tag
	Span      uint64
	Boot      string // the boot in which the segment was created
	Created   int64  // wall clock, nanoseconds since 1970
}

// appendHeader appends the header to dst and returns it.
func appendHeader(dst []byte, h *segmentHeader) []byte { return dst }

// decodeHeader verifies and reads a header. The error Is queue.ErrCorrupt or
// queue.ErrFormat.
func decodeHeader(value []byte) (segmentHeader, error) {
	return segmentHeader{}, errCorrupt("segment header", "not written yet")
}

// appendCheckpoint appends the whole state to dst and returns it. Equal states
// give equal bytes.
func appendCheckpoint(dst []byte, s *queue.State) []byte { return dst }

// decodeCheckpoint verifies and reads a checkpoint; the state is restored
// (State.Restore) and ready for replay. The error Is queue.ErrCorrupt or
// queue.ErrFormat.
func decodeCheckpoint(value []byte) (*queue.State, error) {
	return nil, errCorrupt("checkpoint", "not written yet")
}
