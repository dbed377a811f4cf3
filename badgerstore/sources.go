package badgerstore

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Source ids are found by their 64-bit hash (xxHash64). For the segment that
// takes new items the hashes are in memory, a bounded number of them; when it is
// closed to new items they go to a file beside it, `sources.idx`, which is
// searched where it lies. So memory does not grow with the backlog.
//
// An index tells which items may have a source id; whoever asks reads them and
// compares. Items that are gone stay in it until their segment goes.
//
// The file, all integers little endian:
//
//	byte     0x51: kind source index, version 1
//	3 bytes  0
//	uint32   number of entries
//	entries  12 bytes each, rising by hash, then by index:
//	         uint64  hash of the source id
//	         uint32  index of the item in the span
//	uint32   CRC-32C of all of the above
//
// For example, with a single entry, item 5 with source id "a":
//
//	51 00 00 00              source index, version 1
//	01 00 00 00              one entry
//	5b 6e 8c a9 f1 c4 4e d2  d24ec4f1a98c6e5b is the hash of "a"
//	05 00 00 00              index 5
//	b5 a0 9a 8b              CRC-32C
//
// It is written under a temporary name, synced and renamed. It holds nothing
// that the blocks do not hold: when it is missing or damaged it is built again.
const (
	sourcesVersion    = 1
	sourcesHeaderSize = 8
	sourcesEntrySize  = 12

	// sourcesName is the file in a sealed segment's directory, sourcesTemp its
	// name while it is being written.
	sourcesName = "sources.idx"
	sourcesTemp = "sources.idx.tmp"
)

// sourceHash returns the hash under which a source id is indexed.
func sourceHash(id string) uint64 { return xxhash.Sum64String(id) }

// sourceEntry is an entry of an index. prev is the place in sourceTail.entries,
// plus one, of the entry before with the same hash, or 0.
type sourceEntry struct {
	hash  uint64
	index uint32
	prev  uint32
}

// sourceMemory is what an entry takes of memory, about.
const sourceMemory = 50

// sourceTail is the index of the segment that still takes items (and the way to
// build one again from blocks). It takes sourceMemory an entry. It belongs to
// one goroutine.
type sourceTail struct {
	limit   int
	entries []sourceEntry
	newest  map[uint64]uint32 // by hash: the place of its newest entry, plus one
}

// newSourceTail returns an empty index that is full at limit entries.
func newSourceTail(limit int) *sourceTail {
	return &sourceTail{limit: limit, newest: make(map[uint64]uint32)}
}

// add takes note that the item with that index in the segment (the low SpanBits
// of its sequence number) has that source id, which is not empty. It works
// beyond the limit too, since a commit may go across it.
func (t *sourceTail) add(sourceID string, index uint32) {
	hash := sourceHash(sourceID)
	t.entries = append(t.entries, sourceEntry{hash: hash, index: index, prev: t.newest[hash]})
	t.newest[hash] = uint32(len(t.entries))
}

// find appends to dst the indexes of the items that may have that source id,
// the newest first. The caller compares the real ids.
func (t *sourceTail) find(sourceID string, dst []uint32) []uint32 {
	for at := t.newest[sourceHash(sourceID)]; at > 0; at = t.entries[at-1].prev {
		dst = append(dst, t.entries[at-1].index)
	}
	return dst
}

// len returns the number of entries.
func (t *sourceTail) len() int { return len(t.entries) }

// full reports whether the limit is reached: the segment is to be closed to new
// items.
func (t *sourceTail) full() bool { return len(t.entries) >= t.limit }

// sorted returns the entries in the order of the file.
func (t *sourceTail) sorted() []sourceEntry {
	entries := slices.Clone(t.entries)
	slices.SortFunc(entries, compareSources)
	return entries
}

func compareSources(a, b sourceEntry) int {
	if a.hash != b.hash {
		return cmp.Compare(a.hash, b.hash)
	}
	return cmp.Compare(a.index, b.index)
}
