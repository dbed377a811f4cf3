package badgerstore

import (
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/klauspost/compress/s2"
)

// blockRawMax and blockItemsMax bound a block: splitBlocks cuts so that no
// block has more raw bytes (unless a single item has) or more items.
const (
	blockRawMax   = 256 << 10
	blockItemsMax = 4096
)

// packer holds the buffers that packing blocks needs, for reuse. The zero value
// is ready; it belongs to one goroutine at a time.
type packer struct {
	raw    []byte
	packed []byte
}

// blockHeader is what a block says of itself before its items.
type blockHeader struct {
	First  uint64 // sequence number of the first item
	Count  uint32 // number of items, at least 1
	RawLen int64  // bytes of the items before compression
	At     queue.Instant
}

// splitBlocks cuts the items of a commit into the runs that become one block
// each. The runs share the memory of items.
func splitBlocks(items []queue.Item) [][]queue.Item { return [][]queue.Item{items} }

// appendBlock appends the block of items, which are one run of splitBlocks with
// consecutive sequence numbers, to dst and returns it. It keeps nothing of
// items.
func appendBlock(dst []byte, items []queue.Item, at queue.Instant, scratch *packer) []byte {
	return s2.Encode(dst, nil)
}

// decodeBlock verifies a block and returns its items, which own their memory.
// The error Is queue.ErrCorrupt or queue.ErrFormat.
func decodeBlock(value []byte, tag queue.Tag, sameBoot bool) ([]queue.Item, error) {
	return nil, errCorrupt("block", "not written yet")
}

// readBlockHeader reads the header without verifying the checksum and without
// decompressing.
func readBlockHeader(value []byte) (blockHeader, error) {
	return blockHeader{}, errCorrupt("block", "not written yet")
}

// verifyBlock checks the checksum and the header without decompressing.
func verifyBlock(value []byte) (blockHeader, error) {
	return blockHeader{}, errCorrupt("block", "not written yet")
}
