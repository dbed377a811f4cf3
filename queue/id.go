package queue

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// SpanBits is the number of low bits of a sequence number that count items
// within one span. A span is a run of sequence numbers that a store keeps
// together (a segment, for badgerstore) and frees together.
const SpanBits = 24

// MaxSpanItems is the number of sequence numbers in one span.
const MaxSpanItems = 1 << SpanBits

// Span returns the number of the span that sequence number seq belongs to.
func Span(seq uint64) uint64 { return seq >> SpanBits }

// TagSize is the length of a partition tag in bytes.
const TagSize = 12

// Tag is the random mark of one incarnation of a partition. It is the tail of
// every id of the partition, so that an id of a queue that was deleted and
// created again never names an item of the new one.
type Tag [TagSize]byte

// IDSize and IDLength are the lengths of an id in bytes and in its text form.
const (
	IDSize   = 20
	IDLength = 27
)

// maxID is the text form of the greatest 20-byte id.
const maxID = "aWgEPTl1tmebfsQzFP4bxwgy80V"

// ID identifies an item while it has its present place in a partition: the
// sequence number (8 bytes, big endian), then the tag of the partition. Ids of
// one partition rise strictly in the order in which their items became ready,
// whatever the clock does. An item gets a new id when it moves to the tail.
//
// The text form is that of a KSUID: the 20 bytes as one big-endian number in
// 27 digits of base 62 (0-9, A-Z, a-z), so that byte order is preserved.
type ID [IDSize]byte

// NewID returns the id of sequence number seq in the partition with tag.
func NewID(seq uint64, tag Tag) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:8], seq)
	copy(id[8:], tag[:])
	return id
}

// Seq returns the sequence number of the id.
func (id ID) Seq() uint64 { return binary.BigEndian.Uint64(id[:8]) }

// Tag returns the tag of the partition that the id was given out by.
func (id ID) Tag() Tag { return Tag(id[8:]) }

// IsZero reports whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

const (
	digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// pow10 is 62^10, the greatest power of 62 whose square still leaves the
	// three-limb arithmetic below without overflow.
	pow10 = 839299365868340224
)

// String returns the 27-character text form.
func (id ID) String() string {
	var buf [IDLength]byte
	return string(id.AppendText(buf[:0]))
}

// AppendText appends the 27-character text form to dst and returns it.
func (id ID) AppendText(dst []byte) []byte {
	// The number in three limbs, 32 + 64 + 64 bits, divided twice by 62^10.
	hi := uint64(binary.BigEndian.Uint32(id[0:4]))
	mid := binary.BigEndian.Uint64(id[4:12])
	lo := binary.BigEndian.Uint64(id[12:20])

	var c, b uint64
	q2, r := bits.Div64(0, hi, pow10)
	q1, r := bits.Div64(r, mid, pow10)
	q0, c := bits.Div64(r, lo, pow10)
	_, r = bits.Div64(0, q2, pow10)
	q1, r = bits.Div64(r, q1, pow10)
	q0, b = bits.Div64(r, q0, pow10)
	// What is left is below 62^7, so that q1 is 0 here.
	_ = q1

	n := len(dst)
	dst = append(dst, "000000000000000000000000000"...)
	putDigits(dst[n:n+7], q0)
	putDigits(dst[n+7:n+17], b)
	putDigits(dst[n+17:n+27], c)
	return dst
}

func putDigits(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = digits[v%62]
		v /= 62
	}
}

var (
	errIDLength = errors.New("Valid encoded KSUIDs are 27 characters")
	errIDRange  = errors.New("Valid encoded KSUIDs are bounded by 000000000000000000000000000 and " + maxID)
)

// ParseID reads the text form of an id. An error says what a well-formed id
// looks like, in the words that Querator's clients know.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != IDLength {
		return id, errIDLength
	}
	a, ok1 := getDigits(s[0:7])
	b, ok2 := getDigits(s[7:17])
	c, ok3 := getDigits(s[17:27])
	if !ok1 || !ok2 || !ok3 || s > maxID {
		return id, errIDRange
	}
	// a*62^20 + b*62^10 + c, by Horner's rule in 160 bits.
	mid, lo := bits.Mul64(a, pow10)
	lo, carry := bits.Add64(lo, b, 0)
	mid += carry
	h0, l0 := bits.Mul64(lo, pow10)
	h1, l1 := bits.Mul64(mid, pow10)
	lo, carry = bits.Add64(l0, c, 0)
	mid, carry = bits.Add64(l1, h0, carry)
	hi := h1 + carry
	binary.BigEndian.PutUint32(id[0:4], uint32(hi))
	binary.BigEndian.PutUint64(id[4:12], mid)
	binary.BigEndian.PutUint64(id[12:20], lo)
	return id, nil
}

// digitValues has the value of each digit, from '0' to 'z', and noDigit for what lies
// between them. A table takes a third of the time of comparisons, which the processor
// cannot foresee: an id is as good as random.
const (
	digitValues = "" +
		"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\xff\xff\xff\xff\xff" +
		"\xff\xff\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16" +
		"\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\xff\xff" +
		"\xff\xff\xff\xff\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e" +
		"\x2f\x30\x31\x32\x33\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d"
	noDigit = 0xff
)

func getDigits(s string) (uint64, bool) {
	var v uint64
	for i := range len(s) {
		at := s[i] - '0' // Of what is less, it is beyond the table.
		if at >= byte(len(digitValues)) || digitValues[at] == noDigit {
			return 0, false
		}
		v = v*62 + uint64(digitValues[at])
	}
	return v, true
}
