package badgerstore

// These tests look at what damage, and items that look like records, do to what a journal
// has in its ring and in the value log.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// A bit flips in a carried record or in a value: that costs one commit's word or one
// item, and is reported; no other record is lost with it.
func TestCarriedDamage(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 6)
	w := p.tail.writer
	values := filepath.Join(partitionDirName("q", 0), filepath.Base(p.tail.dir), filepath.Base(w.valueFile.Name()))
	content, err := os.ReadFile(filepath.Join(s.options.Dir, values))
	if err != nil {
		t.Fatal(err)
	}
	places := carriedAt(t, content, w)
	if len(places) != len(large) {
		t.Fatalf("%d records are carried, want %d", len(places), len(large))
	}
	for i, place := range [][2]int{places[0], places[3]} {
		for name, at := range map[string]int{
			"the head of record":  place[0] + 2,
			"the key of record":   place[0] + 8,
			"record":              (place[0] + place[1]) / 2,
			"the end of record":   place[1] - 1,
			"the value of commit": place[0] - 3000,
			"the head of commit":  place[1] + 3, // The next one's.
		} {
			cut := i == 1
			dir := snapshot(t, s, p, cut)
			broken := slices.Clone(content)
			broken[at] ^= 0x08
			if err := os.WriteFile(filepath.Join(dir, values), broken, 0o600); err != nil {
				t.Fatal(err)
			}
			got, reports := payloads(t, dir)
			if l := onlyLarge(got); len(l) < len(large)-1 || len(reports) == 0 {
				t.Errorf("%s %d, cut %v: %d of %d large items, reported %v", name, i, cut, len(l), len(large), reports)
			}
			wantItems(t, name, slices.DeleteFunc(got, isLargeItem), small)
		}
	}
}

