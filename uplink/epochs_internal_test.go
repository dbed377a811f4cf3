package uplink

// An internal test: the file of epochs under damage, and its size over years.

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestEpochsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "epochs.json")
	e := recallEpochs(path)
	note := func(key partKey, epoch uint64) {
		t.Helper()
		e.add(key, epoch)
		if err := e.save(); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(key partKey, epoch uint64, want bool) {
		t.Helper()
		if got := e.has(key, epoch); got != want {
			t.Errorf("%v %d: %v", key, epoch, got)
		}
	}
	odd, other := partKey{"a \"b\"\n<c>", 3}, partKey{"other", 0}
	note(odd, 1<<63)
	note(other, 5)
	note(odd, 7)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	note(odd, 7) // Known.
	if now, err := os.Stat(path); err != nil || now.Size() != before.Size() {
		t.Errorf("what is known was written again: %v", err)
	}
	// The power goes while a line is written.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "{\"queue\":\"oth\x00\x00"...), 0o600); err != nil {
		t.Fatal(err)
	}
	e = recallEpochs(path)
	note(other, 9)
	e = recallEpochs(path)
	wants(odd, 1<<63, true)
	wants(odd, 7, true)
	wants(other, 5, true)
	wants(other, 9, true)
	wants(other, 7, false)
	// Thousands of starts.
	var written int64
	for start := range 2000 {
		note(partKey{"q", start % 3}, uint64(start)+100)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		written = max(written, info.Size())
	}
	if written > maxEpochFile+4096 {
		t.Errorf("the file had %d bytes", written)
	}
	e = recallEpochs(path)
	wants(odd, 7, true)
	wants(partKey{"q", 1999 % 3}, 2099, true)
	wants(partKey{"q", 1}, 101, false)
	for i := range maxEpochParts + 10 {
		e.add(partKey{fmt.Sprint("many", i), 0}, 1)
	}
	if len(e.parts) != maxEpochParts {
		t.Errorf("%d partitions are known", len(e.parts))
	}
	wants(partKey{"many10", 0}, 1, true)
	wants(odd, 7, false)
}
