package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Badger's files are read here without Badger, which refuses a directory with
// one damaged file, or deletes what is behind the damage. A memtable's log
// (.mem) and a value log (.vlog) look alike:
//
//	20 bytes  header: number of the key, zero as we do not encrypt; random bytes, or
//	          the stamp of a value log (stamp.go), or the number of a memtable's log
//	          (journal.go)
//	entries   one after the other, then zeros, or what a value log held before
//
// An entry:
//
//	byte      meta: 0x02 the value is a pointer to the value log, 0x40 the entry
//	          is part of a transaction, 0x80 it ends one
//	byte      user meta, which we do not use: 0
//	uvarint   length of the key
//	uvarint   length of the value
//	uvarint   expiry, which we do not use: 0
//	key       and eight bytes of version
//	value
//	4 bytes   CRC-32C of all of the above, big endian
const (
	metaPointer = 0x02
	metaTxn     = 0x40
	metaEndTxn  = 0x80

	maxRawKey = 1 << 10
)

// rawEntry is a key with its value as found in a file. Its memory is valid
// during the call that it is handed to.
type rawEntry struct {
	meta    byte
	key     []byte
	version uint64
	value   []byte
	at      int64 // where the value begins in the file
}

// gap is a part of a file that cannot be read although something is there.
type gap struct{ from, end int64 }

// rawLog is what scanning a log has found out.
type rawLog struct {
	size int64
	// end is where Badger stops: at the first entry that does not verify, or the
	// beginning of a transaction that has no end.
	end  int64
	last int64 // where the last entry that verifies ends
	gaps []gap
	lost int64 // bytes that the device did not give, which look like zeros
}

// isShort reports whether the file ends in the middle of an entry.
func (l *rawLog) isShort() bool {
	n := len(l.gaps)
	return n > 0 && l.gaps[n-1].end == l.size
}

// scanLog hands the entries of the log at path to visit, in order; those behind
// damage too, as far as they can be found. kept is called with the end of the
// entries that Badger would keep, whenever it moves. What a value log holds of its
// past is not there. Damage of its last entry cannot be told from that: only a pointer
// to what is missing shows it.
func scanLog(path string, visit func(e *rawEntry) error, kept func()) (l rawLog, err error) {
	f, err := os.Open(path)
	if err != nil {
		return l, unavailable(err, "cannot open %s", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return l, unavailable(err, "cannot look at %s", path)
	}
	l.size, l.end, l.last = info.Size(), logHeader, logHeader
	c := &card{f: f}
	defer func() { l.lost = c.lost }()
	w := &window{f: c, size: l.size}
	if head := w.at(0, 8); head == nil || binary.BigEndian.Uint64(head) != 0 {
		l.gaps = append(l.gaps, gap{0, min(logHeader, l.size)})
	}
	stamp := uint64(0)
	if filepath.Ext(path) == ".vlog" {
		stamp = w.findStamp(path)
	}
	sound, open, doubt := true, false, int64(-1) // From doubt on there was no entry.
	for off := int64(logHeader); off < l.size && w.err == nil; {
		e, n := w.entry(off)
		if n == 0 || stamp != 0 && stampOf(e.version) != stamp {
			next := int64(0)
			if stamp != 0 {
				next = w.nextStamped(off+1, stamp)
			} else {
				next = w.resync(off)
			}
			if next < 0 {
				break
			}
			if doubt < 0 {
				doubt = off
			}
			sound, off = false, next
			continue
		}
		if doubt >= 0 {
			l.gaps = append(l.gaps, gap{doubt, off})
			doubt = -1
		}
		if err := visit(&e); err != nil {
			return l, err
		}
		off += n
		l.last = off
		open = e.meta&metaTxn != 0 || open && e.meta&metaEndTxn == 0
		if sound && !open {
			l.end = off
			kept()
		}
	}
	if w.err != nil {
		return l, unavailable(w.err, "cannot read %s", path)
	}
	if doubt >= 0 {
		l.gaps = append(l.gaps, gap{doubt, l.size})
	}
	return l, nil
}

// window reads a file a piece at a time.
type window struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	off  int64
	err  error // an error of the device
}

const windowSize = 128 << 10

