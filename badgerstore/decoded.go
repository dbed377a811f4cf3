package badgerstore

import (
	"unsafe"

	"github.com/kapetan-io/querator-edge/queue"
)

// decodedBlock is the block that was read last, so that reading on inside it
// need not decode it again.
type decodedBlock struct {
	span  uint64
	first uint64
	items []queue.Item
}

func (b *decodedBlock) holds(seq uint64) bool {
	return seq >= b.first && seq-b.first < uint64(len(b.items))
}

// memory returns about what the block takes: small items take more for themselves
// than for their bytes.
func (b *decodedBlock) memory() int64 {
	n := int64(len(b.items)) * int64(unsafe.Sizeof(queue.Item{}))
	for i := range b.items {
		n += b.items[i].Size()
	}
	return n
}

// decodedShare is the part of the memory budget that blocks kept by all partitions
// may take, one in so many. Others are decoded anew for each piece that is read.
const decodedShare = 8

// keepBlock puts b in the place of the block that was kept there, if the storage
// has memory for it, and returns where it is now.
func (s *Storage) keepBlock(place, b *decodedBlock) *decodedBlock {
	s.dropBlock(place)
	n := b.memory()
	if s.decoded.Add(n) > s.options.MemoryBudget/decodedShare {
		s.decoded.Add(-n)
		return b
	}
	*place = *b
	return place
}

// dropBlock lets go of the block that is kept there.
func (s *Storage) dropBlock(place *decodedBlock) {
	s.decoded.Add(-place.memory())
	*place = decodedBlock{}
}
