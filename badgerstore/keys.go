package badgerstore

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/kapetan-io/querator-edge/queue"
)

// The keys of a segment's database; doc.go says what they hold. Nothing else
// builds keys.
const (
	letterHeader     = 'h'
	letterCheckpoint = 'k'
	letterBlock      = 'b'
	letterRecord     = 'c' // letterCarried stands in value logs only

	numberedKeySize = 9 // a letter and eight bytes, big endian
)

func headerKey() []byte     { return []byte{letterHeader} }
func checkpointKey() []byte { return []byte{letterCheckpoint} }

// blockKey returns the key of the block whose first item is first.
func blockKey(first uint64) []byte { return numberedKey(letterBlock, first) }

// recordKey returns the key of the record of commit n of the segment.
func recordKey(n uint64) []byte { return numberedKey(letterRecord, n) }

func numberedKey(letter byte, n uint64) []byte {
	k := make([]byte, numberedKeySize)
	k[0] = letter
	binary.BigEndian.PutUint64(k[1:], n)
	return k
}

// keyNumber returns the number in a key that begins with that letter.
func keyNumber(letter byte, key []byte) (n uint64, ok bool) {
	if len(key) != numberedKeySize || key[0] != letter {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// segmentName returns the name of the directory of the segment with that span:
// its first sequence number in 20 digits, so that names sort like numbers.
func segmentName(span uint64) string { return fmt.Sprintf("%020d", span<<queue.SpanBits) }

// parseSegmentName returns the span of a segment's directory name.
func parseSegmentName(name string) (span uint64, ok bool) {
	if len(name) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(name, 10, 64)
	if err != nil || first&(queue.MaxSpanItems-1) != 0 {
		return 0, false
	}
	return queue.Span(first), true
}
