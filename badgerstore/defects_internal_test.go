package badgerstore

// What Badger v4.9.6 does wrong on small devices, what keeps us from it, and the
// tests that fail without that:
//
//	a value log that is collected     never called              TestCallsOfBadger
//	brings deleted keys back
//	a compaction whose table cannot   none, and no deletes      TestCallsOfBadger,
//	be made drops the data                                      TestBadgerOptions
//	DB.Sync misses a memtable that    Badger does not write;    TestBadgerOptions,
//	was rotated, and is no group      logs of our own, of which TestBooks, TestSyncCoversAllFiles,
//	commit for small memtables        both are synced           TestTableLikeBadgers, TestPowerCut
//	32 bit: a table of more than      tables are made with      TestBadgerOptions, and all
//	2 BaseTableSize is overwritten    four times the space      tests with GOARCH=386
//	an error of a sync is logged      a logged error fails      TestLoggedError
//	only                              the database
//	a full disk is a fault in a       nothing but "used" is     TestFullDisk, TestSpareSegment,
//	mapped file, which ends the       written by a mapping,     TestCloseOnFullDisk,
//	process; so is a device that      that has blocks; faults   TestFaultInMappedFile,
//	fails                             are errors                TestFaultInTail
//	a memtable that cannot be made    Badger makes none         TestBadgerOptions
//	at a rotation ends the process
//	an empty .mem or .vlog makes      removed before            TestEmptyLogFiles
//	Open fail for ever
//	damage: wrong values, items       own checksums, files are  TestDamage, TestRandomDamage,
//	that are missing without an       read before Badger opens  TestNoManifest, TestCutManifest,
//	error, tables deleted, a panic    them, counts in headers   TestTableWithoutName
//	SyncWrites off: does not open     header and checkpoint are TestPowerCut, TestTornEnd
//	after a power cut                 synced; what is torn is
//	                                  cut off before
//	Close tries a flush that fails    there is none; what       TestStuckClose,
//	for ever, and may write later     cannot be closed in order TestCloseAfterFailedWrite
//	                                  is left alone
//	Open ends the process when the    listed just before        (seen with a failing device)
//	directory cannot be listed

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// Nothing is deleted, compacted, collected or flushed on demand.
func TestCallsOfBadger(t *testing.T) {
	banned := map[string]bool{
		"RunValueLogGC": true, "Flatten": true, "DropAll": true, "DropPrefix": true, "DropPrefixNonBlocking": true, "Delete": true,
		"NewWriteBatch": true, "NewManagedWriteBatch": true, "NewStreamWriter": true, "Load": true, "Backup": true, "WithTTL": true,
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of := ""
			switch x := call.X.(type) {
			case *ast.Ident:
				of = x.Name
			case *ast.SelectorExpr:
				of = x.Sel.Name
			}
			if of == "db" || of == "txn" || of == "badger" {
				calls++
				if banned[call.Sel.Name] {
					t.Errorf("%s calls %s.%s", file, of, call.Sel.Name)
				}
			}
			return true
		})
	}
	if calls < 10 {
		t.Errorf("only %d calls were found", calls)
	}
}

// sealedWithValue makes a database with one value of that size in the value log,
// and opens it for reading.
func sealedWithValue(t *testing.T, size int) *database {
	t.Helper()
	dir := filepath.Join(t.TempDir(), segmentName(1))
	tl, err := createTail(dir, 1, testSizes(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = tl.write([]entry{{key: blockKey(1), value: make([]byte, size)}, {key: recordKey(0), value: []byte("small")}})
	if err == nil {
		err = errors.Join(tl.sync(), tl.finish())
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := openDatabase(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A mapped page that cannot be read costs the value that is on it, not the process.
func TestFaultInMappedFile(t *testing.T) {
	d := sealedWithValue(t, 100<<10)
	defer d.close()
	logs, err := filepath.Glob(filepath.Join(d.dir, "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	// Behind the end of a file a mapping has no pages.
	for _, path := range logs {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.get(blockKey(1), func([]byte) error { return nil }); !errors.Is(err, queue.ErrCorrupt) || !errors.Is(err, errFault) {
		t.Errorf("the value that is lost: %v", err)
	}
	var got string
	found, err := d.get(recordKey(0), func(value []byte) error { got = string(value); return nil })
	if !found || got != "small" {
		t.Errorf("the other value is %q, %v", got, err)
	}
	if err := d.close(); !errors.Is(err, errFault) {
		t.Errorf("closing it: %v; Badger may hold locks for ever", err)
	}
}

// A segment that is written tells of a fault as what passes: its pages may be on
// flash all the same, and a new start shows.
func TestFaultInTail(t *testing.T) {
	tl := newTestTail(t, testSizes())
	value := bytes.Repeat([]byte("value"), mappedValue)
	if err := tl.write([]entry{{key: blockKey(1), value: value}}); err != nil {
		t.Fatal(err)
	}
	var got []byte
	found, err := tl.get(blockKey(1), func(v []byte) error { got = bytes.Clone(v); return nil })
	if !found || err != nil || !bytes.Equal(got, value) {
		t.Fatalf("the value: found %v, %d bytes, %v", found, len(got), err)
	}
	// Behind the end of a file a mapping has no pages.
	if err := os.Truncate(tl.valueFile.Name(), 0); err != nil {
		t.Fatal(err)
	}
	_, err = tl.get(blockKey(1), func(v []byte) error { got = bytes.Clone(v); return nil })
	if errors.Is(err, queue.ErrCorrupt) || !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, errFault) {
		t.Errorf("a fault in the tail is %v", err)
	}
}

// A segment of which is not known what became of it is not opened.
func TestStuckClose(t *testing.T) {
	r := newReaders(1)
	s := &segment{dir: t.TempDir(), stuck: errStuck}
	if _, err := r.acquire(s); !errors.Is(err, errStuck) || errors.Is(err, queue.ErrCorrupt) {
		t.Errorf("opening it: %v", err)
	}
}

// Copies of damaged segments are made as long as there is room for them.
func TestQuarantineIsBounded(t *testing.T) {
	var said string
	_, p := openForTest(t, Options{Events: Events{SetAside: func(from, to, reason string) { said = to + ": " + reason }}})
	if _, err := p.Reserve(0, 0); err != nil {
		t.Fatal(err)
	}
	s := p.tail
	if err := p.roomAside(s); err != nil {
		t.Fatal(err)
	}
	st, err := statfs(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	p.storage.options.MinFree = int64(st.Blocks) * int64(st.Bsize)
	path, err := p.SetAside(s.span, "it is damaged")
	if err != nil || path != s.dir || !strings.Contains(said, "no copy was made: the disk is full") {
		t.Errorf("set aside: %q, %v; said was %q", path, err, said)
	}
	if aside, _ := filepath.Glob(filepath.Join(p.dir, quarantineName, "*")); len(aside) > 0 {
		t.Errorf("%q are there", aside)
	}
}
