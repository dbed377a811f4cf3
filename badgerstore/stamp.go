package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
)

// The versions of all transactions of a segment begin with its stamp, in the upper 40
// bits. It is 0, or a random number where the value log was one before (spent.go): an
// entry with another stamp is then one of its past, or lies in the payload of an item,
// which may hold anything. The stamp stands in the header of the value log:
//
//	8 bytes  zeros: the number of Badger's key, which there is none
//	8 bytes  stamp, little endian
//	4 bytes  CRC-32C of those 8 bytes, little endian
//
// Badger takes the last 12 bytes for what it would begin to encrypt with; logs of before
// have zeros or random numbers there. Where they name no stamp, since the log is of
// before or is damaged, the segment's other files tell it.
const (
	stampShift = 24 // What is left is far more than a segment takes transactions.
	stampBits  = 39 // Versions are far below the greatest number.
	stampPlace = logHeader - 12
)

// newStamp returns a stamp that no segment has.
func newStamp() uint64 { return 1 + rand.Uint64N(1<<stampBits-1) }

// stampOf returns the stamp of a version.
func stampOf(version uint64) uint64 { return version >> stampShift }

// appendStamp appends the header of a value log.
func appendStamp(dst []byte, stamp uint64) []byte {
	dst = append(dst, make([]byte, stampPlace)...)
	dst = binary.LittleEndian.AppendUint64(dst, stamp)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[len(dst)-8:]))
}

// parseStamp returns the stamp that the header of a value log names, if it does.
func parseStamp(header []byte) (stamp uint64, ok bool) {
	if len(header) < logHeader {
		return 0, false
	}
	b := header[stampPlace:logHeader]
	return binary.LittleEndian.Uint64(b), checksum(b[:8]) == leUint32(b[8:])
}

// errStop ends a scan.
var errStop = errors.New("enough")

// findStamp returns the stamp of the value log at path, which w reads: that of its
// header, or of the first entry of the segment's other files, or of its own first.
func (w *window) findStamp(path string) uint64 {
	if stamp, ok := parseStamp(w.at(0, logHeader)); ok {
		return stamp
	}
	names, _ := listDir(filepath.Dir(path)) // What cannot be read tells nothing.
	slices.Sort(names)
	for _, ext := range []string{".mem", ".sst"} {
		for _, name := range names {
			if filepath.Ext(name) != ext {
				continue
			}
			if stamp, ok := firstStamp(filepath.Join(filepath.Dir(path), name)); ok {
				return stamp
			}
		}
	}
	for off := int64(logHeader); off >= 0 && off < w.size && w.err == nil; off = w.resync(off) {
		if e, n := w.entry(off); n > 0 {
			return stampOf(e.version)
		}
	}
	return 0
}

// firstStamp returns the stamp of the first entry of a table or of a memtable's log.
func firstStamp(path string) (stamp uint64, ok bool) {
	visit := func(e *rawEntry) error {
		stamp, ok = stampOf(e.version), true
		return errStop
	}
	if filepath.Ext(path) == ".sst" {
		_ = scanTable(path, visit) // It has been found before, or was not.
		return stamp, ok
	}
	_, _ = scanLog(path, visit, func() {}) // Likewise.
	return stamp, ok
}

// nextStamped returns where the next entry with that stamp begins, at off or behind it;
// -1 if there is none. It looks for the stamp as it stands behind keys, since what a log
// has of its past may be as large as it likes, and look like anything.
func (w *window) nextStamped(off int64, stamp uint64) int64 {
	const (
		mostKey = 32 // There are no longer ones in a segment.
		least   = 6  // of what stands before the version
		most    = 2 + 3*binary.MaxVarintLen32 + mostKey
	)
	pattern := binary.BigEndian.AppendUint64(nil, ^(stamp << stampShift))[:8-stampShift/8]
	for version := w.index(off, pattern); version >= 0; version = w.index(version+1, pattern) {
		for start := max(off, version-most); start <= version-least; start++ {
			if e, n := w.entry(start); n > 0 && stampOf(e.version) == stamp {
				return start
			}
		}
	}
	return -1
}

// index returns where the pattern stands next, at at or behind it; -1 if it does not.
func (w *window) index(at int64, pattern []byte) int64 {
	if !w.holds(at) {
		at = w.nextData(at)
	}
	for at < w.size {
		// The whole of it, which may lie across the end of what was read.
		if w.at(at, min(int64(len(pattern)), w.size-at)) == nil {
			break
		}
		b := w.held(at)
		if i := bytes.Index(b, pattern); i >= 0 {
			return at + int64(i)
		}
		at = w.nextData(at + int64(max(1, len(b)-len(pattern)+1)))
	}
	return -1
}
