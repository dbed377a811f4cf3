package badgerstore

// These tests look at value logs that carry records of a journal, as a crash leaves them.

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// noise returns n bytes that cannot be compressed and differ for each seed.
func noise(t *testing.T, seed byte, n int) string {
	t.Helper()
	b, x := make([]byte, n), uint32(seed)+1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x >> 8)
	}
	return fmt.Sprintf("large %d ", seed) + string(b)
}

// isLargeItem reports whether a payload is one of noise.
func isLargeItem(s string) bool { return len(s) > 6 && s[:6] == "large " }

// onlyLarge returns the payloads of noise among those.
func onlyLarge(list []string) (large []string) {
	for _, s := range list {
		if isLargeItem(s) {
			large = append(large, s)
		}
	}
	return large
}

// withCarried commits until the tail has a journal, and then n large items, each on
// flash; it returns how many small ones there are and the large ones.
func withCarried(t *testing.T, p *partition, n int) (small int, large []string) {
	t.Helper()
	small = withJournal(t, p, 3)
	for i := range n {
		large = append(large, noise(t, byte(i), 2*valueThreshold+i*100))
		commitSmall(t, p, large[i], true)
	}
	return small, large
}

// wantBoth asserts that exactly these items are in the store in dir; it returns what was
// reported.
func wantBoth(t *testing.T, what, dir string, small int, large []string) []string {
	t.Helper()
	got, reports := payloads(t, dir)
	if l := onlyLarge(got); !slices.Equal(l, large) {
		t.Errorf("%s: %d large items, want %d: %v", what, len(l), len(large), reports)
	}
	wantItems(t, what, slices.DeleteFunc(got, isLargeItem), small)
	return reports
}

// carriedAt returns where the carried records of the tail begin in its value log, and
// where each ends.
func carriedAt(t *testing.T, content []byte, tl *tail) (places [][2]int) {
	t.Helper()
	w := &window{f: bytes.NewReader(content), size: int64(len(content))}
	key := carriedKey(tl.number)
	for at := w.index(0, key); at >= 0; at = w.index(at+1, key) {
		for _, head := range []int64{5, 6} {
			if _, n := w.entry(at - head); n > 0 {
				places = append(places, [2]int{int(at - head), int(at - head + n)})
			}
		}
	}
	return places
}

// The bytes are those of the comment.
func TestCarriedExample(t *testing.T) {
	j := &journal{block: journalBlock, log: 3, record: alignedBytes(2 * maxJournaled)[:0]}
	j.add(300, 7, exampleEntries()[:1])
	got := appendRaw(nil, 0, carriedKey(3), 7, j.seal())
	want := "0000111400" + "6a0000000000000003" + "fffffffffffffff8" + "71656a031919aac10800000001ac020701026b00" + "79b50b41"
	if hex.EncodeToString(got) != want {
		t.Errorf("the example is\n%x, the comment says\n%s", got, want)
	}
	if int64(len(got)) > mostCarried {
		t.Errorf("it has %d bytes, at most are %d", len(got), mostCarried)
	}
}