// at returns n bytes at off, valid until the next call; nil beyond the end.
func (w *window) at(off, n int64) []byte {
	if off < 0 || n < 0 || off+n > w.size || w.err != nil {
		return nil
	}
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		want := min(max(n, windowSize), w.size-off)
		if int64(cap(w.buf)) < want || cap(w.buf) > 8*windowSize && want <= windowSize {
			w.buf = make([]byte, want)
		}
		w.buf, w.off = w.buf[:want], off
		if _, err := w.f.ReadAt(w.buf, off); err != nil && !errors.Is(err, io.EOF) {
			w.err = err
			return nil
		}
	}
	return w.buf[off-w.off : off-w.off+n]
}

// held returns what there is to be read at off without reading more, at least a byte
// before the end; nil beyond it.
func (w *window) held(off int64) []byte {
	if w.at(off, 1) == nil {
		return nil
	}
	return w.buf[off-w.off:]
}

// holds reports whether the byte at off was read.
func (w *window) holds(off int64) bool { return off >= w.off && off < w.off+int64(len(w.buf)) }

// entry reads the entry at off. n is 0 when there is none that verifies.
func (w *window) entry(off int64) (e rawEntry, n int64) {
	const maxHead = 2 + 3*binary.MaxVarintLen32
	head := w.at(off, min(maxHead, w.size-off))
	if len(head) < 5 || head[1] != 0 {
		return e, 0
	}
	e.meta = head[0]
	at := 2
	key, k := binary.Uvarint(head[at:])
	if k <= 0 || key <= versionSize || key > maxRawKey {
		return e, 0
	}
	at += k
	value, k := binary.Uvarint(head[at:])
	if k <= 0 || value > math.MaxInt32 {
		return e, 0
	}
	at += k
	if at >= len(head) || head[at] != 0 {
		return e, 0
	}
	at++
	size := int64(at) + int64(key) + int64(value)
	whole := w.at(off, size+checksumSize)
	if whole == nil || crc32.Checksum(whole[:size], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(whole[size:]) {
		return e, 0
	}
	e.key, e.version = splitVersion(whole[at : at+int(key)])
	e.value, e.at = whole[at+int(key):size], off+int64(at)+int64(key)
	return e, size + checksumSize
}

// splitVersion takes the version off a key of Badger's.
func splitVersion(key []byte) ([]byte, uint64) {
	n := len(key) - versionSize
	return key[:n], math.MaxUint64 - binary.BigEndian.Uint64(key[n:])
}

// resync returns where the next entry begins that verifies, or the end of the
// file when there is none but something is there; -1 when there are only zeros.
func (w *window) resync(off int64) int64 {
	begin := off
	if !w.skipZeros(&off) {
		return -1
	}
	for off < w.size && w.err == nil {
		if _, n := w.entry(off); n > 0 && off > begin {
			return off
		}
		off++
		if w.isZero(off) && w.isZero(off+1) && w.isZero(off+2) && !w.skipZeros(&off) {
			break
		}
	}
	return w.size
}

func (w *window) isZero(off int64) bool {
	b := w.at(off, 1)
	return b == nil || b[0] == 0
}

// skipZeros moves off to two bytes before the next byte that is not zero, where
// an entry may begin, and reports whether there is one.
func (w *window) skipZeros(off *int64) bool {
	for at := *off; at < w.size; {
		if !w.holds(at) {
			at = w.nextData(at)
		}
		b := w.held(at)
		if b == nil {
			return false
		}
		if n := len(bytes.TrimLeft(b, "\x00")); n > 0 {
			*off = max(*off, at+int64(len(b)-n)-2)
			return true
		}
		at += int64(len(b))
	}
	return false
}

// nextData returns where the file has blocks that may hold anything, at or behind
// at. A log is mostly a hole: Badger makes it twice as long as it gets, and what
// is reserved of it was not written. Reading all that takes long on a slow
// device, and memory for the pages.
func (w *window) nextData(at int64) int64 {
	var f *os.File
	switch r := w.f.(type) {
	case *card:
		f = r.f
	case *os.File:
		f = r
	default:
		return at
	}
	next, err := f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return w.size
	case err != nil:
		return at // This file system cannot tell.
	}
	return next
}
