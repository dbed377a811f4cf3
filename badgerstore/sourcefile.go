package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

const (
	// sourcesChunk is how much of the file is in memory while all of it is read
	// or written: a whole number of entries in 32 KiB.
	sourcesChunk = (32 << 10) / sourcesEntrySize * sourcesEntrySize
	// sourcesWindow is how many entries one step of a search reads: hashes are
	// spread evenly, so that the first guess is mostly within a few hundred.
	sourcesWindow = 340
	// sourcesGuesses is after how many wrong guesses the search goes on by
	// halves, which ends for whatever is in the file.
	sourcesGuesses = 8
)

// errSources returns the error of an operation on the file that failed.
func errSources(doing, path string, err error) error {
	if isFull(err) {
		return &queue.Error{Kind: queue.ErrFull, Op: doing, Err: err,
			Msg: fmt.Sprintf("the disk is full: cannot %s the source index %s", doing, path)}
	}
	return &queue.Error{Kind: queue.ErrUnavailable, Op: doing, Err: err, Msg: fmt.Sprintf("source index %s: cannot %s", path, doing)}
}

// writeSources writes t as the file sources.idx of the segment in dir, durably
// (temporary name, fsync, rename, fsync of dir), and returns its size in bytes.
// t is only read. The error Is queue.ErrFull or queue.ErrUnavailable; the file
// is then as it was before, or missing.
func writeSources(dir string, t *sourceTail) (int64, error) {
	path, temp := filepath.Join(dir, sourcesName), filepath.Join(dir, sourcesTemp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, errSources("create", temp, err)
	}
	entries := t.sorted()
	err = writeEntries(f, entries)
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return 0, errors.Join(errSources("write", temp, err), removeQuietly(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return 0, errSources("rename", temp, err)
	}
	if err := syncDir(dir); err != nil {
		return 0, errSources("sync", dir, err)
	}
	return sourcesSize(uint32(len(entries))), nil
}

func removeQuietly(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errSources("remove", path, err)
	}
	return nil
}

func sourcesSize(count uint32) int64 {
	return sourcesHeaderSize + int64(count)*sourcesEntrySize + sumSize
}

