package badgerstore

// These tests look at files and books that callers never see.

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	badger "github.com/dgraph-io/badger/v4"
)

func newTestTail(t testing.TB, z sizes) *tail {
	t.Helper()
	dir := filepath.Join(t.TempDir(), segmentName(1))
	tl, err := createTail(dir, 1, z, nil, nil)
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

// The books say where the logs end, whatever the sizes of the values.
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
		if mem > tl.memEnd || mem < tl.memEnd-checksumSize {
			t.Errorf("values up to %d: the memtable's log ends at %d, the books say %d", most, mem, tl.memEnd)
		}
		if values > tl.valueEnd || tl.valueEnd > logHeader && values < tl.valueEnd-4 {
			t.Errorf("values up to %d: the value log ends at %d, the books say %d", most, values, tl.valueEnd)
		}
		if mem > tl.mem {
			t.Errorf("values up to %d: %d bytes of a log of %d are used", most, mem, tl.mem)
		}
	}
}

// Many small entries take no more memory than is counted.
func TestIndexIsBounded(t *testing.T) {
	for _, size := range []int{0, 1, 12, 100} {
		tl := newTestTail(t, testSizes())
		var n uint64
		for tl.memLeft() > 40*tl.memCost(numberedKeySize, size)+int64(endOfTxn) {
			entries := make([]entry, 1+n%40) // In larger commits there are fewer ends of transactions.
			for i := range entries {
				entries[i] = entry{key: recordKey(n), value: make([]byte, size)}
				n++
			}
			if err := tl.write(entries); err != nil {
				t.Fatal(err)
			}
		}
		used := int64(cap(tl.index.records)) * int64(unsafe.Sizeof(spot{}))
		if n < 500 || size >= pointerSize && used > tl.mem/2 || used > int64(n)*indexMemory*5/4 {
			t.Errorf("values of %d bytes: an index of %d entries takes %d bytes, of a log of %d", size, n, used, tl.mem)
		}
	}
}

// A commit is one transaction, whatever it consists of: of one whose end is not there
// nothing is.
func TestCommitIsOneTransaction(t *testing.T) {
	tl := newTestTail(t, testSizes())
	var entries []entry
	for n := range uint64(500) {
		size := 20
		if n%50 == 7 {
			size = 2 * valueThreshold
		}
		entries = append(entries, entry{key: blockKey(n), value: bytes.Repeat([]byte{byte(n)}, size)})
	}
	if err := tl.put(entries[:1], true); err != nil {
		t.Fatal(err)
	}
	whole := tl.memEnd
	if err := tl.put(entries[1:], true); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(tl.dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.Base(tl.memFile.Name()))
	if l, err := scanLog(path, func(*rawEntry) error { return nil }, func() {}); err != nil || l.end != tl.memEnd {
		t.Fatalf("the log ends at %d, want %d (%v)", l.end, tl.memEnd, err)
	}
	if err := os.Truncate(path, tl.memEnd-1); err != nil {
		t.Fatal(err)
	}
	if l, err := scanLog(path, func(*rawEntry) error { return nil }, func() {}); err != nil || l.end != whole {
		t.Fatalf("with the last byte lost the log ends at %d, want %d (%v)", l.end, whole, err)
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
	l := newLogger("x")
	var b badger.Logger = l
	b.Warningf("a warning")
	if err := l.check(); err != nil {
		t.Errorf("after a warning: %v", err)
	}
	b.Errorf("Error while opening a table: %v\n", os.ErrInvalid)
	if err := l.check(); err == nil || !strings.Contains(err.Error(), os.ErrInvalid.Error()) {
		t.Errorf("after a logged error: %v", err)
	}
}

// What Badger forbids or gets wrong is out of reach of our options.
func TestBadgerOptions(t *testing.T) {
	o := badgerOptions("x", nil)
	switch {
	case !o.ReadOnly:
		t.Error("Badger may write")
	case 4*o.MemTableSize > o.BaseTableSize:
		t.Errorf("the base table is %d; beyond a quarter, tables are destroyed on 32 bits", o.BaseTableSize)
	case o.NumCompactors != 0 || o.CompactL0OnClose:
		t.Error("compaction is on")
	case o.NumLevelZeroTables <= maxResumed || o.NumLevelZeroTablesStall <= o.NumLevelZeroTables:
		t.Errorf("%d tables, stall at %d", o.NumLevelZeroTables, o.NumLevelZeroTablesStall)
	}
}
