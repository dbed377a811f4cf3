package badgerstore

import "github.com/cespare/xxhash/v2"

// sourcesName is the file in a sealed segment's directory.
const sourcesName = "sources.idx"

// sourceHash returns the hash under which a source id is indexed.
func sourceHash(id string) uint64 { return xxhash.Sum64String(id) }

// sourceTail is the index of the segment that still takes items (and the way to
// build one again from blocks). It belongs to one goroutine.
type sourceTail struct{ limit int }

// newSourceTail returns an empty index that is full at limit entries.
func newSourceTail(limit int) *sourceTail { return &sourceTail{limit: limit} }

// add takes note that the item with that index in the segment (the low SpanBits
// of its sequence number) has that source id. It works beyond the limit too.
func (t *sourceTail) add(sourceID string, index uint32) {}

// find appends to dst the indexes of the items that may have that source id,
// the newest first. The caller compares the real ids.
func (t *sourceTail) find(sourceID string, dst []uint32) []uint32 { return dst }

// len returns the number of entries.
func (t *sourceTail) len() int { return 0 }

// full reports whether the limit is reached: the segment is to be closed to new
// items.
func (t *sourceTail) full() bool { return false }

// writeSources writes t as the file sources.idx of the segment in dir, durably
// (temporary name, fsync, rename, fsync of dir), and returns its size in bytes.
// t is only read. The error Is queue.ErrFull or queue.ErrUnavailable.
func writeSources(dir string, t *sourceTail) (int64, error) { return 0, nil }

// sourceFile is the open index of a sealed segment; it holds a file descriptor
// and no memory to speak of. Safe for use by any goroutine until close.
type sourceFile struct{ count uint32 }

// openSources opens the index of the segment in dir. Unless verified is set (by
// a caller that has opened this file before, in this process), the whole file is
// read once to check it. A missing or damaged index gives an error that Is
// queue.ErrCorrupt (a missing one Is fs.ErrNotExist too): build it again from
// the blocks. Any other failure Is queue.ErrUnavailable.
func openSources(dir string, verified bool) (*sourceFile, error) {
	return nil, errCorrupt("source index", "not written yet")
}

// find appends to dst the indexes of the items that may have that source id,
// the newest first. The error Is queue.ErrCorrupt or queue.ErrUnavailable.
func (f *sourceFile) find(sourceID string, dst []uint32) ([]uint32, error) { return dst, nil }

// len returns the number of entries.
func (f *sourceFile) len() int { return int(f.count) }

// close closes the file.
func (f *sourceFile) close() error { return nil }
