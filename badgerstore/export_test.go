package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// WaitForBackground waits for what the open partitions of s have under way. No
// other call of theirs may be under way.
func WaitForBackground(s *Storage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.open {
		if p == nil {
			continue
		}
		p.background.Wait()
	}
}

// FillDisk makes the disk of a storage look full, or as it is. No partition of it
// is in use.
func FillDisk(s *Storage, full bool) {
	s.options.MinFree = 0
	s.plenty.Store(0) // There was room a moment ago.
	if full {
		s.options.MinFree = 1 << 60
	}
}

// UseAgain has the next segment of the queue's partition use a value log again that
// holds what these hold, one behind the other, with extra behind it. The partition is
// open and has no segment that is written.
func UseAgain(s *Storage, queueName string, extra []byte, paths ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	content := appendStamp(nil, 0)
	for _, path := range paths {
		l, err := scanLog(path, func(*rawEntry) error { return nil }, func() {})
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content = append(content, data[logHeader:l.end]...)
	}
	content = append(content, extra...)
	content = append(content, make([]byte, -len(content)&(pageSize-1))...)
	for _, p := range s.open {
		if p == nil || p.key.Queue != queueName {
			continue
		}
		p.spent.size.Store(int64(len(content)))
		p.spent.total.Add(int64(len(content)))
		return os.WriteFile(filepath.Join(p.dir, spentName), content, 0o600)
	}
	return fmt.Errorf("no partition of %s is open", queueName)
}

// SpentBytes returns what all partitions have of value logs that are used again.
func SpentBytes(s *Storage) int64 { return s.spent.Load() }

// StampOf returns the stamp of the value log at path.
func StampOf(path string) (stamp uint64, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	b := make([]byte, logHeader)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0, false
	}
	return parseStamp(b)
}

// Flat puts the items of a Read into one slice.
func Flat(chunks queue.Chunks, next uint64, err error) ([]queue.Item, uint64, error) {
	return slices.Concat(chunks...), next, err
}
