package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
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
// holds what these hold, one behind the other. The partition is open and has no segment
// that is written.
func UseAgain(s *Storage, queueName string, paths ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var content []byte
	var generation uint64
	for _, path := range paths {
		l, err := scanLog(path, func(e *rawEntry) error {
			generation = max(generation, generationOf(e.version))
			return nil
		}, func() {})
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content = append(content, data[logHeader:l.end]...)
	}
	for _, p := range s.open {
		if p == nil || p.key.Queue != queueName {
			continue
		}
		content = append(appendLogHeader(nil, generation), content...)
		p.spent.size, p.spent.generation = int64(len(content)), generation
		p.spent.total.Add(p.spent.size)
		return os.WriteFile(filepath.Join(p.dir, spentName), content, 0o600)
	}
	return fmt.Errorf("no partition of %s is open", queueName)
}

// GenerationOf returns the generation of the value log at path.
func GenerationOf(path string) (uint64, bool) { return readGeneration(path) }
