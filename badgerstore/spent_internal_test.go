package badgerstore

// What a log holds of its past is seen by no caller.

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

func TestGenerationInHeader(t *testing.T) {
	if got := hex.EncodeToString(appendLogHeader(nil, 3)); got != "00000000000000000300000000000000e3356c57" {
		t.Errorf("the header of generation 3 is %s", got)
	}
	for _, generation := range []uint64{0, 1, 1 << 39} {
		header := appendLogHeader(nil, generation)
		if g, ok := parseGeneration(header); g != generation || !ok || len(header) != logHeader {
			t.Errorf("generation %d is read as %d, %t", generation, g, ok)
		}
		for i := logHeader - 12; i < logHeader; i++ {
			header[i] ^= 4
			if g, ok := parseGeneration(header); ok {
				t.Errorf("a damaged header says %d", g)
			}
			header[i] ^= 4
		}
	}
}

// pastLog makes a value log with 10 entries of generation 4, of which the first 3 were
// written over by as many of generation 5, each of them size bytes long but the last,
// which is shorter. It returns where the new entries end.
func pastLog(t *testing.T, size int) (path string, content []byte, end int) {
	t.Helper()
	add := func(dst []byte, n int, generation uint64, size int) []byte {
		return appendRaw(dst, 0, recordKey(uint64(n)), generation<<generationBits+uint64(n), make([]byte, size))
	}
	var old []byte
	for n := range 10 {
		old = add(old, n, 4, size)
	}
	content = appendLogHeader(nil, 5)
	for n := range 3 {
		content = add(content, 100+n, 5, size-n/2*7)
	}
	end = len(content)
	content = append(content, old[end-logHeader:]...)
	path = filepath.Join(t.TempDir(), "000001.vlog")
	return path, content, end
}

// scanned returns the numbers of the entries that are found.
func scanned(t *testing.T, path string, content []byte) (numbers []uint64, l rawLog) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(content))+100_000); err != nil {
		t.Fatal(err)
	}
	l, err := scanLog(path, func(e *rawEntry) error {
		n, _ := keyNumber(letterRecord, e.key)
		numbers = append(numbers, n)
		return nil
	}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return numbers, l
}

func TestScanOfALogWithAPast(t *testing.T) {
	for _, size := range []int{0, 20, 10_000} {
		path, content, end := pastLog(t, size+8)
		entry := int(logSize(numberedKeySize, size+8))
		damaged := func(at int) []byte {
			c := slices.Clone(content)
			c[at] ^= 0x20
			return c
		}
		for name, c := range map[string]struct {
			content []byte
			numbers []uint64
			end     int
			gaps    int
		}{
			"whole":                     {content, []uint64{100, 101, 102}, end, 0},
			"the header is damaged":     {damaged(10), []uint64{100, 101, 102}, end, 0},
			"the first is damaged":      {damaged(logHeader + 1), []uint64{101, 102}, logHeader, 1},
			"the second is damaged":     {damaged(logHeader + entry + 1), []uint64{100, 102}, logHeader + entry, 1},
			"the last is damaged":       {damaged(end - 1), []uint64{100, 101}, logHeader + 2*entry, 0},
			"what is past is damaged":   {damaged(end + 2*entry), []uint64{100, 101, 102}, end, 0},
			"there is nothing but past": {slices.Concat(appendLogHeader(nil, 6), content[logHeader:]), nil, logHeader, 0},
		} {
			numbers, l := scanned(t, path, c.content)
			if !slices.Equal(numbers, c.numbers) || l.end != int64(c.end) || len(l.gaps) != c.gaps {
				t.Errorf("values of %d bytes, %s: entries %d up to %d, gaps %v; want %d, %d, %d gaps", size+8, name, numbers, l.end, l.gaps, c.numbers, c.end, c.gaps)
			}
		}
	}
}

// Commits end anywhere in a page, also where one ends.
func TestPagesOfASpentLogAreWrittenWhole(t *testing.T) {
	dir := t.TempDir()
	past := appendRaw(appendLogHeader(nil, 0), 0, recordKey(0), 1, bytes.Repeat([]byte{0xee}, 4<<20-100))
	if err := os.WriteFile(filepath.Join(dir, spentName), past, 0o600); err != nil {
		t.Fatal(err)
	}
	spent := spentLog{dir: dir, total: new(atomic.Int64), size: int64(len(past)) / pageSize * pageSize}
	tl, err := createTail(filepath.Join(dir, segmentName(1)), 1, testSizes(), nil, &spent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tl.close(); err != nil {
			t.Error(err)
		}
	}()
	if want := filepath.Join(tl.dir, "000001.vlog"); tl.valueFile.Name() != want {
		t.Errorf("errors name %s, the file is %s", tl.valueFile.Name(), want)
	}
	head := int(logSize(numberedKeySize, valueThreshold)) - valueThreshold
	for n := uint64(0); tl.valueEnd < 2<<20; n++ {
		size := valueThreshold + int(n*997%5000)
		if n%3 == 0 { // Up to the end of a page, or a byte on either side of it.
			size = 3*pageSize - int(tl.valueEnd%pageSize) - head + int(n%9/3) - 1
		}
		value := bytes.Repeat([]byte{byte(n)}, size)
		if err := tl.put([]entry{{key: recordKey(n), value: value}}, true); err != nil {
			t.Fatalf("a commit that ends at %d of a page: %v", tl.valueEnd%pageSize, err)
		}
		// Behind it are zeros up to the end of the page, and then what was there.
		rest := make([]byte, pageSize+1)
		if _, err := tl.valueFile.ReadAt(rest, tl.valueEnd); err != nil {
			t.Fatal(err)
		}
		pad := int(-tl.valueEnd & (pageSize - 1))
		if len(bytes.TrimLeft(rest[:pad], "\x00")) > 0 || rest[pad] != 0xee {
			t.Fatalf("behind %d of a page is no %d zeros and the past", tl.valueEnd%pageSize, pad)
		}
		found, err := tl.get(recordKey(n), func(got []byte) error {
			if !bytes.Equal(got, value) {
				t.Errorf("value %d came back changed", n)
			}
			return nil
		})
		if !found || err != nil {
			t.Fatalf("value %d: %t, %v", n, found, err)
		}
	}
}