// flipped returns a snapshot after a power cut in which a bit of a file of the tail is
// another. With stale, what the file of that name says is as old as it.
func flipped(t *testing.T, s *Storage, p *partition, name string, at int, stale []byte) string {
	t.Helper()
	dir := snapshot(t, s, p, true)
	segment := filepath.Join(dir, partitionDirName("q", 0), filepath.Base(p.tail.dir))
	flip(t, filepath.Join(segment, name), at)
	if stale != nil {
		if err := os.WriteFile(filepath.Join(segment, usedName), stale, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeInPlace(path, []byte{content[at] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// usedNow returns what the file of that name says.
func usedNow(t *testing.T, p *partition) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.tail.dir, usedName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The number of the log stands in two places. With one of them damaged nothing is lost;
// with both of them that is reported, and no item that stands elsewhere is lost.
func TestNumberOfALogIsDamaged(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small := withJournal(t, p, 3)
	stale := usedNow(t, p)
	var large []string
	for i := range 4 {
		for range 3 { // On flash by the record of the next.
			commitSmall(t, p, fmt.Sprintf("item %d", small), false)
			small++
		}
		large = append(large, noise(t, byte(i), 2*valueThreshold))
		commitSmall(t, p, large[i], true)
	}
	mem := filepath.Base(p.tail.writer.memFile.Name())
	for name, at := range map[string]int{mem: stampPlace + 3, journalName: journalBytes + stampPlace + 3} {
		for _, used := range [][]byte{nil, stale} {
			if reports := wantBoth(t, name, flipped(t, s, p, name, at, used), small, large); len(reports) > 0 {
				t.Errorf("%s: %v", name, reports)
			}
		}
	}
	dir := flipped(t, s, p, mem, stampPlace+3, stale)
	flip(t, filepath.Join(dir, partitionDirName("q", 0), filepath.Base(p.tail.dir), journalName), journalBytes+stampPlace+3)
	got, reports := payloads(t, dir)
	if !slices.Equal(onlyLarge(got), large) || len(reports) == 0 {
		t.Errorf("both: %d of %d large items, %v", len(onlyLarge(got)), len(large), reports)
	}
}

// A carried record that the log has on flash is damaged: nothing is lost with it.
func TestCarriedRecordThatIsDoneIsDamaged(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	w := p.tail.writer
	if err := w.syncLog(); err != nil { // As after 4 MiB of values.
		t.Fatal(err)
	}
	stale := usedNow(t, p)
	large = append(large, noise(t, 77, 2*valueThreshold))
	commitSmall(t, p, large[3], true)
	content, err := os.ReadFile(w.valueFile.Name())
	if err != nil {
		t.Fatal(err)
	}
	places := carriedAt(t, content, w)
	dir := flipped(t, s, p, filepath.Base(w.valueFile.Name()), places[2][0]+50, stale)
	for range 2 { // The second time it is a table.
		wantBoth(t, "flipped", dir, small, large)
	}
}

// The value of the last commit is damaged, and nothing says that it was acknowledged:
// that is reported as the end that a power cut tears off.
func TestLastValueIsDamaged(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	w := p.tail.writer
	stale := usedNow(t, p)
	commitSmall(t, p, noise(t, 77, 2*valueThreshold), true)
	content, err := os.ReadFile(w.valueFile.Name())
	if err != nil {
		t.Fatal(err)
	}
	dir := flipped(t, s, p, filepath.Base(w.valueFile.Name()), carriedAt(t, content, w)[3][0]-3000, stale)
	if reports := wantBoth(t, "the last", dir, small, large); !slices.Equal(reports, []string{"dropped: 1"}) {
		t.Errorf("reported is %v", reports)
	}
}

// The ring wraps, and the newest record ends within an old one, whose payload looks like
// a record there: it is none.
func TestRingHoldsNoRecordsOfItems(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]func(w *tail) uint64{
		"none":    func(*tail) uint64 { return 0 },
		"another": func(w *tail) uint64 { return w.number + 1 },
		"its own": func(w *tail) uint64 { return w.number }, // So that the test can fail.
	} {
		s, p := openForTest(t, Options{})
		withJournal(t, p, 3)
		w, n := p.tail.writer, 0
		fill := func() {
			for n++; ; n++ {
				if commitSmall(t, p, fmt.Sprintf("filler %d", n), true); w.journal.at == 0 {
					return
				}
			}
		}
		fill()
		probe := noise(t, 1, 1500)
		commitSmall(t, p, probe, true)
		ring, err := os.ReadFile(filepath.Join(w.dir, journalName))
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(ring, []byte(probe)) // A client can try all of them.
		if at < 0 {
			t.Fatal("the payload is compressed")
		}
		fill()
		forged := &journal{log: log(w), number: 1 << 40, record: alignedBytes(2 * maxJournaled)[:0]}
		forged.add(logHeader, 1, []entry{{key: headerKey(), value: []byte("forged")}})
		record := forged.seal()
		if forged.log == 0 {
			copy(record, journalSecond)
		}
		payload := []byte(noise(t, 2, 1500))
		copy(payload[journalBlock-at:], record)
		commitSmall(t, p, string(payload), true)
		fill()
		commitSmall(t, p, "the last one", true)
		if p.tail.writer != w {
			t.Fatal("another segment")
		}
		if _, reports := payloads(t, snapshot(t, s, p, true)); (name == "its own") != (len(reports) > 0) {
			t.Errorf("the number of the log is %s: %.300q", name, reports)
		}
	}
}

// Records of another log, such as one that had the value log before, or in the payload of
// an item, are none.
func TestCarriedForAnother(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	withJournal(t, p, 3)
	w := p.tail.writer
	for _, own := range []bool{false, true} {
		numbers := []uint64{0, 1, w.number + 1, w.number - 1}
		if own {
			numbers = []uint64{w.number} // So that the test can fail.
		}
		var payload []byte
		for _, number := range numbers {
			forged := &journal{log: number, number: 1000, record: alignedBytes(2 * maxJournaled)[:0]}
			// At the place of no other record.
			forged.add(logHeader, 1, []entry{{key: headerKey(), value: []byte("forged")}})
			payload = appendRaw(payload, 0, carriedKey(number), w.version+1, forged.seal())
			payload = appendRaw(payload, 0, carriedKey(w.number-1), w.version+1, forged.seal())
		}
		commitSmall(t, p, noise(t, 1, valueThreshold)+string(payload), true)
		if _, reports := payloads(t, snapshot(t, s, p, true)); own != (len(reports) > 0) {
			t.Errorf("with the log's own number %v: %.200q", own, reports)
		}
	}
}

// A value is torn, and in the item that lies there is what looks like a record of a later
// commit, and like a block: they are none.
func TestRecordInATornValue(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	w := p.tail.writer
	stale, from := usedNow(t, p), int(w.valueEnd)
	c := queue.Commit{At: queue.Instant{Wall: 1000, Mono: 50}}
	items := number([]queue.Item{{Payload: []byte("forged")}}, w.span<<queue.SpanBits+500, c.At)
	forged := appendRaw(nil, 0, recordKey(1<<41), 1, appendRecord(nil, &c, 1<<41, 1<<41))
	forged = appendRaw(forged, 0, blockKey(items[0].Seq()), 1, appendBlock(nil, items, c.At, &packer{}))
	commitSmall(t, p, noise(t, 9, 3*valueThreshold)+string(forged), true)
	dir := flipped(t, s, p, usedName, 0, stale)
	changeValues(t, dir, p, func(content []byte) { clear(content[(from+pageSize-1)/pageSize*pageSize:][:pageSize]) })
	wantTorn(t, dir, small, large, "dropped: 1")
}

// A value in the middle is damaged: that is no end torn off by a power cut.
func TestDamageIsNotDropped(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	_, large := withCarried(t, p, 6)
	w := p.tail.writer
	content, err := os.ReadFile(w.valueFile.Name())
	if err != nil {
		t.Fatal(err)
	}
	places := carriedAt(t, content, w)
	dir := flipped(t, s, p, filepath.Base(w.valueFile.Name()), places[2][0]-3000, nil)
	got, reports := payloads(t, dir)
	if len(onlyLarge(got)) != len(large)-1 || slices.ContainsFunc(reports, func(r string) bool { return strings.HasPrefix(r, "dropped") }) {
		t.Errorf("%d of %d, %q", len(onlyLarge(got)), len(large), reports)
	}
	if _, reports = payloads(t, dir); slices.ContainsFunc(reports, func(r string) bool { return strings.HasPrefix(r, "dropped") }) {
		t.Errorf("at the second start: %q", reports)
	}
}

// The checkpoint is large and damaged, and nothing says that commits behind it were
// acknowledged, but that the segment was used.
func TestLargeCheckpointIsDamaged(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 3 * valueThreshold} {
		s, p := openForTest(t, Options{})
		for i := range 1500 {
			commitSmall(t, p, fmt.Sprintf("item %d", i), false)
		}
		if err := p.Sync(); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(1500) {
			p.state.SetLease(queue.Lease{Seq: 1<<queue.SpanBits + i, Deadline: int64(i*i*977) + 1, Wall: int64(i) * 1e9, Attempts: 1, Size: 10})
		}
		if err := p.roll(p.demand(1, 10)); err != nil {
			t.Fatal(err)
		}
		if p.tail.writer.valueEnd < valueThreshold {
			t.Fatal("the checkpoint is small")
		}
		text := noise(t, 1, size)
		stale := usedNow(t, p)
		commitSmall(t, p, text, true)
		dir := flipped(t, s, p, filepath.Base(p.tail.writer.valueFile.Name()), logHeader+5000, stale)
		got, reports := payloads(t, dir)
		if !slices.Contains(got, text) || len(reports) == 0 {
			t.Errorf("%d: %d items, reported %.900q", size, len(got), reports)
		}
	}
}

// A journal of version 2, as an older program has left it with its log, is redone.
func TestRedoOfASecondVersion(t *testing.T) {
	t.Parallel()
	// A store of before: the log has no number, the journal is of version 2.
	s, p := openForTest(t, Options{})
	small := withJournal(t, p, 10)
	w := p.tail.writer
	dir := snapshot(t, s, p, true)
	segment := filepath.Join(dir, partitionDirName("q", 0), filepath.Base(p.tail.dir))
	if err := writeInPlace(filepath.Join(segment, filepath.Base(w.memFile.Name())), make([]byte, logHeader), 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(segment, journalName)
	ring, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ring = ring[:journalBytes]
	n := 0
	for at := 0; at < len(ring); at += journalBlock {
		if _, size, ok := decodeJournalRecord(ring[at:], w.number); ok {
			b := ring[at : at+size]
			copy(b, journalSecond)
			c := recordSum(0, b[8:])
			b[4], b[5], b[6], b[7] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
			n++
		}
	}
	if n == 0 {
		t.Fatal("no records")
	}
	if err := os.WriteFile(path, ring, 0o600); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, "old", dir)
	if reports := wantBoth(t, "old", dir, small, nil); len(reports) > 0 {
		t.Error(reports)
	}
}