// A commit with a large value is on flash with one sync, that of the value log; what is
// written neither to the ring nor to the log is there after a kill and a power cut.
func TestCarriedCommitTakesOneSync(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small := withJournal(t, p, 3)
	w := p.tail.writer
	var large []string
	for i := range 8 {
		syncs, ring, synced := w.syncs, w.journal.at, w.memSynced
		large = append(large, noise(t, byte(i), 3*valueThreshold))
		commitSmall(t, p, large[i], i%4 != 3)
		if i%4 == 3 { // Only the next one has it on flash.
			if w.syncs != syncs {
				t.Fatalf("a commit that need not be on flash takes %d syncs", w.syncs-syncs)
			}
			if err := p.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if w.syncs != syncs+1 || w.journal.at != ring || w.memSynced != synced || !w.isSynced() {
			t.Fatalf("commit %d takes %d syncs, %d bytes of the ring, %d of the log; on flash: %v",
				i, w.syncs-syncs, w.journal.at-ring, w.memSynced-synced, w.isSynced())
		}
		if i%3 == 0 { // In between one that goes to the ring.
			produceSmall(t, p, small, 1)
			small++
		}
	}
	for _, cut := range []bool{false, true} {
		if reports := wantBoth(t, fmt.Sprintf("cut %v", cut), snapshot(t, s, p, cut), small, large); len(reports) > 0 {
			t.Errorf("cut %v: %v", cut, reports)
		}
	}
	dir, segment := s.options.Dir, p.tail.dir
	if err := errors.Join(p.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	// What is carried is neither damage nor anything else once the segment is closed.
	if h, err := collect(segment, isOurs); err != nil || len(h.faults) > 0 || len(h.numbers(letterBlock)) != small+len(large) {
		t.Errorf("in the closed segment are %d blocks of %d, faults %v, %v", len(h.numbers(letterBlock)), small+len(large), h.faults, err)
	}
	if reports := wantBoth(t, "closed", dir, small, large); len(reports) > 0 {
		t.Errorf("closed: %v", reports)
	}
}

// The device has any of the sectors of a commit's sync when the power goes: what was
// acknowledged before is there, the commit is there as a whole or not at all, and
// nothing counts as damage.
func TestCarriedTorn(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	w := p.tail.writer
	segment := filepath.Join(partitionDirName("q", 0), filepath.Base(p.tail.dir))
	values := filepath.Join(segment, filepath.Base(w.valueFile.Name()))
	read := func(dir, name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before, used := read(s.options.Dir, values), read(s.options.Dir, filepath.Join(segment, usedName))
	from := int(w.valueEnd) / journalBlock * journalBlock
	last := noise(t, 99, 3*valueThreshold)
	commitSmall(t, p, last, true)
	after, end := read(s.options.Dir, values), int(w.valueEnd)
	r := newRand(t)
	whole, torn := 0, 0
	for n := range 24 {
		content := slices.Clone(before)
		kept, sectors := 0, 0
		for at := from; at < end; at += journalBlock {
			sectors++
			// Nearly all, nearly none, all but the record, the record alone.
			keep := r.IntN(30) != 0
			switch n % 4 {
			case 1:
				keep = !keep
			case 2:
				keep = at+2*journalBlock < end
			case 3:
				keep = at+2*journalBlock >= end
			}
			if n == 0 || keep {
				kept++
				copy(content[at:at+journalBlock], after[at:])
			}
		}
		dir := snapshot(t, s, p, true)
		for name, b := range map[string][]byte{values: content, filepath.Join(segment, usedName): used} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, reports := payloads(t, dir)
		want := large
		if l := onlyLarge(got); len(l) == len(large)+1 {
			want = append(slices.Clone(large), last)
			whole++
		} else {
			torn++
		}
		if !slices.Equal(onlyLarge(got), want) {
			t.Fatalf("%d of %d sectors kept (%d): %d large items of %d", kept, sectors, n, len(onlyLarge(got)), len(large))
		}
		wantItems(t, "torn", slices.DeleteFunc(got, isLargeItem), small)
		for _, report := range reports {
			if report != "dropped: 1" {
				t.Errorf("%d of %d sectors kept (%d): %s", kept, sectors, n, report)
			}
		}
		if n%4 == 3 && len(reports) == 0 {
			t.Errorf("the record is there without its value, and nothing is reported")
		}
	}
	if whole == 0 || torn == 0 {
		t.Errorf("the commit was there %d times, and not %d times", whole, torn)
	}
}

// The log is synced when it has much to take, or the value log has grown much, so that
// neither memory nor a start grows with what is carried.
func TestCarriedIsBounded(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{SegmentBytes: 16 << 20}) // On 32 bits it is less by itself.
	small, large := withCarried(t, p, 1)
	w, logged := p.tail.writer, 0
	for i := 1; logged < 3; i++ {
		before := w.logged
		large = append(large, noise(t, byte(i), 400<<10))
		commitSmall(t, p, large[i], true)
		if p.tail.writer != w {
			t.Fatal("the segment changes before the log was synced three times")
		}
		if w.logged != before {
			logged++
			if w.memSynced != w.memEnd || w.logged != w.valueEnd || len(w.pending) > 0 {
				t.Errorf("the log is synced up to %d of %d, %d of %d bytes of values", w.memSynced, w.memEnd, w.logged, w.valueEnd)
			}
		}
		if n := w.valueEnd - w.logged; n > maxCarried+500<<10 {
			t.Fatalf("%d bytes of values are behind the last sync of the log", n)
		}
		if i%5 == 0 {
			if reports := wantBoth(t, "growing", snapshot(t, s, p, i%2 == 0), small, large); len(reports) > 0 {
				t.Error(reports)
			}
		}
	}
	// Commits of which each says much.
	for i := range 60 {
		text := noise(t, byte(i), valueThreshold)
		large = append(large, text)
		commitSmall(t, p, text, false)
		if len(w.pending) > journalBytes+4*maxJournaled {
			t.Fatalf("%d bytes are kept for the log", len(w.pending))
		}
	}
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	if reports := wantBoth(t, "at the end", snapshot(t, s, p, true), small, large); len(reports) > 0 {
		t.Error(reports)
	}
}

// What is pending for the log is bounded although the ring stays empty.
func TestCarriedPendingIsBounded(t *testing.T) {
	t.Parallel()
	z := testSizes()
	z.mem *= 4
	tl := newTestTail(t, z)
	var err error
	if tl.journal, err = makeJournal(tl.dir, tl.number); err != nil {
		t.Fatal(err)
	}
	most := 0
	for n := range uint64(40) {
		entries := []entry{
			{key: recordKey(2 * n), value: make([]byte, maxJournaled-200)},
			{key: recordKey(2*n + 1), value: make([]byte, valueThreshold)},
		}
		if err := tl.reserve(recordBytes); err != nil {
			t.Fatal(err)
		}
		if err := tl.put(entries, true); err != nil {
			t.Fatal(err)
		}
		if !tl.isSynced() || tl.journal.at > 0 {
			t.Fatalf("commit %d: on flash: %v, %d bytes in the ring", n, tl.isSynced(), tl.journal.at)
		}
		most = max(most, len(tl.pending))
	}
	if most < journalBytes/2 || most > journalBytes+maxJournaled {
		t.Errorf("up to %d bytes are pending", most)
	}
}

// Where the value log has no blocks for it, a record goes to the ring.
func TestCarriedWithoutRoom(t *testing.T) {
	t.Parallel()
	tl := newTestTail(t, testSizes())
	var err error
	if tl.journal, err = makeJournal(tl.dir, tl.number); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, valueThreshold)
	for n, lean := range []bool{false, true, false} {
		ring, syncs := tl.journal.at, tl.syncs
		tl.step = 0
		if lean {
			tl.step = leanStep
		}
		if n == 2 { // The value ends where the blocks do.
			value = make([]byte, tl.reserved-tl.valueEnd-(logSize(numberedKeySize, 1<<16)-1<<16))
		}
		if err := tl.put([]entry{{key: recordKey(uint64(n)), value: value}}, true); err != nil {
			t.Fatal(err)
		}
		if n == 2 && tl.reserved != tl.valueEnd {
			t.Fatalf("the values end at %d, the blocks at %d", tl.valueEnd, tl.reserved)
		}
		if used := tl.journal.at > ring; used != (n > 0) || !tl.isSynced() || tl.syncs-syncs != int64(1+min(n, 1)) {
			t.Errorf("commit %d: in the ring: %v, %d syncs, on flash: %v", n, used, tl.syncs-syncs, tl.isSynced())
		}
	}
}

// Redo may be interrupted by a power cut, which keeps any of the pages that it wrote, and
// leads to the same the next time.
func TestCarriedRedoInterrupted(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 25)
	produceSmall(t, p, small, 40)
	small += 40
	for i := 25; i < 60; i++ {
		large = append(large, noise(t, byte(i), 2*valueThreshold))
		commitSmall(t, p, large[i], true)
	}
	w := p.tail.writer
	r := newRand(t)
	segment := filepath.Join(partitionDirName("q", 0), filepath.Base(p.tail.dir))
	mem := filepath.Join(segment, filepath.Base(w.memFile.Name()))
	pagesSeen := 0
	for range 12 {
		dir := snapshot(t, s, p, true)
		read := func(name string) []byte {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		ring, before := read(filepath.Join(segment, journalName)), read(mem)
		if err := redo(filepath.Join(dir, segment)); err != nil {
			t.Fatal(err)
		}
		after := read(mem)
		for at := 0; at < len(after); at += pageSize {
			if !bytes.Equal(before[at:at+pageSize], after[at:at+pageSize]) {
				pagesSeen++
				if r.IntN(2) == 0 {
					copy(after[at:at+pageSize], before[at:])
				}
			}
		}
		for name, b := range map[string][]byte{mem: after, filepath.Join(segment, journalName): ring} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if reports := wantBoth(t, "interrupted", dir, small, large); len(reports) > 0 {
			t.Error(reports)
		}
	}
	if pagesSeen < 24 {
		t.Errorf("redo changes %d pages in 12 runs", pagesSeen)
	}
}
