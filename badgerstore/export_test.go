package badgerstore

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
