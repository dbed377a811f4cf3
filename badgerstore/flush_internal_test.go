package badgerstore

// These tests look at how memtables become tables without Badger.

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/kapetan-io/querator-edge/queue"
)

// filledTail returns a tail that holds values of all sizes, in several versions, and
// what they are.
func filledTail(t *testing.T, dir string) (*tail, map[string][]byte) {
	t.Helper()
	z := sizes{mem: minMemTable, values: 1 << 20, threshold: valueThreshold}
	w, err := createTail(dir, 1, z, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	values, r := make(map[string][]byte), rand.New(rand.NewPCG(1, 2))
	for w.memLeft() > 3*w.memCost(numberedKeySize, valueThreshold-1) {
		entries := make([]entry, 1+r.IntN(3)) // A transaction has each key once.
		for i := range entries {
			value := make([]byte, []int{0, 1, 100, 3000, valueThreshold - 1, valueThreshold, 20000}[r.IntN(7)])
			for i := range value {
				value[i] = byte(r.Uint32())
			}
			entries[i] = entry{key: blockKey(3*r.Uint64N(20) + uint64(i)), value: value}
			values[string(entries[i].key)] = value
		}
		if err := w.write(entries); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.sync(); err != nil {
		t.Fatal(err)
	}
	return w, values
}

// wantValues opens a directory for reading and compares all it holds.
func wantValues(t *testing.T, dir string, want map[string][]byte) {
	t.Helper()
	d, err := openDatabase(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]byte)
	err = d.each(letterBlock, 0, func(n uint64, read func(func([]byte) error) error) (bool, error) {
		return true, read(func(value []byte) error {
			got[string(blockKey(n))] = bytes.Clone(value)
			return nil
		})
	})
	if err := errors.Join(err, d.close()); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s holds %d keys, or other values, want %d", dir, len(got), len(want))
	}
}

// wantNoLog checks that nothing of the memtable is left: no file, no mapping.
func wantNoLog(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); err == nil && hasLog(dir) {
		t.Errorf("a log is left in %s", dir)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, filepath.Dir(dir)) {
			t.Errorf("a file is mapped still: %s", line)
		}
	}
}

