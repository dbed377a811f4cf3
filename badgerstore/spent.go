package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A value log that is new costs the device more than what is written to it: its blocks
// are reserved, which says that they hold nothing, and with each sync the file system
// notes which of them do by now. On ext4 with its journal, as devices come, a value of
// 12 KB with its record in the journal (journal.go) is 28 KB in five writes with three
// flushes. Where blocks were written before it is 16 KB in four writes with two. So the
// value log of a segment that is gone becomes that of one that is made: it is spent
// until then. A partition keeps one, as long as it is used and space is not short.
//
// What it held stays in it behind what is written anew, where a new log has zeros, and
// verifies. It is told by its stamp, see stamp.go.
const (
	// spentName is the file in the directory of a partition.
	spentName = "spent.vlog"
	// leastSpent is what is worth the syncs of moving it.
	leastSpent = 128 << 10
	// maxSpent is how many segments' worth of such blocks all partitions of a storage
	// have together: in logs that are spent, and not yet written again in tails.
	maxSpent = 4
)

// spentLog is the place for a partition's spent value log. Any goroutine may use it.
type spentLog struct {
	dir   string        // of the partition
	total *atomic.Int64 // bytes that all of the storage have
	limit int64         // of total
	raise func(format uint32) error

	mu   sync.Mutex   // held while it is moved
	size atomic.Int64 // what it has of blocks that were written; 0 is none
}

// keep takes the value log at path, of a directory that is being removed. So many
// bytes of it were written. Where that cannot be it stays where it is. The names in
// both directories are on flash on return, so that no name of before leads to what it
// is used for later.
func (s *spentLog) keep(path string, written int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	written = written / pageSize * pageSize
	if s.size.Load() > 0 || written < leastSpent || !isWritten(path, written) {
		return nil
	}
	if s.total.Add(written) > s.limit {
		s.total.Add(-written)
		return nil
	}
	err := s.raise(spentFormat)
	if err == nil {
		err = s.moveHere(path, written)
	}
	if err != nil {
		s.total.Add(-written)
		return err
	}
	s.size.Store(written)
	return nil
}

// moveHere cuts the value log at path and gives it its name here.
func (s *spentLog) moveHere(path string, size int64) error {
	to := filepath.Join(s.dir, spentName)
	err := os.Truncate(path, size)
	if err == nil {
		err = os.Rename(path, to)
	}
	if err == nil {
		err = errors.Join(syncDir(s.dir), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		_ = os.Remove(to) // It goes when the partition is opened at the latest.
		return unavailable(err, "cannot keep %s", path)
	}
	return nil
}

// keepSealed is keep for what closing has left in dir, a directory that is being
// removed.
func (s *spentLog) keepSealed(dir string) error {
	names, err := listDir(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	last := lastValueLog(names)
	if last == "" {
		return nil
	}
	path := filepath.Join(dir, last)
	info, err := os.Stat(path)
	if err != nil {
		return unavailable(err, "cannot look at %s", path)
	}
	return s.keep(path, info.Size())
}

// isWritten reports whether the file has blocks for so many bytes, and no other name,
// such as one in the quarantine.
func isWritten(path string, bytes int64) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Nlink == 1 && st.Size >= bytes && int64(st.Blocks)*512 >= bytes
}

// take moves the spent log to path and opens it, with a stamp of its own; nil if there
// is none, or it cannot be had. Its content, but not its name, is on flash then. It
// returns how many bytes of it were written, which count until they are given back to
// the total.
func (s *spentLog) take(path string) (f *os.File, stamp uint64, written int64) {
	if s == nil || s.size.Load() == 0 {
		return nil, 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if written = s.size.Swap(0); written == 0 {
		return nil, 0, 0
	}
	stamp = newStamp()
	from := filepath.Join(s.dir, spentName)
	// Before it has its new name: what it held must not be taken for what the segment
	// holds.
	err := writeInPlace(from, appendStamp(nil, stamp), 0)
	if err == nil {
		err = os.Rename(from, path)
	}
	if err == nil {
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		// A new one does as well, or fails with an error that says more.
		_, _ = os.Remove(from), os.Remove(path)
		s.total.Add(-written)
		return nil, 0, 0
	}
	return f, stamp, written
}

// drop removes it, if there is one.
func (s *spentLog) drop() {
	if s.size.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if size := s.size.Swap(0); size > 0 {
		s.total.Add(-size)
		_ = os.Remove(filepath.Join(s.dir, spentName)) // Else it goes when the partition is opened.
	}
}

// spentOf returns where the value log of a segment that is being removed is kept; nil
// if it goes with the segment.
func (p *partition) spentOf() *spentLog {
	if p.err != nil || p.tail == nil || p.tail.writer.asleep.is || p.spent.size.Load() > 0 || p.storage.isShort(p.dir) {
		return nil
	}
	return &p.spent
}

// giveBackSpent gives back what the partition has of such blocks, since space is short.
func (p *partition) giveBackSpent() {
	p.spent.drop()
	if p.tail != nil {
		p.tail.writer.giveBack()
	}
	if n := p.next; n != nil && n.isReady() && n.tail != nil && n.tail.spent > n.tail.valueEnd {
		p.discardNext() // One that is lean is made in its place.
	}
}

// giveBack gives back the blocks of the value log that were written before and not
// yet again: it is written no more, or not for a while, or space is short.
func (t *tail) giveBack() {
	t.lent.end()
	if t.spent <= t.valueEnd || t.asleep.is {
		return
	}
	punch(t.valueFile, t.valueEnd, 2*t.valueFileSize())
	t.spent, t.reserved = 0, (t.valueEnd+pageSize-1)/pageSize*pageSize
}

// lent is what a tail has of the total of a storage.
type lent struct {
	total *atomic.Int64 // nil if it has nothing
	bytes int64
}

// end gives it back.
func (l *lent) end() {
	if l.total != nil {
		l.total.Add(-l.bytes)
	}
	*l = lent{}
}
