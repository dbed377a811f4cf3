package badgerstore

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/kapetan-io/querator-edge/queue"
)

// An item of more than packerKeep bytes is alone in its block. It is not copied, but
// written from where it is, and not compressed as a whole: a copy of it is a sixth of
// all the memory of a small device.

// isLarge reports whether the items of a block are such a one.
func isLarge(items []queue.Item) bool {
	return len(items) == 1 && len(items[0].Payload) > packerKeep
}

const (
	// largePiece is how much of a large item is compressed at a time.
	largePiece = 256 << 10
	// largeSample is how much of it is looked at, to tell whether it is worth it.
	largeSample = 64 << 10
)

// largeBlock returns the block of one item that is large. What is not compressed stays
// where it is: rest is what stands behind value, the payload among it.
func largeBlock(items []queue.Item, at queue.Instant) (value []byte, rest [][]byte) {
	facts, payload := appendFacts(nil, items, at), items[0].Payload
	size := len(facts) + len(payload)
	if guess := packedGuess(payload); guess > 0 {
		value = make([]byte, 0, guess+blockFrame)
		value = appendBlockHeader(value, codecS2, items, len(facts), len(payload), at)
		begin := len(value)
		value = appendPieces(value, facts, payload)
		if n := len(value) - begin; n <= size-size/8 && int64(size) <= rawLimit(n) {
			return appendSum(value, 0), nil
		}
	}
	value = appendBlockHeader(make([]byte, 0, len(facts)+blockFrame), codecNone, items, len(facts), len(payload), at)
	value = append(value, facts...)
	sum := binary.LittleEndian.AppendUint32(nil, moreChecksum(checksum(value), payload))
	return value, [][]byte{payload, sum}
}

// packedGuess returns about what a large payload is compressed to, or 0 when it is
// not worth a try: pictures and archives mostly.
func packedGuess(payload []byte) int {
	middle := payload[(len(payload)-largeSample)/2:][:largeSample]
	n := s2.EstimateBlockSize(middle)
	if n < 0 || n > largeSample-largeSample/8 {
		return 0
	}
	return len(payload)/largeSample*n + n
}

// appendPieces appends the S2 form of facts and payload together. Such a form is
// the length of all that it stands for and then one element after the other, none
// of which reaches back beyond its own piece here.
func appendPieces(dst, facts, payload []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(facts)+len(payload)))
	buf := make([]byte, s2.MaxEncodedLen(largePiece))
	for _, part := range [][]byte{facts, payload} {
		for piece := range slices.Chunk(part, largePiece) {
			packed := s2.Encode(buf, piece)
			_, n := binary.Uvarint(packed) // The length of this piece.
			dst = append(dst, packed[n:]...)
		}
	}
	return dst
}
