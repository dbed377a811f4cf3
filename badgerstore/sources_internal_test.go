package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

func openSourcesFor(t testing.TB, dir string) *sourceFile {
	t.Helper()
	f, err := openSources(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestSourcesFound(t *testing.T) {
	r := newRand(t)
	for _, n := range []int{0, 1, 2, 339, 340, 341, 5000, 100_000} {
		tail, want := newSourceTail(n), make(map[string][]uint32)
		for i := range n {
			id := fmt.Sprintf("id-%d", r.IntN(2*n))
			if r.IntN(10) == 0 {
				id = "often" // More of them than one read sees.
			}
			tail.add(id, uint32(i))
			want[id] = append([]uint32{uint32(i)}, want[id]...)
		}
		dir := t.TempDir()
		size, err := writeSources(dir, tail)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, sourcesName)); err != nil || info.Size() != size {
			t.Fatalf("%d entries: size %d, %v; want %d", n, info.Size(), err, size)
		}
		f := openSourcesFor(t, dir)
		if f.len() != n || tail.len() != n || !tail.full() {
			t.Fatalf("%d and %d entries, want %d", f.len(), tail.len(), n)
		}
		for range 500 {
			id := fmt.Sprintf("id-%d", r.IntN(2*n+1))
			if r.IntN(50) == 0 {
				id = "often"
			}
			got, err := f.find(id, nil)
			if err != nil || !slices.Equal(got, want[id]) {
				t.Fatalf("%d entries: file says %v, %v for %s; want %v", n, got, err, id, want[id])
			}
			if got := tail.find(id, nil); !slices.Equal(got, want[id]) {
				t.Fatalf("%d entries: tail says %v for %s, want %v", n, got, id, want[id])
			}
		}
	}
}

// Whatever the hashes are, also if they are not spread at all, each is found.
func TestSourcesFoundWhenUneven(t *testing.T) {
	var entries []sourceEntry
	for i := range uint32(3000) {
		entries = append(entries,
			sourceEntry{hash: uint64(i), index: i}, sourceEntry{hash: math.MaxUint64 - uint64(i), index: i},
			sourceEntry{hash: 1 << (i % 64), index: 3000 + i})
	}
	slices.SortFunc(entries, compareSources)
	var file bytes.Buffer
	if err := writeEntries(&file, entries); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got, err := findSources(bytes.NewReader(file.Bytes()), uint32(len(entries)), e.hash, nil, "test")
		if err != nil || !slices.Contains(got, e.index) {
			t.Fatalf("hash %x: got %v, %v; want %d among them", e.hash, got, err, e.index)
		}
	}
	if got, err := findSources(bytes.NewReader(file.Bytes()), uint32(len(entries)), 12345678, nil, "test"); err != nil || len(got) > 0 {
		t.Fatalf("a hash that is not there: got %v, %v", got, err)
	}
}

// countingReader counts the bytes of reads.
type countingReader struct {
	*bytes.Reader
	reads, bytes int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.reads, c.bytes = c.reads+1, c.bytes+len(p)
	return c.Reader.ReadAt(p, off)
}

func TestSourcesFoundInFewReads(t *testing.T) {
	tail := newSourceTail(0)
	for i := range 1 << 18 {
		tail.add(fmt.Sprintf("id-%d", i), uint32(i))
	}
	var file bytes.Buffer
	if err := writeEntries(&file, tail.sorted()); err != nil {
		t.Fatal(err)
	}
	c := &countingReader{Reader: bytes.NewReader(file.Bytes())}
	const lookups = 1000
	for i := range lookups {
		if got, err := findSources(c, 1<<18, sourceHash(fmt.Sprintf("id-%d", i)), nil, "test"); err != nil || !slices.Contains(got, uint32(i)) {
			t.Fatalf("id-%d: got %v, %v", i, got, err)
		}
	}
	t.Logf("%.1f reads and %d bytes a lookup", float64(c.reads)/lookups, c.bytes/lookups)
	if c.reads > 5*lookups {
		t.Errorf("%d reads for %d lookups, want at most 5 each", c.reads, lookups)
	}
}

