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
	whole int64 // what it took when it was read; a reader may have taken items since
	kept  int64 // the memory that is counted for it, while it is kept
}

func (b *decodedBlock) holds(seq uint64) bool {
	return seq >= b.first && seq-b.first < uint64(len(b.items))
}

// memory returns about what the block takes: small items take more for themselves
// than for their bytes.
func (b *decodedBlock) memory() int64 {
	n := int64(len(b.items)) * itemMemory
	for i := range b.items {
		n += b.items[i].Size()
	}
	return n
}

// itemMemory is what an item takes beside its bytes.
const itemMemory = int64(unsafe.Sizeof(queue.Item{}))

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
	place.kept = n
	return place
}

// dropBlock lets go of the block that is kept there.
func (s *Storage) dropBlock(place *decodedBlock) {
	s.decoded.Add(-place.kept)
	*place = decodedBlock{}
}

const (
	// bufferShare is the part of the memory budget that buffers take which are kept
	// from one commit to the next, one in so many. Others are made anew.
	bufferShare = 16
	// leastBuffers is what a partition may keep in any case.
	leastBuffers = 16 << 10
)

// keepBuffers keeps the buffers that a commit was written with, if the storage has
// memory for them.
func (p *partition) keepBuffers() {
	n := int64(cap(p.buf) + cap(p.packer.raw) + cap(p.packer.packed))
	used := p.storage.buffers.Add(n - p.kept)
	p.kept = n
	if n > leastBuffers && used > p.storage.options.MemoryBudget/bufferShare {
		p.dropBuffers()
	}
}

// dropBuffers lets go of them.
func (p *partition) dropBuffers() {
	p.storage.buffers.Add(-p.kept)
	p.packer, p.buf, p.kept = packer{}, nil, 0
}