func newSum() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// writeEntries writes the whole file, a chunk at a time.
func writeEntries(f io.Writer, entries []sourceEntry) error {
	sum := newSum()
	buf := make([]byte, sourcesHeaderSize, sourcesChunk+sourcesHeaderSize)
	buf[0] = kindSources | sourcesVersion
	binary.LittleEndian.PutUint32(buf[4:], uint32(len(entries)))
	for i, e := range entries {
		buf = binary.LittleEndian.AppendUint64(buf, e.hash)
		buf = binary.LittleEndian.AppendUint32(buf, e.index)
		if len(buf) < sourcesChunk && i+1 < len(entries) {
			continue
		}
		// A hash never fails.
		_, _ = sum.Write(buf)
		if _, err := f.Write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	_, _ = sum.Write(buf)
	_, err := f.Write(binary.LittleEndian.AppendUint32(buf, sum.Sum32()))
	return err
}

// sourceFile is the open index of a sealed segment; it holds a file descriptor
// and no memory to speak of. Safe for use by any goroutine until close.
type sourceFile struct {
	f     *os.File
	count uint32
}

// openSources opens the index of the segment in dir. Unless verified is set (by
// a caller that has opened this file before, in this process), the whole file is
// read once to check it. A missing or damaged index gives an error that Is
// queue.ErrCorrupt (a missing one Is fs.ErrNotExist too), one of a newer version
// queue.ErrFormat: build it again from the blocks. Any other failure Is
// queue.ErrUnavailable.
func openSources(dir string, verified bool) (*sourceFile, error) {
	path := filepath.Join(dir, sourcesName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &queue.Error{Kind: queue.ErrCorrupt, Err: err, Msg: "source index " + path + " is missing"}
	}
	if err != nil {
		return nil, errSources("open", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(errSources("look at", path, err), f.Close())
	}
	count, err := checkSources(f, info.Size(), path, verified)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &sourceFile{f: f, count: count}, nil
}

// checkSources checks a file of that size, all of it unless verified is set,
// and returns the number of entries.
func checkSources(f io.ReaderAt, size int64, path string, verified bool) (uint32, error) {
	if size < sourcesSize(0) {
		return 0, errCorrupt("source index", "%s has %d bytes, which are too few", path, size)
	}
	if !verified {
		if err := checkSourcesSum(f, size, path); err != nil {
			return 0, err
		}
	}
	var head [sourcesHeaderSize]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, errSources("read", path, err)
	}
	if err := checkKind(head[0], "source index", kindSources|sourcesVersion); err != nil {
		return 0, err
	}
	count := binary.LittleEndian.Uint32(head[4:])
	if head[1]|head[2]|head[3] != 0 || size != sourcesSize(count) {
		return 0, errCorrupt("source index", "%s has %d bytes, must have %d", path, size, sourcesSize(count))
	}
	if !verified {
		if err := checkSourcesOrder(f, count, path); err != nil {
			return 0, err
		}
	}
	return count, nil
}

func checkSourcesSum(f io.ReaderAt, size int64, path string) error {
	sum, buf := newSum(), make([]byte, sourcesChunk)
	if _, err := io.CopyBuffer(sum, onlyReader{io.NewSectionReader(f, 0, size-sumSize)}, buf); err != nil {
		return errSources("read", path, err)
	}
	var stored [sumSize]byte
	if _, err := f.ReadAt(stored[:], size-sumSize); err != nil {
		return errSources("read", path, err)
	}
	if want, got := binary.LittleEndian.Uint32(stored[:]), sum.Sum32(); want != got {
		return errCorrupt("source index", "%s: checksum is %08x, must be %08x", path, got, want)
	}
	return nil
}

// onlyReader hides WriteTo, so that io.CopyBuffer uses the buffer given.
type onlyReader struct{ io.Reader }

// checkSourcesOrder checks that the entries rise, on which searching rests.
func checkSourcesOrder(f io.ReaderAt, count uint32, path string) error {
	buf := make([]byte, sourcesChunk)
	last := sourceEntry{}
	for at := uint32(0); at < count; {
		entries, err := readEntries(f, at, min(count-at, sourcesChunk/sourcesEntrySize), buf, path)
		if err != nil {
			return err
		}
		for i := range entries.len() {
			e := entries.entry(i)
			if compareSources(e, last) < 0 || e.index >= queue.MaxSpanItems {
				return errCorrupt("source index", "%s: entry %d is out of order or bounds", path, at+uint32(i))
			}
			last = e
		}
		at += uint32(entries.len())
	}
	return nil
}

// sourceEntries are entries as they lie in the file.
type sourceEntries []byte

func (s sourceEntries) len() int { return len(s) / sourcesEntrySize }

func (s sourceEntries) entry(i int) sourceEntry {
	b := s[i*sourcesEntrySize:]
	return sourceEntry{hash: binary.LittleEndian.Uint64(b), index: binary.LittleEndian.Uint32(b[8:])}
}

// readEntries reads n entries from entry at on into buf.
func readEntries(f io.ReaderAt, at, n uint32, buf []byte, path string) (sourceEntries, error) {
	buf = buf[:int(n)*sourcesEntrySize]
	if _, err := f.ReadAt(buf, sourcesHeaderSize+int64(at)*sourcesEntrySize); err != nil {
		return nil, errSources("read", path, err)
	}
	return buf, nil
}

// find appends to dst the indexes of the items that may have that source id,
// the newest first. The error Is queue.ErrUnavailable.
func (f *sourceFile) find(sourceID string, dst []uint32) ([]uint32, error) {
	return findSources(f.f, f.count, sourceHash(sourceID), dst, f.f.Name())
}

// findSources looks for the entries with that hash.
func findSources(f io.ReaderAt, count uint32, hash uint64, dst []uint32, path string) ([]uint32, error) {
	buf := make([]byte, sourcesWindow*sourcesEntrySize)
	first, err := seekSource(f, count, hash, buf, path)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	for at := first; at < count; {
		entries, err := readEntries(f, at, min(count-at, sourcesWindow), buf, path)
		if err != nil {
			return dst, err
		}
		for i := range entries.len() {
			e := entries.entry(i)
			if e.hash != hash {
				at = count - uint32(entries.len()) // The search is over.
				break
			}
			dst = append(dst, e.index)
		}
		at += uint32(entries.len())
	}
	slices.Reverse(dst[start:])
	return dst, nil
}

// seekSource returns the place of the first entry whose hash is at least hash,
// or count. It is in [lo, hi]; hashes below lo are at least loHash and less than
// hash, those from hi on at least hash and at most hiHash.
func seekSource(f io.ReaderAt, count uint32, hash uint64, buf []byte, path string) (uint32, error) {
	lo, hi := uint32(0), count
	loHash, hiHash := uint64(0), uint64(math.MaxUint64)
	for guess := 0; lo < hi; guess++ {
		at := (hi - lo) / 2
		if guess < sourcesGuesses && hiHash > loHash && hash >= loHash && hash < hiHash {
			at = uint32(share(hash-loHash, uint64(hi-lo), hiHash-loHash))
		}
		at = lo + at - min(at, sourcesWindow/2)
		n := min(hi-at, sourcesWindow)
		entries, err := readEntries(f, at, n, buf, path)
		if err != nil {
			return 0, err
		}
		first, last := entries.entry(0).hash, entries.entry(int(n)-1).hash
		switch {
		case first >= hash:
			hi, hiHash = at, first
		case last < hash:
			lo, loHash = at+n, last
		default:
			for i := range entries.len() {
				if entries.entry(i).hash >= hash {
					return at + uint32(i), nil
				}
			}
		}
	}
	return lo, nil
}

// share returns n*part/whole, which is less than n, for part < whole.
func share(part, n, whole uint64) uint64 {
	high, low := bits.Mul64(part, n)
	q, _ := bits.Div64(high, low, whole)
	return q
}

// len returns the number of entries.
func (f *sourceFile) len() int { return int(f.count) }

// close closes the file.
func (f *sourceFile) close() error { return f.f.Close() }