func rawTables(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	paths, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if err := checkTable(path); err != nil {
			t.Error(err)
		}
		err := scanTable(path, func(e *rawEntry) error {
			list = append(list, fmt.Sprintf("%x %d %x %x", e.key, e.version, e.meta, e.value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// badgerOpens has Badger open a directory for writing and close it: it reads our logs,
// and makes a table of them as it would of its own.
func badgerOpens(t *testing.T, dir string) {
	t.Helper()
	db, err := badger.OpenManaged(badgerOptions(dir, nil).WithReadOnly(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A table that we make has what Badger's own has, which it makes of our logs.
func TestTableLikeBadgers(t *testing.T) {
	ours, theirs := filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
	w, want := filledTail(t, ours)
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	wantNoLog(t, ours)
	wantValues(t, ours, want)
	w, _ = filledTail(t, theirs)
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	badgerOpens(t, theirs)
	wantValues(t, theirs, want)
	a, b := rawTables(t, ours), rawTables(t, theirs)
	if strings.Join(a, "\n") != strings.Join(b, "\n") || len(a) == 0 {
		t.Errorf("our table has %d entries, Badger's %d, and they are not the same", len(a), len(b))
	}
	info, err := os.Stat(filepath.Join(ours, "000001.sst"))
	if err != nil {
		t.Fatal(err)
	}
	if bound := tableSpace(w.memUsed()); info.Size() > bound {
		t.Errorf("the table has %d bytes, reserved were %d", info.Size(), bound)
	}
}

// A segment that is opened again for writing has tables of both.
func TestTableAfterTable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	w, want := filledTail(t, dir)
	for range 3 {
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
		if err := w.resume(false); err != nil {
			t.Fatal(err)
		}
		key := blockKey(1000 + w.version)
		want[string(key)] = []byte("more")
		if err := w.write([]entry{{key: key, value: want[string(key)]}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	if err := w.resume(false); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(); err != nil { // Nothing was written.
		t.Fatal(err)
	}
	wantNoLog(t, dir)
	wantValues(t, dir, want)
}

// Wherever the process ends, what is left leads to the same.
func TestTableInterrupted(t *testing.T) {
	log := func(dir string) string { return filepath.Join(dir, "00001.mem") }
	begin := func(t *testing.T, dir string) *tableFile {
		n, err := newTable(dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	fill := func(t *testing.T, dir string) *tableFile {
		n := begin(t, dir)
		data, _, err := tableOf(log(dir), nil)
		if err == nil {
			err = n.fill(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, until := range map[string]func(t *testing.T, dir string){
		"before":         func(*testing.T, string) {},
		"table is empty": func(t *testing.T, dir string) { begin(t, dir) },
		"table is torn": func(t *testing.T, dir string) {
			if err := fill(t, dir).f.Truncate(5000); err != nil {
				t.Fatal(err)
			}
		},
		"table is written": func(t *testing.T, dir string) { fill(t, dir) },
		"name is torn": func(t *testing.T, dir string) {
			n, path := fill(t, dir), filepath.Join(dir, "MANIFEST")
			if err := nameTable(path, n.id); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()-3); err != nil {
				t.Fatal(err)
			}
		},
		"table is named": func(t *testing.T, dir string) {
			if err := nameTable(filepath.Join(dir, "MANIFEST"), fill(t, dir).id); err != nil {
				t.Fatal(err)
			}
		},
		"log is cut": func(t *testing.T, dir string) {
			if err := nameTable(filepath.Join(dir, "MANIFEST"), fill(t, dir).id); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(log(dir), 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "copy")
			w, want := filledTail(t, dir)
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if err := w.throwAway(nil); err != nil {
				t.Fatal(err)
			}
			wantNoLog(t, dir)
			if _, err := os.Lstat(dir); !os.IsNotExist(err) {
				t.Errorf("the directory is there still: %v", err)
			}
			until(t, copied)
			any := func(_, _ []byte) bool { return true }
			d, err := openSealed(copied, any, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
			wantNoLog(t, copied)
			wantValues(t, copied, want)
		})
	}
}

// tinyDisk mounts a file system of so many bytes.
func tinyDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a file system cannot be mounted here, which takes root: %v", err)
	}
	t.Cleanup(func() {
		runtime.GC() // Badger's descriptors of logs go with what it had in memory.
		runtime.GC()
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillUp takes the last byte of a disk. The function that it returns gives all back.
func fillUp(t *testing.T, dir string) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "other")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !isFull(err) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// Others take the last byte when closing has begun, or before; then the process
// must not end, and nothing is lost.
func TestCloseOnFullDisk(t *testing.T) {
	for name, early := range map[string]bool{"filled before": true, "filled meanwhile": false} {
		t.Run(name, func(t *testing.T) {
			disk := tinyDisk(t, 8<<20)
			dir := filepath.Join(disk, "p", "s")
			if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			w, want := filledTail(t, dir)
			if early {
				fillUp(t, disk)
				if err := w.finish(); err != nil {
					t.Fatal(err)
				}
			} else {
				n, err := w.newTable()
				if err != nil {
					t.Fatal(err)
				}
				fillUp(t, disk)
				if err := w.shut(n); err != nil {
					t.Fatal(err)
				}
			}
			if hasLog(dir) != early {
				t.Errorf("the memtable is a table: %v, want %v", !hasLog(dir), !early)
			}
			any := func(_, _ []byte) bool { return true }
			if early {
				release := fillUp(t, disk) // Closing has given some back.
				if _, err := openSealed(dir, any, false); !errors.Is(err, queue.ErrFull) {
					t.Errorf("opening it on the full disk: %v, want ErrFull", err)
				}
				release()
			}
			d, err := openSealed(dir, any, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
			wantValues(t, dir, want)
		})
	}
}

// What is not wanted any more can be closed without room, and gives all back.
func TestThrowAwayOnFullDisk(t *testing.T) {
	disk := tinyDisk(t, 8<<20)
	before, err := freeSpace(disk)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := filledTail(t, filepath.Join(disk, "s"))
	release := fillUp(t, disk)
	if err := w.throwAway(nil); err != nil {
		t.Fatal(err)
	}
	release()
	if free, err := freeSpace(disk); err != nil || free != before {
		t.Errorf("%d bytes are free, before were %d (%v)", free, before, err)
	}
}

// What only the journal has of a segment goes with it, or is in the table.
func TestCloseWithJournal(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "s")
		w, err := createTail(dir, 1, sizes{mem: minMemTable, values: 1 << 20, threshold: valueThreshold}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if w.journal, err = makeJournal(dir, w.number); err != nil {
			t.Fatal(err)
		}
		values := make(map[string][]byte)
		for n := range uint64(20) {
			key := blockKey(n)
			values[string(key)] = fmt.Appendf(nil, "value %d", n)
			if err := w.put([]entry{{key: key, value: values[string(key)]}}, true); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.pending) == 0 {
			t.Fatal("the log has everything")
		}
		if wanted {
			err = w.finish()
		} else {
			err = w.throwAway(nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		wantNoLog(t, dir)
		if wanted {
			noJournals(t, dir)
			wantValues(t, dir, values)
		}
	}
}

// A write that failed may leave less in the log than the journal has. Then nothing takes
// the place of either.
func TestCloseAfterFailedWrite(t *testing.T) {
	for name, damage := range map[string]func(w *tail) error{
		"log has a hole": func(w *tail) error {
			_, err := w.memFile.WriteAt(make([]byte, 64), w.memEnd-100)
			return err
		},
		"partition has failed": func(w *tail) error {
			w.failed = true
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			w, _ := filledTail(t, dir)
			n, err := w.newTable()
			if err == nil {
				err = damage(w)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := w.shut(n); !errors.Is(err, errStuck) || !hasLog(dir) {
				t.Errorf("closing: %v, want errStuck; the log is there: %v", err, hasLog(dir))
			}
			if tables, err := filepath.Glob(filepath.Join(dir, "*.sst")); err != nil || len(tables) > 0 {
				t.Errorf("tables %q, %v", tables, err)
			}
		})
	}
}
