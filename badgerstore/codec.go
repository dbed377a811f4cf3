package badgerstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/kapetan-io/querator-edge/queue"
)

// What all stored values have in common:
//
//	offset  bytes
//	0       1      kind in the high four bits, version of that kind in the low
//	1       n      what the kind says
//	1+n     4      CRC-32C of the 1+n bytes before, little endian
//
// The checksum stands at the end, over everything else, in every version to
// come: so that a flipped bit in the first byte is told from a newer version. A
// decoder checks it before it looks at anything.
//
// Integers are varints: unsigned ones (uvarint) 7 bits a byte, the low ones
// first, the high bit set in all bytes but the last; signed ones (varint) the
// same after zigzag, 0 -1 1 -2 2 ... as 0 1 2 3 4. Differences of 64-bit numbers
// wrap around, so that any pair of values survives. Strings are their length as
// a uvarint, then the bytes.
//
// No count is believed before the bytes that it asks for are there. The two
// forms that say much in few bytes, runs of sequence numbers (appendSeqs) and
// runs of bits, draw on a fixed allowance that a value begins with; an encoder
// that has used it up falls back on a form that costs at least a byte an entry.
const (
	kindBlock      = 0x10
	kindRecord     = 0x20
	kindCheckpoint = 0x30
	kindHeader     = 0x40
	kindSources    = 0x50

	sumSize = 4
)

// errCorrupt returns the error of a stored value of that kind ("block") that is
// damaged. The caller adds where the value lies.
func errCorrupt(kind, format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrCorrupt, Msg: kind + ": " + fmt.Sprintf(format, args...)}
}

// errNewer returns the error of a stored value that a newer version wrote.
func errNewer(kind, format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrFormat, Msg: kind + ": " + fmt.Sprintf(format, args...),
		Hint: "install the version of querator that wrote it, or a newer one"}
}

func checksum(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// moreChecksum returns the checksum of what sum is that of, and b behind it.
func moreChecksum(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// appendSum ends the value that begins at dst[start].
func appendSum(dst []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// openValue checks the checksum, kind and version of a value and returns what
// is between the first byte and the checksum. name is for errors.
func openValue(value []byte, name string, kindVersion byte) ([]byte, error) {
	if len(value) < 1+sumSize {
		return nil, errCorrupt(name, "%d bytes are too few", len(value))
	}
	end := len(value) - sumSize
	want, got := binary.LittleEndian.Uint32(value[end:]), checksum(value[:end])
	if want != got {
		return nil, errCorrupt(name, "checksum is %08x, must be %08x", got, want)
	}
	if err := checkKind(value[0], name, kindVersion); err != nil {
		return nil, err
	}
	return value[1:end], nil
}

// openVersions does the same for a value of which there are several versions,
// up to that of kindVersion, and returns the version too.
func openVersions(value []byte, name string, kindVersion byte) (body []byte, version byte, err error) {
	if len(value) > 0 && value[0]&0xf0 == kindVersion&0xf0 && value[0]&0x0f > 0 && value[0] < kindVersion {
		kindVersion = value[0]
	}
	body, err = openValue(value, name, kindVersion)
	return body, kindVersion & 0x0f, err
}

func checkKind(first byte, name string, kindVersion byte) error {
	switch {
	case first == kindVersion:
		return nil
	case first&0xf0 == kindVersion&0xf0 && first > kindVersion:
		return errNewer(name, "version %d is newer than %d", first&0x0f, kindVersion&0x0f)
	}
	return errCorrupt(name, "begins with byte %#02x, must be %#02x", first, kindVersion)
}

// reader reads a value's fields. After the first that is not there it is bad
// and returns zeros; whoever uses it asks bad once, before what was read counts.
type reader struct {
	b   []byte
	off int
	bad bool
}

func (r *reader) left() int { return len(r.b) - r.off }

func (r *reader) byte() byte {
	if r.off >= len(r.b) {
		r.bad = true
		return 0
	}
	r.off++
	return r.b[r.off-1]
}

func (r *reader) uvarint() uint64 {
	if r.off < len(r.b) && r.b[r.off] < 0x80 {
		r.off++
		return uint64(r.b[r.off-1])
	}
	v, n := binary.Uvarint(r.b[r.off:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.off += n
	return v
}

func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

// uint32 reads a uvarint that has to be a 32-bit number.
func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(v)
}

// int32 reads a varint that has to be a 32-bit number.
func (r *reader) int32() int32 {
	v := r.varint()
	if v != int64(int32(v)) {
		r.fail()
		return 0
	}
	return int32(v)
}

// length reads a uvarint that says how many bytes follow.
func (r *reader) length() int { return r.fitting(r.uvarint()) }

// fitting takes a number of bytes that are to follow.
func (r *reader) fitting(v uint64) int {
	if v > uint64(r.left()) {
		r.fail()
		return 0
	}
	return int(v)
}

// count reads a uvarint that says how many entries follow, of at least min
// bytes each.
func (r *reader) count(min int) int {
	v := r.uvarint()
	if v > uint64(r.left()/min) {
		r.fail()
		return 0
	}
	return int(v)
}

// bytes returns the next n bytes of the value itself, not a copy.
func (r *reader) bytes(n int) []byte {
	if n > r.left() {
		r.fail()
		return nil
	}
	r.off += n
	return r.b[r.off-n : r.off : r.off]
}

func (r *reader) string() string { return string(r.bytes(r.length())) }

func (r *reader) tag() (t queue.Tag) {
	copy(t[:], r.bytes(queue.TagSize))
	return t
}

func (r *reader) fail() {
	r.bad = true
	r.off = len(r.b)
}

// end returns the error of a value that was too short or too long or held what
// cannot be.
func (r *reader) end(name string) error {
	switch {
	case r.bad:
		return errCorrupt(name, "a field is missing or out of bounds")
	case r.left() > 0:
		return errCorrupt(name, "%d bytes too many", r.left())
	}
	return nil
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// varintLen is the length of v as a uvarint.
func varintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func leUint32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
