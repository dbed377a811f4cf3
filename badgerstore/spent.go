package badgerstore

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/queue"
)

// A value log that is new costs the device more than what is written to it: its blocks
// are reserved, which says that they hold nothing, and with each sync the file system
// notes which of them do by now. On ext4 with its journal, as devices come, a value of
// 12 KB is 28 KB in five writes with three flushes. Where blocks were written before
// it is 16 KB in three writes with one, and the journal's (journal.go) another. So the
// value log of a segment that is gone becomes that of one that is made: it is spent
// until then. A partition keeps one, as long as it is used and space is not short.
//
// What it held stays in it behind what is written anew, where a new log has zeros, and
// verifies. What belongs to its past is told by the version of its transaction: a
// value log has a generation, which stands in its header, and the versions of its
// transactions begin at that, shifted by generationBits. One that is used again has
// the next generation.
//
//	8 bytes  zeros: the number of Badger's key, which there is none
//	8 bytes  generation, little endian
//	4 bytes  CRC-32C of those 8 bytes, little endian
//
// A new one has the generation 0 and 20 zeros. Badger takes the last 12 bytes for what it
// would begin to encrypt with.
const (
	// generationBits are what versions of one generation have: far more than a segment
	// takes transactions, also when it is opened again many times.
	generationBits = 24
	// spentName is the file in the directory of a partition.
	spentName = "spent.vlog"
	// leastSpent is what is worth the syncs of moving it.
	leastSpent = 128 << 10
	// maxSpent is how many segments' worth all partitions of a storage keep together.
	maxSpent = 4
)

// spentLog is the place for a partition's spent value log. Any goroutine may use it.
type spentLog struct {
	dir   string        // of the partition
	total *atomic.Int64 // bytes that all of the storage keep
	limit int64         // of total

	mu         sync.Mutex
	size       int64 // what it has of blocks that were written; 0 is none
	generation uint64
}

// keep takes the value log at path, of a directory that is being removed. So many
// bytes of it were written. Where that cannot be it stays where it is. The names in
// both directories are on flash on return, so that no name of before leads to what it
// is used for later.
func (s *spentLog) keep(path string, generation uint64, written int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written = written / pageSize * pageSize
	if s.size > 0 || written < leastSpent || isShared(path) {
		return
	}
	if s.total.Add(written) > s.limit {
		s.total.Add(-written)
		return
	}
	to := filepath.Join(s.dir, spentName)
	err := os.Truncate(path, written)
	if err == nil {
		err = os.Rename(path, to)
	}
	if err == nil {
		err = errors.Join(syncDir(s.dir), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		_ = os.Remove(to) // One that is not there is made anew.
		s.total.Add(-written)
		return
	}
	s.size, s.generation = written, generation
}

// keepSealed is keep for what closing has left in dir, a directory that is being
// removed.
func (s *spentLog) keepSealed(dir string) {
	names, err := listDir(dir)
	if err != nil {
		return
	}
	last := ""
	for _, name := range names {
		if filepath.Ext(name) == ".vlog" {
			last = max(last, name)
		}
	}
	path := filepath.Join(dir, last)
	var st unix.Stat_t
	if last == "" || unix.Stat(path, &st) != nil || int64(st.Blocks)*512 < st.Size {
		return // Of one with holes nobody knows what was written.
	}
	if generation, ok := readGeneration(path); ok {
		s.keep(path, generation, st.Size)
	}
}

// isShared reports whether the file has another name, such as in the quarantine.
func isShared(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) != nil || st.Nlink > 1
}

// take moves the spent log to path and opens it, with the next generation; nil if
// there is none. Its content, but not its name, is on flash then. It returns how many
// bytes of it were written.
func (s *spentLog) take(path string) (f *os.File, generation uint64, written int64, err error) {
	if s == nil {
		return nil, 0, 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == 0 {
		return nil, 0, 0, nil
	}
	written, generation = s.size, s.generation+1
	s.total.Add(-s.size)
	s.size = 0
	from := filepath.Join(s.dir, spentName)
	// Before it has its new name: what it held must not be taken for what the segment
	// holds.
	err = writeInPlace(from, appendLogHeader(nil, generation), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, 0, nil // Somebody tidied up.
	}
	if err == nil {
		err = os.Rename(from, path)
	}
	if err == nil {
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		_ = os.Remove(from) // Else it goes when the partition is opened.
		return nil, 0, 0, err
	}
	return f, generation, written, nil
}

// drop removes it, if there is one.
func (s *spentLog) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == 0 {
		return
	}
	s.total.Add(-s.size)
	s.size = 0
	_ = os.Remove(filepath.Join(s.dir, spentName)) // Else it goes when the partition is opened.
}

// bytes returns what it occupies of the device.
func (s *spentLog) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// spentOf returns where the value log of a segment that is being removed is kept; nil
// if it goes with the segment.
func (p *partition) spentOf() *spentLog {
	if p.err != nil || p.tail == nil || p.spent.bytes() > 0 || p.storage.isShort(p.dir) {
		return nil
	}
	if err := p.storage.raiseFormat(spentFormat); err != nil {
		if !errors.Is(err, queue.ErrFull) {
			p.storage.report(p.dir, err)
		}
		return nil
	}
	return &p.spent
}

// generationOf returns the generation that a version belongs to.
func generationOf(version uint64) uint64 { return version >> generationBits }

// appendLogHeader appends the header of a log.
func appendLogHeader(dst []byte, generation uint64) []byte {
	if generation == 0 {
		return append(dst, make([]byte, logHeader)...)
	}
	dst = append(dst, make([]byte, logHeader-12)...)
	dst = binary.LittleEndian.AppendUint64(dst, generation)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[len(dst)-8:]))
}

// parseGeneration returns the generation that the header of a value log names. It is not
// ok when the header names none: it is damaged, or Badger's.
func parseGeneration(header []byte) (generation uint64, ok bool) {
	if len(header) < logHeader {
		return 0, false
	}
	b := header[logHeader-12 : logHeader]
	generation = binary.LittleEndian.Uint64(b)
	if checksum(b[:8]) == leUint32(b[8:]) {
		return generation, true
	}
	return 0, generation == 0 && leUint32(b[8:]) == 0
}

// readGeneration is parseGeneration for a file.
func readGeneration(path string) (generation uint64, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	b := make([]byte, logHeader)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0, false
	}
	return parseGeneration(b)
}
