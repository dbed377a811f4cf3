package badgerstore

// This test looks at counts that callers never see.

import (
	"os"
	"path/filepath"
	"testing"
)

// What segments take of memory and of descriptors is given back when they are closed,
// whatever becomes of them: sealed, kept open, rested and opened again, removed, or left
// as they are after a failure.
func TestSegmentsGiveEverythingBack(t *testing.T) {
	for _, fails := range []bool{false, true} {
		s, p := openStore(t, Options{Dir: t.TempDir(), Boot: "b", MemoryBudget: 64 << 20, SegmentBytes: leastSegment})
		for i := range 3000 {
			produceSmall(t, p, i, 1)
			if i%100 == 99 {
				if err := p.Maintain(i%700 == 699); err != nil {
					t.Fatal(err)
				}
			}
		}
		// The journal is in use, and has what the log has not.
		withJournal(t, p, 3)
		open := 0
		for _, g := range p.segments {
			if g.writer != nil {
				open++
			}
		}
		held := s.writing.Load()
		if open == 0 || held < int64(open)*(TailMemory-openMemory) {
			t.Errorf("%d segments are open, and %d bytes are counted", open, held)
		}
		if fails {
			full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
			if err != nil {
				t.Skip(err)
			}
			if err := p.tail.writer.memFile.Close(); err != nil {
				t.Fatal(err)
			}
			p.tail.writer.memFile = full
			_ = p.tail.writer.write([]entry{{key: recordKey(1 << 40), value: []byte("x")}})
			_ = p.fail(unavailable(nil, "a write failed"))
		}
		if err := p.Close(); (err != nil) && !fails {
			t.Fatal(err)
		}
		if left := s.writing.Load(); left != 0 {
			t.Errorf("fails %v: %d bytes are still counted after closing, of %d", fails, left, held)
		}
		if n := openFiles(t, s.options.Dir); len(n) > 1 { // The lock.
			t.Errorf("fails %v: still open: %v", fails, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// openFiles returns the files below dir that this process has open.
func openFiles(t *testing.T, dir string) (list []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, fd := range fds {
		path, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			list = append(list, rel)
		}
	}
	return list
}
