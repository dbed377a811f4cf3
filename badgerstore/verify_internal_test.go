package badgerstore

// These tests verify stores as a power cut leaves them.

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// wantVerified asserts that verify finds nothing wrong.
func wantVerified(t *testing.T, when, dir string) {
	t.Helper()
	_, err := Verify(dir, func(f Fault) {
		if !strings.Contains(f.Reason, "counted") { // commitSmall makes no sums.
			t.Errorf("%s: %s, %d to %d: %s", when, f.Path, f.First, f.Last, f.Reason)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// changeValues changes the value log of the tail in a snapshot of the store.
func changeValues(t *testing.T, dir string, p *partition, change func(content []byte)) {
	t.Helper()
	path := filepath.Join(dir, partitionDirName("q", 0), filepath.Base(p.tail.dir), filepath.Base(p.tail.writer.valueFile.Name()))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tornCommit returns a snapshot after a power cut in which the last commit has its record,
// carried in the value log, and not its value.
func tornCommit(t *testing.T, s *Storage, p *partition) (dir string) {
	t.Helper()
	w := p.tail.writer
	stale, from := usedNow(t, p), int(w.valueEnd)
	commitSmall(t, p, noise(t, 99, 3*valueThreshold), true)
	dir = flipped(t, s, p, usedName, 0, stale)
	changeValues(t, dir, p, func(content []byte) {
		places := carriedAt(t, content, w)
		clear(content[(from+pageSize-1)/pageSize*pageSize : places[len(places)-1][0]/pageSize*pageSize])
	})
	return dir
}

// wantTorn asserts that the store in dir has these items, that opening it reports these
// things, and that verify finds nothing wrong before, again and after.
func wantTorn(t *testing.T, dir string, small int, large []string, want ...string) {
	t.Helper()
	opened := filepath.Join(t.TempDir(), "opened")
	if err := os.CopyFS(opened, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if reports := wantBoth(t, "torn", opened, small, large); !slices.Equal(reports, want) {
		t.Errorf("reported is %v, want %v", reports, want)
	}
	wantVerified(t, "opened", opened)
	wantVerified(t, "before", dir)
	wantVerified(t, "again", dir)
	if reports := wantBoth(t, "verified", dir, small, large); len(reports) > 0 {
		t.Errorf("reported is %v, although verify has cut it off", reports)
	}
	wantVerified(t, "after", dir)
}

// The device has the record and not the value when the power goes during the sync: verify
// does not take that for damage, neither before the store is opened nor after.
func TestVerifyOfATornCommit(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	wantTorn(t, tornCommit(t, s, p), small, large, "dropped: 1")
}

// A torn end is none the less one when the next segment has been made.
func TestVerifyWithAPreparedSegment(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	span := p.takeSpan()
	n, err := createTail(newSegment(p.dir, span).dir, span, testSizes(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.throwAway(nil); err != nil {
			t.Error(err)
		}
	}()
	wantTorn(t, tornCommit(t, s, p), small, large, "dropped: 1")
}

// A torn commit has left its large record, to which nothing points.
func TestVerifyOfALargeRecord(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	w := p.tail.writer
	stale := usedNow(t, p)
	payload := noise(t, 5, 1500)
	first, err := p.Reserve(1, int64(len(payload)))
	if err != nil {
		t.Fatal(err)
	}
	c := queue.Commit{At: queue.Instant{Wall: 1000, Mono: 50}, Sync: true, Items: []queue.Item{{Payload: []byte(payload)}},
		Added: queue.Added{First: first, Count: 1, MinExpire: noMinExpire, MaxExpire: noMaxExpire}}
	for i := range int64(2000) {
		c.Leases = append(c.Leases, queue.Lease{Seq: p.tail.span<<queue.SpanBits + uint64(i), Deadline: 1000 + i*i*977, Wall: i * 1e9, Attempts: 1, Size: 10})
	}
	p.state.Add(c.At, &c.Added)
	c.Totals = p.state.Totals
	if err := p.Commit(&c); err != nil {
		t.Fatal(err)
	}
	dir := flipped(t, s, p, usedName, 0, stale)
	changeValues(t, dir, p, func(content []byte) {
		places := carriedAt(t, content, w)
		last := places[len(places)-1]
		if len(places) != 4 || last[1]-last[0] < 2*journalBlock {
			t.Fatalf("records are carried at %v", places)
		}
		clear(content[(last[0]/journalBlock+1)*journalBlock:]) // The device has all sectors but the last ones.
	})
	wantTorn(t, dir, small, large)
}

// The power went while a log became a table.
func TestVerifyOfAnUnfinishedTable(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	small, large := withCarried(t, p, 3)
	dir := tornCommit(t, s, p)
	segment := filepath.Join(dir, partitionDirName("q", 0), filepath.Base(p.tail.dir))
	if err := redo(segment); err != nil {
		t.Fatal(err)
	}
	n, err := newTable(segment, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.fill(make([]byte, pageSize)); err != nil { // Its blocks are reserved, and not written.
		t.Fatal(err)
	}
	wantTorn(t, dir, small, large, "dropped: 1")
}

// The last commit is missing without a trace but for the file that counts them: verify
// says so, and sets nothing aside.
func TestVerifyRepairsNothing(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	produceSmall(t, p, 0, 4)
	end := p.tail.writer.memEnd
	produceSmall(t, p, 4, 1)
	dir := snapshot(t, s, p, false)
	part := filepath.Join(dir, partitionDirName("q", 0))
	mem := filepath.Join(part, filepath.Base(p.tail.dir), filepath.Base(p.tail.writer.memFile.Name()))
	if err := writeInPlace(mem, make([]byte, p.tail.writer.memEnd-end), end); err != nil {
		t.Fatal(err)
	}
	faults := 0
	if _, err := Verify(dir, func(f Fault) { t.Log(f.Reason); faults++ }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(part, quarantineName)); err == nil || faults == 0 {
		t.Errorf("%d faults, and a quarantine was made: %v", faults, err == nil)
	}
}