func exampleSources() []byte {
	tail := newSourceTail(0)
	tail.add("a", 5)
	var file bytes.Buffer
	if err := writeEntries(&file, tail.sorted()); err != nil {
		panic(err)
	}
	return file.Bytes()
}

func checkSourcesOnly(value []byte) error {
	_, err := checkSources(bytes.NewReader(value), int64(len(value)), "test", false)
	return err
}

func TestSourcesBroken(t *testing.T) {
	value := exampleSources()
	checkBroken(t, value, checkSourcesOnly)
	checkNewer(t, value, checkSourcesOnly)
	checkGolden(t, "sources", value)

	dir := t.TempDir()
	if _, err := openSources(dir, false); !errors.Is(err, queue.ErrCorrupt) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing: got %v, want an error that is ErrCorrupt and ErrNotExist", err)
	}
	value[9] ^= 1
	if err := os.WriteFile(filepath.Join(dir, sourcesName), value, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSources(dir, false); !errors.Is(err, queue.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("damaged: got %v, want an error that is ErrCorrupt only", err)
	}
}

func TestSourcesWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	for _, left := range []string{sourcesTemp, sourcesName} {
		if err := os.WriteFile(filepath.Join(dir, left), bytes.Repeat([]byte("left over"), 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tail := newSourceTail(10)
	tail.add("a", 5)
	if _, err := writeSources(dir, tail); err != nil {
		t.Fatal(err)
	}
	if got, err := openSourcesFor(t, dir).find("a", nil); err != nil || !slices.Equal(got, []uint32{5}) {
		t.Fatalf("got %v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, sourcesTemp)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the temporary file: %v", err)
	}
	if _, err := writeSources(filepath.Join(dir, "missing"), tail); !errors.Is(err, queue.ErrUnavailable) {
		t.Fatalf("no directory: got %v, want an error that is ErrUnavailable", err)
	}
}

func FuzzSources(f *testing.F) {
	value := exampleSources()
	f.Add(value[:len(value)-sumSize], uint64(5))
	f.Fuzz(func(t *testing.T, body []byte, hash uint64) {
		value := fuzzSeal(body)
		count, err := checkSources(bytes.NewReader(value), int64(len(value)), "test", false)
		if err != nil && !isBroken(err) {
			t.Fatalf("got %v, want an error that is ErrCorrupt or ErrFormat", err)
		}
		if err != nil {
			// A file that was damaged after it had been verified: no panic, no
			// endless search.
			count = uint32(max(0, len(value)-sourcesHeaderSize-sumSize) / sourcesEntrySize)
			_, _ = findSources(bytes.NewReader(value), count, hash, nil, "test")
			return
		}
		var want []uint32
		for i := range int(count) {
			e := value[sourcesHeaderSize+i*sourcesEntrySize:]
			if binary.LittleEndian.Uint64(e) == hash {
				want = append([]uint32{binary.LittleEndian.Uint32(e[8:])}, want...)
			}
		}
		got, err := findSources(bytes.NewReader(value), count, hash, nil, "test")
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
	})
}

func BenchmarkSources(b *testing.B) {
	const n = 1 << 16
	tail, ids := newSourceTail(n), make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("source-%d", i)
		tail.add(ids[i], uint32(i))
	}
	dir := b.TempDir()
	b.Run("add", func(b *testing.B) {
		b.ReportAllocs()
		t := newSourceTail(n)
		for i := 0; b.Loop(); i++ {
			if t.full() {
				t = newSourceTail(n)
			}
			t.add(ids[i%n], uint32(i))
		}
	})
	b.Run("write-65536", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := writeSources(dir, tail); err != nil {
				b.Fatal(err)
			}
		}
	})
	if _, err := writeSources(dir, tail); err != nil {
		b.Fatal(err)
	}
	f := openSourcesFor(b, dir)
	b.Run("find-65536", func(b *testing.B) {
		b.ReportAllocs()
		var dst []uint32
		for i := 0; b.Loop(); i++ {
			var err error
			if dst, err = f.find(ids[i%n], dst[:0]); err != nil || len(dst) != 1 {
				b.Fatal(dst, err)
			}
		}
	})
}
