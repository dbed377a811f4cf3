package badgerstore

// What a log holds of its past is seen by no caller.

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

func TestStampInHeader(t *testing.T) {
	if got := hex.EncodeToString(appendStamp(nil, 3)); got != "00000000000000000300000000000000e3356c57" {
		t.Errorf("the header with the stamp 3 is %s", got)
	}
	for _, stamp := range []uint64{0, 1, newStamp(), 1<<stampBits - 1} {
		header := appendStamp(nil, stamp)
		if got, ok := parseStamp(header); got != stamp || !ok || len(header) != logHeader {
			t.Errorf("the stamp %d is read as %d, %t", stamp, got, ok)
		}
		for i := stampPlace; i < logHeader; i++ {
			header[i] ^= 4
			if got, ok := parseStamp(header); ok {
				t.Errorf("a damaged header says %d", got)
			}
			header[i] ^= 4
		}
	}
	if got, ok := parseStamp(make([]byte, logHeader)); ok {
		t.Errorf("zeros say %d", got)
	}
}

// pastLog makes a value log with 10 entries of an earlier segment, of which the first 3
// were written over by as many with the stamp 5, each of them size bytes long but the
// last, which is shorter. It returns where the new entries end.
func pastLog(t *testing.T, size int) (path string, content []byte, end int) {
	t.Helper()
	add := func(dst []byte, n int, stamp uint64, size int) []byte {
		return appendRaw(dst, 0, recordKey(uint64(n)), stamp<<stampShift+uint64(n), make([]byte, size))
	}
	var old []byte
	for n := range 10 {
		old = add(old, n, 9, size)
	}
	content = appendStamp(nil, 5)
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
			"the header is lost":        {slices.Concat(make([]byte, logHeader), content[logHeader:]), []uint64{100, 101, 102}, end, 0},
			"the first is damaged":      {damaged(logHeader + 1), []uint64{101, 102}, logHeader, 1},
			"the second is damaged":     {damaged(logHeader + entry + 1), []uint64{100, 102}, logHeader + entry, 1},
			"the last is damaged":       {damaged(end - 1), []uint64{100, 101}, logHeader + 2*entry, 0},
			"what is past is damaged":   {damaged(end + 2*entry), []uint64{100, 101, 102}, end, 0},
			"there is nothing but past": {slices.Concat(appendStamp(nil, 6), content[logHeader:]), nil, logHeader, 0},
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
	past := appendRaw(appendStamp(nil, 0), 0, recordKey(0), 1, bytes.Repeat([]byte{0xee}, 4<<20-100))
	if err := os.WriteFile(filepath.Join(dir, spentName), past, 0o600); err != nil {
		t.Fatal(err)
	}
	spent := spentLog{dir: dir, total: new(atomic.Int64)}
	spent.size.Store(int64(len(past)) / pageSize * pageSize)
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

// The header of a value log is lost, and nothing was written behind it: the other files
// of the segment tell what is its past.
func TestStampOfOtherFiles(t *testing.T) {
	path, content, _ := pastLog(t, 1000)
	copy(content, make([]byte, logHeader))
	dir := filepath.Dir(path)
	mem := appendRaw(make([]byte, logHeader), metaTxn, recordKey(0), 7<<stampShift+1, []byte("x"))
	if err := os.WriteFile(filepath.Join(dir, "00001.mem"), mem, 0o600); err != nil {
		t.Fatal(err)
	}
	if numbers, l := scanned(t, path, content); len(numbers) > 0 || l.end != logHeader || len(l.gaps) > 0 {
		t.Errorf("found are %d up to %d, gaps %v", numbers, l.end, l.gaps)
	}
}

// onceReader counts the bytes that are read.
type onceReader struct {
	data []byte
	read int64
}

func (r *onceReader) ReadAt(b []byte, off int64) (int, error) {
	n := copy(b, r.data[min(off, int64(len(r.data))):])
	r.read += int64(n)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// What a payload looks like does not make a scan long, in a log with a past, where
// every scan meets it, or behind damage.
func TestScanReadsALogOnce(t *testing.T) {
	const size = 4 << 20
	payloads := map[string]func(at int) byte{
		"noise": func(at int) byte { return byte(at * at >> 7) },
		"integers": func(at int) byte {
			return []byte{byte(at), byte(at >> 8), byte(at >> 16), byte(at >> 5), 1, 0, 0, 0}[at%8]
		},
		"heads":     func(at int) byte { return []byte{0x40, 0, 17, 0x80, 0x80, 0x40, 0, 'c', 1, 2, 3, 4, 5, 6, 7, 8}[at%16] },
		"few zeros": func(at int) byte { return byte(min(1, at%4)) },
	}
	for name, payload := range payloads {
		r := &onceReader{data: make([]byte, size)}
		for i := range r.data {
			r.data[i] = payload(i)
		}
		last := appendRaw(nil, 0, recordKey(7), 5<<stampShift+7, []byte("the last"))
		at := size - len(last) - 1000
		copy(r.data[at:], last)
		for how, next := range map[string]func(w *window) int64{
			"with its stamp": func(w *window) int64 { return w.nextStamped(0, 5) },
			"at every byte":  func(w *window) int64 { return w.resync(0) },
		} {
			if name == "heads" && how == "at every byte" {
				continue // Each looks like an entry of a megabyte, which is read.
			}
			r.read = 0
			w := &window{f: r, size: size}
			if got := next(w); got != int64(at) {
				t.Errorf("%s, looked for %s: the entry at %d is found at %d", name, how, at, got)
			}
			if r.read > 3*size {
				t.Errorf("%s, looked for %s: %d bytes are read of %d", name, how, r.read, size)
			}
		}
	}
}

// A value log that is longer than the next one is to be, as one is after a large commit,
// is cut, and what is cut off does not count as reserved.
func TestSpentLogIsCut(t *testing.T) {
	dir := t.TempDir()
	z := testSizes()
	past := appendRaw(appendStamp(nil, 0), 0, recordKey(0), 1, bytes.Repeat([]byte{0xee}, int(2*z.valueFileSize())+1<<20))
	if err := os.WriteFile(filepath.Join(dir, spentName), past, 0o600); err != nil {
		t.Fatal(err)
	}
	total := new(atomic.Int64)
	spent := spentLog{dir: dir, total: total}
	spent.size.Store(int64(len(past)) / pageSize * pageSize)
	total.Store(spent.size.Load())
	tl, err := createTail(filepath.Join(dir, segmentName(1)), 1, z, nil, &spent)
	if err != nil {
		t.Fatal(err)
	}
	info, err := tl.valueFile.Stat()
	if err != nil || tl.reserved > info.Size() || tl.spent > info.Size() || tl.spent < 4<<20 || total.Load() == 0 {
		t.Errorf("of %d bytes %d are reserved and %d were written, %d count; %v", info.Size(), tl.reserved, tl.spent, total.Load(), err)
	}
	if err := tl.close(); err != nil {
		t.Error(err)
	}
	if total.Load() != 0 {
		t.Errorf("%d bytes count after the end", total.Load())
	}
}

// A stamp may lie across the end of what is read at a time.
func TestStampAcrossWindows(t *testing.T) {
	entry := appendRaw(nil, 0, recordKey(7), 5<<stampShift+7, []byte("it"))
	stamped := bytes.Index(entry, []byte{0xff, 0xff, 0xff, 0xff, 0xfa})
	for back := range 12 {
		at := windowSize - stamped - back
		data := bytes.Repeat([]byte{0x11}, 3*windowSize)
		copy(data[at:], entry)
		w := &window{f: bytes.NewReader(data), size: int64(len(data))}
		if got := w.nextStamped(0, 5); got != int64(at) {
			t.Errorf("the stamp begins %d bytes before the end of a window: the entry at %d is found at %d", back, at, got)
		}
	}
	// One that begins with the last bytes of the file.
	data := append(bytes.Repeat([]byte{0x11}, windowSize-5), entry...)
	w := &window{f: bytes.NewReader(data), size: int64(len(data))}
	if got := w.nextStamped(0, 5); got != windowSize-5 {
		t.Errorf("the last entry is found at %d", got)
	}
}
