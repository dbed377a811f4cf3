package badgerstore

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/kapetan-io/querator-edge/queue"
)

// An item of more than packerKeep bytes is alone in its block. It is not put
// together with its facts first, and not compressed as a whole: buffers for both
// would take more than twice its size for a moment, which is a third of all the
// memory of a small device.

// isLarge reports whether the items of a block are such a one.
func isLarge(items []queue.Item) bool {
	return len(items) == 1 && len(items[0].Payload) > packerKeep
}

// shareLarge lets a large item have its payload in the block that it was just
// encoded in, if it lies there as it is: nobody needs the memory of the request any
// more then.
func shareLarge(it *queue.Item, block []byte) {
	if block[1]&^flagUntrusted == codecNone {
		end := len(block) - sumSize
		it.Payload = block[end-len(it.Payload) : end : end]
	}
}

const (
	// largePiece is how much of a large item is compressed at a time.
	largePiece = 256 << 10
	// largeSample is how much of it is looked at, to tell whether it is worth it.
	largeSample = 64 << 10
)

// appendLarge is appendBlock for one item that is large, with its facts.
func appendLarge(dst []byte, items []queue.Item, facts []byte, at queue.Instant) []byte {
	payload := items[0].Payload
	size, start := len(facts)+len(payload), len(dst)
	if guess := packedGuess(payload); guess > 0 {
		dst = slices.Grow(dst, guess+blockFrame)
		dst = appendBlockHeader(dst, codecS2, items, len(facts), len(payload), at)
		begin := len(dst)
		dst = appendPieces(dst, facts, payload)
		if n := len(dst) - begin; n <= size-size/8 && int64(size) <= rawLimit(n) {
			return appendSum(dst, start)
		}
		dst = dst[:start]
	}
	dst = slices.Grow(dst, size+blockFrame)
	dst = appendBlockHeader(dst, codecNone, items, len(facts), len(payload), at)
	dst = append(append(dst, facts...), payload...)
	return appendSum(dst, start)
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
