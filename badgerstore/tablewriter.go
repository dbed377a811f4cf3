package badgerstore

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	flatbuffers "github.com/google/flatbuffers/go"
)

// tableWriter writes a table of Badger's, as rawtable.go says it is, byte for byte
// as Badger does. Badger's own builder takes 3 MiB for the index and up to 16 times
// the size of the entries for a moment, however few they are, and a partition that
// is closed for others to have their turn leaves that behind as garbage each time.
// This takes what the table has.
type tableWriter struct {
	data   []byte // the blocks, of which the last is being written
	blocks []writtenBlock

	begin  int      // where the last block begins
	first  []byte   // its first key
	places []uint32 // where its entries begin, from its beginning on

	hashes  []uint32 // of all keys, for the filter
	version uint64   // the greatest one
	pointed uint32   // bytes of values in the value log
}

// writtenBlock is a block as the index has it.
type writtenBlock struct {
	first   []byte
	at, end int
}

const (
	// tableBlockSize is Badger's BlockSize; a larger entry is a block of its own.
	tableBlockSize = 4 << 10
	// tableFilterRate is Badger's BloomFalsePositive.
	tableFilterRate = 0.01
	// blockEntry is what an entry takes beside key and value, at most: lengths of the
	// key's two parts, metas and expiry, its place in the block.
	blockEntry = 2 + 2 + 3 + 4
	// blockTail is what a block takes beside its entries, at most.
	blockTail = 4 + 6 + 4
	// indexedBlock is about what the index takes for a block beside its first key.
	indexedBlock = 48
)

// newTableWriter returns one for count entries that have so many bytes of keys and
// values.
func newTableWriter(count, size int) *tableWriter {
	size += count * blockEntry
	blocks := min(count, 2*size/tableBlockSize+1)
	return &tableWriter{
		data:   make([]byte, 0, size+blocks*(blockTail+indexedBlock)+count*2+tableBlockSize),
		hashes: make([]uint32, 0, count),
	}
}

// add adds an entry; its key, with the version, is behind all that were added
// before, and is kept until finish.
func (w *tableWriter) add(key []byte, v *y.ValueStruct) {
	if w.isBlockFull(key, v) {
		w.finishBlock()
	}
	w.hashes = append(w.hashes, y.Hash(y.ParseKey(key)))
	w.version = max(w.version, y.ParseTs(key))
	if len(w.places) == 0 {
		w.begin, w.first = len(w.data), key
	}
	w.places = append(w.places, uint32(len(w.data)-w.begin))
	same := 0
	if len(w.places) > 1 {
		same = commonPrefix(w.first, key)
	}
	// Badger's lengths lie there as in memory.
	w.data = binary.NativeEndian.AppendUint16(w.data, uint16(same))
	w.data = binary.NativeEndian.AppendUint16(w.data, uint16(len(key)-same))
	w.data = append(w.data, key[same:]...)
	w.data = append(w.data, v.Meta, v.UserMeta)
	w.data = binary.AppendUvarint(w.data, v.ExpiresAt)
	w.data = append(w.data, v.Value...)
	if v.Meta&metaPointer != 0 && len(v.Value) == pointerSize {
		w.pointed += binary.NativeEndian.Uint32(v.Value[4:]) // See appendPointer.
	}
}

// isBlockFull reports whether a block has to end before an entry, by Badger's
// estimate.
func (w *tableWriter) isBlockFull(key []byte, v *y.ValueStruct) bool {
	if len(w.places) == 0 {
		return false
	}
	used := len(w.data) - w.begin
	return used+6+len(key)+int(v.EncodedSize())+4*(len(w.places)+1)+4+8+4 > tableBlockSize
}

// finishBlock ends the block that is being written, if there is one.
func (w *tableWriter) finishBlock() {
	if len(w.places) == 0 {
		return
	}
	for _, at := range w.places {
		w.data = binary.NativeEndian.AppendUint32(w.data, at)
	}
	w.data = binary.BigEndian.AppendUint32(w.data, uint32(len(w.places)))
	w.data = appendTableSum(w.data, w.data[w.begin:])
	w.blocks = append(w.blocks, writtenBlock{first: w.first, at: w.begin, end: len(w.data)})
	w.places = w.places[:0]
}

// appendTableSum appends the checksum of covered, with its length.
func appendTableSum(dst, covered []byte) []byte {
	start := len(dst)
	if sum := y.CalculateChecksum(covered, pb.Checksum_CRC32C); sum != 0 {
		dst = binary.AppendUvarint(append(dst, 0x10), sum) // A message of Badger's, whose other field is 0.
	}
	return binary.BigEndian.AppendUint32(dst, uint32(len(dst)-start))
}

// finish returns the table. Nothing can be added any more.
func (w *tableWriter) finish() []byte {
	w.finishBlock()
	index := w.index()
	w.data = append(w.data, index...)
	w.data = binary.BigEndian.AppendUint32(w.data, uint32(len(index)))
	return appendTableSum(w.data, index)
}

// index returns the index of the blocks with the filter.
func (w *tableWriter) index() []byte {
	filter := y.NewFilter(w.hashes, y.BloomBitsPerKey(len(w.hashes), tableFilterRate))
	b := flatbuffers.NewBuilder(len(filter) + len(w.blocks)*2*indexedBlock + 1<<10)
	offsets := make([]flatbuffers.UOffsetT, len(w.blocks))
	for i, block := range w.blocks {
		key := b.CreateByteVector(block.first)
		fb.BlockOffsetStart(b)
		fb.BlockOffsetAddKey(b, key)
		fb.BlockOffsetAddOffset(b, uint32(block.at))
		fb.BlockOffsetAddLen(b, uint32(block.end-block.at))
		offsets[i] = fb.BlockOffsetEnd(b)
	}
	fb.TableIndexStartOffsetsVector(b, len(offsets))
	for i := len(offsets) - 1; i >= 0; i-- { // It grows from its end.
		b.PrependUOffsetT(offsets[i])
	}
	list := b.EndVector(len(offsets))
	bloom := b.CreateByteVector(filter)
	size := uint32(len(w.data))
	fb.TableIndexStart(b)
	fb.TableIndexAddOffsets(b, list)
	fb.TableIndexAddBloomFilter(b, bloom)
	fb.TableIndexAddMaxVersion(b, w.version)
	fb.TableIndexAddUncompressedSize(b, size)
	fb.TableIndexAddKeyCount(b, uint32(len(w.hashes)))
	fb.TableIndexAddOnDiskSize(b, w.pointed+size)
	fb.TableIndexAddStaleDataSize(b, 0)
	b.Finish(fb.TableIndexEnd(b))
	index := b.FinishedBytes()
	// Badger counts the index too, whose length shows now.
	fb.GetRootAsTableIndex(index, 0).MutateOnDiskSize(w.pointed + size + uint32(len(index)))
	return index
}

// commonPrefix returns how many bytes a and b begin with that are the same.
func commonPrefix(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
