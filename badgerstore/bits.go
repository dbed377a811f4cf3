package badgerstore

import (
	"encoding/binary"
	"math/bits"

	"github.com/kapetan-io/querator-edge/queue"
)

// A bit set stands in checkpoints as
//
//	uvarint  count of what follows, times two, plus the form
//
// and then, by the form,
//
//	0  that many runs of set bits: the number of clear bits before it as a
//	   uvarint, the number of set bits less one as a uvarint
//	1  that many 64-bit words, little endian
//
// The shorter is taken. Clear words at the end are not stored. For example, the
// bits 3, 4, 5 and 9 are 04 03 02 03 00: two runs, three bits after three, one
// after three more.
const (
	bitsRuns  = 0
	bitsWords = 1

	// maxBitWords is the number of words of the set of a whole span.
	maxBitWords = queue.MaxSpanItems / 64
	// checkpointBitWords is how many words runs may stand for in one
	// checkpoint, so that a damaged number cannot ask for the moon.
	checkpointBitWords = 1 << 18
)

// nextBit returns the first bit at or above from that is set (or clear), or the
// number of bits in words.
func nextBit(words []uint64, from int, set bool) int {
	for i := from / 64; i < len(words); i++ {
		w := words[i]
		if !set {
			w = ^w
		}
		if i == from/64 {
			w &= ^uint64(0) << (from % 64)
		}
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return len(words) * 64
}

// trimWords drops clear words at the end.
func trimWords(words []uint64) []uint64 {
	for len(words) > 0 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	return words
}

// appendBits appends a set; what runs may still stand for is taken from
// allowance.
func appendBits(dst []byte, words []uint64, allowance *int) []byte {
	words = trimWords(words)
	end := len(words) * 64
	runs, size := 0, 0
	for at := 0; size < end/8; runs++ {
		first := nextBit(words, at, true)
		if first == end {
			break
		}
		next := nextBit(words, first, false)
		size += varintLen(uint64(first-at)) + varintLen(uint64(next-first-1))
		at = next
	}
	if size >= end/8 || len(words) > *allowance {
		dst = binary.AppendUvarint(dst, uint64(len(words))<<1|bitsWords)
		for _, w := range words {
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
		return dst
	}
	*allowance -= len(words)
	dst = binary.AppendUvarint(dst, uint64(runs)<<1|bitsRuns)
	for at := 0; runs > 0; runs-- {
		first := nextBit(words, at, true)
		next := nextBit(words, first, false)
		dst = binary.AppendUvarint(dst, uint64(first-at))
		dst = binary.AppendUvarint(dst, uint64(next-first-1))
		at = next
	}
	return dst
}

// bits reads a set.
func (r *reader) bits(allowance *int) []uint64 {
	head := r.uvarint()
	n := head >> 1
	if head&1 == bitsWords {
		if n > maxBitWords || n > uint64(r.left()/8) {
			r.fail()
			return nil
		}
		words := make([]uint64, n)
		for i := range words {
			words[i] = binary.LittleEndian.Uint64(r.bytes(8))
		}
		return words
	}
	if n > uint64(r.left()/2) {
		r.fail()
		return nil
	}
	return r.bitRuns(int(n), allowance)
}

func (r *reader) bitRuns(runs int, allowance *int) []uint64 {
	// Where the last run ends says how many words there are.
	mark, at := r.off, uint64(0)
	for range runs {
		gap, more := r.uvarint(), r.uvarint()
		if gap >= queue.MaxSpanItems || more >= queue.MaxSpanItems || at+gap+more >= queue.MaxSpanItems {
			r.fail()
			return nil
		}
		at += gap + more + 1
	}
	size := int(at+63) / 64
	if r.bad || size > *allowance {
		r.fail()
		return nil
	}
	*allowance -= size
	words := make([]uint64, size)
	r.off, at = mark, 0
	for range runs {
		at += r.uvarint()
		for end := at + r.uvarint() + 1; at < end; at++ {
			words[at/64] |= 1 << (at % 64)
		}
	}
	return words
}
