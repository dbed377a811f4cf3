package badgerstore

// These tests look at files and books that callers never see.

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
)

func newTestTail(t testing.TB, z sizes) *tail {
	t.Helper()
	dir := filepath.Join(t.TempDir(), segmentName(1))
	tl, err := createTail(dir, 1, z, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tl.close(); err != nil {
			t.Error(err)
		}
	})
	return tl
}

func testSizes() sizes { return sizes{mem: minMemTable, values: 8 << 20, threshold: valueThreshold} }

// fileEnd returns where the content of a log file ends.
func fileEnd(t testing.TB, pattern string) int64 {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(bytes.TrimRight(content, "\x00")))
}

// The books say where Badger's logs end, and Badger never changes to other
// files, whatever the sizes of the values.
func TestBooks(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 7))
	for _, most := range []int{1, 60, 300, valueThreshold, 3 * valueThreshold} {
		tl := newTestTail(t, testSizes())
		var n uint64
		for tl.memLeft() > 8*tl.memCost(numberedKeySize, valueThreshold-1) && tl.valueLeft() > 32*valueThreshold {
			var entries []entry
			for range 1 + r.IntN(5) {
				value := bytes.Repeat([]byte{0xa5}, 1+r.IntN(most))
				entries = append(entries, entry{key: recordKey(n), value: value})
				n++
			}
			if err := tl.write(entries); err != nil {
				t.Fatal(err)
			}
		}
		mem, values := fileEnd(t, filepath.Join(tl.dir, "*.mem")), fileEnd(t, filepath.Join(tl.dir, "*.vlog"))
		commits := int64(n) // At most one end of transaction each, whose length varies by 19 bytes.
		if mem > tl.memEnd || mem < tl.memEnd-19*commits-8 {
			t.Errorf("values up to %d: the memtable's log ends at %d, the books say %d", most, mem, tl.memEnd)
		}
		if values > tl.valueEnd || tl.valueEnd > logHeader && values < tl.valueEnd-4 {
			t.Errorf("values up to %d: the value log ends at %d, the books say %d", most, values, tl.valueEnd)
		}
		if mem > tl.mem*memLimit/100 {
			t.Errorf("values up to %d: %d bytes of a memtable of %d are used", most, mem, tl.mem)
		}
		if tables, _ := filepath.Glob(filepath.Join(tl.dir, "*.sst")); len(tables) > 0 {
			t.Errorf("values up to %d: the memtable was flushed: %v", most, tables)
		}
	}
}

// Entries too small to be counted by their bytes fill the arena by their nodes.
func TestBooksOfArena(t *testing.T) {
	tl := newTestTail(t, testSizes())
	var n uint64
	for tl.memLeft() > 400 {
		if err := tl.write([]entry{{key: recordKey(n), value: []byte{1}}}); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n < 500 {
		t.Errorf("%d entries only", n)
	}
	find := func(pattern string) int { f, _ := filepath.Glob(filepath.Join(tl.dir, pattern)); return len(f) }
	if find("*.mem") != 1 || find("*.sst") != 0 {
		t.Errorf("after %d entries: %d memtables, %d tables", n, find("*.mem"), find("*.sst"))
	}
}

// sync covers what badger.DB.Sync covers: all that a commit changes is in the two
// files that it syncs.
func TestSyncCoversAllFiles(t *testing.T) {
	tl := newTestTail(t, testSizes())
	read := func() map[string][]byte {
		files := make(map[string][]byte)
		entries, err := os.ReadDir(tl.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			content, err := os.ReadFile(filepath.Join(tl.dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = content
		}
		return files
	}
	before := read()
	for i := range uint64(200) {
		value := bytes.Repeat([]byte{byte(i)}, 100)
		if i%10 == 0 {
			value = bytes.Repeat([]byte{byte(i)}, valueThreshold)
		}
		if err := tl.write([]entry{{key: recordKey(i), value: value}}); err != nil {
			t.Fatal(err)
		}
		if err := tl.sync(); err != nil {
			t.Fatal(err)
		}
	}
	synced := map[string]bool{filepath.Base(tl.memFile.Name()): true, filepath.Base(tl.valueFile.Name()): true}
	after := read()
	if len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
	for name, content := range after {
		if same := bytes.Equal(content, before[name]); same == synced[name] {
			t.Errorf("%s changed: %v, synced: %v", name, !same, synced[name])
		}
	}
}

// sync asks for one sync while no value goes to the value log, and for none when
// nothing was written.
func TestSyncCounts(t *testing.T) {
	tl := newTestTail(t, testSizes())
	for i, c := range []struct {
		size  int
		syncs int64
	}{{100, 1}, {valueThreshold - 1, 1}, {valueThreshold, 2}, {0, 0}} {
		before := tl.syncs
		if c.size > 0 {
			if err := tl.write([]entry{{key: recordKey(uint64(i)), value: make([]byte, c.size)}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := tl.sync(); err != nil {
			t.Fatal(err)
		}
		if got := tl.syncs - before; got != c.syncs {
			t.Errorf("a value of %d bytes: %d syncs, want %d", c.size, got, c.syncs)
		}
	}
}

// A line of level error in Badger's log makes the database fail.
func TestLoggedError(t *testing.T) {
	tl := newTestTail(t, testSizes())
	if err := tl.sync(); err != nil {
		t.Fatal(err)
	}
	var l badger.Logger = tl.log
	l.Warningf("a warning")
	if err := tl.sync(); err != nil {
		t.Fatal(err)
	}
	l.Errorf("Error while curlf sync: %v\n", os.ErrInvalid)
	if err := tl.write([]entry{{key: recordKey(0), value: []byte{1}}}); err == nil {
		t.Error("write after a logged error: nil")
	}
	if err := tl.sync(); err == nil {
		t.Error("sync after a logged error: nil")
	}
	tl.log.err = nil // So that closing it is no error.
}

// What Badger forbids or gets wrong is out of reach of our options.
func TestBadgerOptions(t *testing.T) {
	for _, mem := range []int64{minMemTable, maxMemTable / 4, maxMemTable, 4 * maxMemTable} {
		o := badgerOptions("x", sizes{mem: mem, values: 20 << 20, threshold: valueThreshold}, nil)
		switch {
		case 4*o.MemTableSize > o.BaseTableSize:
			t.Errorf("memtable %d: the base table is %d; beyond a quarter, tables are destroyed on 32 bits", mem, o.BaseTableSize)
		case o.NumCompactors != 0 || o.CompactL0OnClose:
			t.Errorf("memtable %d: compaction is on", mem)
		case o.ValueThreshold > o.MemTableSize*15/100:
			t.Errorf("memtable %d: threshold %d is beyond the limit of a transaction", mem, o.ValueThreshold)
		case o.NumLevelZeroTables <= maxResumed || o.NumLevelZeroTablesStall <= o.NumLevelZeroTables:
			t.Errorf("memtable %d: %d tables, stall at %d", mem, o.NumLevelZeroTables, o.NumLevelZeroTablesStall)
		}
	}
}
