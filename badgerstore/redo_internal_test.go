package badgerstore

// These tests look at stores as a crash leaves them between the journal and Badger's
// log, which nothing outside can bring about at will.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
	"golang.org/x/sys/unix"
)

// produceSmall commits n items, one at a time, each on flash, as a service would.
func produceSmall(t *testing.T, p *partition, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		commitSmall(t, p, fmt.Sprintf("item %d", i), true)
	}
}

func commitSmall(t *testing.T, p *partition, payload string, sync bool) {
	t.Helper()
	first, err := p.Reserve(1, int64(len(payload)))
	if err != nil {
		t.Fatal(err)
	}
	items := []queue.Item{{Payload: []byte(payload)}}
	c := queue.Commit{At: queue.Instant{Wall: 1000, Mono: 50}, Sync: sync, Items: items,
		Added: queue.Added{First: first, Count: 1, MinExpire: noMinExpire, MaxExpire: noMaxExpire}}
	p.state.Add(c.At, &c.Added)
	c.Totals = p.state.Totals
	if err := p.Commit(&c); err != nil {
		t.Fatal(err)
	}
}

// withJournal commits until the tail has a journal that has taken n commits, which its
// log has not got, and returns how many there are in all.
func withJournal(t *testing.T, p *partition, n int) (total int) {
	t.Helper()
	for ; total <= journalAfter; total++ {
		produceSmall(t, p, total, 1)
	}
	if m := p.tail.writer.making; m != nil { // Else it is in use already.
		<-m.ready
	}
	waiting := func() int {
		if w := p.tail.writer; len(w.pending) > 0 {
			return int(w.journal.number)
		}
		return 0
	}
	for ; waiting() < n; total++ {
		if total > journalAfter+n+10 {
			t.Fatalf("after %d commits the journal has %d", total, waiting())
		}
		produceSmall(t, p, total, 1)
	}
	return total
}

// snapshot copies what is on the disk of a store, as it would be after SIGKILL; of
// the tail's log only what was synced if cut says that the power goes.
func snapshot(t *testing.T, s *Storage, p *partition, cut bool) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(s.options.Dir)); err != nil {
		t.Fatal(err)
	}
	if cut {
		w := p.tail.writer
		rel, err := filepath.Rel(s.options.Dir, w.memFile.Name())
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(to, rel), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, 2*w.mem-w.memSynced), w.memSynced); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// payloads opens a copy of a store and returns the payloads of its items and what
// was reported.
func payloads(t *testing.T, dir string) (got []string, reports []string) {
	t.Helper()
	s, p := openStore(t, Options{Dir: dir, Boot: "boot", Events: Events{
		SetAside: func(_, _, reason string) { reports = append(reports, "aside: "+reason) },
		Dropped:  func(_ string, n int) { reports = append(reports, fmt.Sprintf("dropped: %d", n)) },
		Failed:   func(_ string, err error) { reports = append(reports, "failed: "+err.Error()) },
	}})
	for _, d := range p.Damage() {
		reports = append(reports, "damage: "+d.Error())
	}
	for from := uint64(0); ; {
		items, next, err := Flat(p.Read(from, 1000, 1<<20))
		var damage *queue.Damage
		if errors.As(err, &damage) {
			reports = append(reports, "damage: "+damage.Error())
			from = damage.Last + 1
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 0 {
			break
		}
		for i := range items {
			got = append(got, string(items[i].Payload))
		}
		from = next
	}
	if err := errors.Join(p.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return got, reports
}

// survives asserts that there are n items after a kill, if kill is set, and after a power
// cut, and nothing to report.
func survives(t *testing.T, s *Storage, p *partition, what string, n int, kill bool) {
	t.Helper()
	cuts := []bool{true}
	if kill {
		cuts = append(cuts, false)
	}
	for _, cut := range cuts {
		got, reports := payloads(t, snapshot(t, s, p, cut))
		wantItems(t, fmt.Sprintf("%s, cut %v", what, cut), got, n)
		if len(reports) > 0 {
			t.Errorf("%s, cut %v: %v", what, cut, reports)
		}
	}
}

func wantItems(t *testing.T, what string, got []string, n int) {
	t.Helper()
	for i := range n {
		if i >= len(got) || got[i] != fmt.Sprintf("item %d", i) {
			t.Fatalf("%s: %d items, item %d is missing", what, len(got), i)
		}
	}
	if len(got) != n {
		t.Fatalf("%s: %d items, want %d", what, len(got), n)
	}
}

// What only the journal has is there after SIGKILL and after a power cut, with what
// was written beside it without a sync, and again when recovery itself is
// interrupted.
func TestJournalRedo(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 30)
	survives(t, s, p, "used", total, true)
	// What need not be on flash is there when the process is killed; with the next that
	// has to be, it is on flash.
	for range 2 {
		w := p.tail.writer
		commitSmall(t, p, fmt.Sprintf("item %d", total), false)
		commitSmall(t, p, fmt.Sprintf("item %d", total+1), false)
		if len(w.pending) > 0 {
			t.Fatalf("%d bytes are not in the log", len(w.pending))
		}
		for _, cut := range []bool{false, true} {
			got, reports := payloads(t, snapshot(t, s, p, cut))
			if cut {
				wantItems(t, "cut before a sync", got, total)
			} else {
				wantItems(t, "killed before a sync", got, total+2)
			}
			if len(reports) > 0 {
				t.Errorf("cut %v: %v", cut, reports)
			}
		}
		produceSmall(t, p, total+2, 5)
		total += 7
	}
	for _, cut := range []bool{false, true} {
		dir := snapshot(t, s, p, cut)
		again := filepath.Join(t.TempDir(), "again")
		if err := os.CopyFS(again, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		// Interrupted between writing the log and removing the journal.
		segment := filepath.Join(again, partitionDirName("q", 0), filepath.Base(p.tail.dir))
		journal, err := os.ReadFile(filepath.Join(segment, journalName))
		if err == nil {
			err = redo(segment)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(segment, journalName), journal, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{dir, again} {
			got, reports := payloads(t, d)
			wantItems(t, fmt.Sprintf("cut %v", cut), got, total)
			if len(reports) > 0 {
				t.Errorf("cut %v: %v", cut, reports)
			}
		}
	}
}

// The ring is used again and again, segments change, and what is on the disk at any
// moment is everything that was acknowledged.
func TestJournalRing(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	total, rings := 0, 0
	for total < 1500 {
		for range 1 + r.IntN(60) {
			what := r.IntN(60)
			commitSmall(t, p, fmt.Sprintf("item %d", total), what > 10)
			total++
			if what == 0 {
				// With bytes that do not fit into a record.
				commitSmall(t, p, strings.Repeat("x", 2*maxJournaled), true)
			}
		}
		produceSmall(t, p, total, 1)
		total++
		if j := p.tail.writer.journal; j != nil && j.number > 0 {
			rings++
		}
		if r.IntN(2) == 0 {
			if err := p.Yield(); err != nil {
				t.Fatal(err)
			}
			if p.tail == nil { // It was not small enough to sleep.
				produceSmall(t, p, total, 1)
				total++
			}
		}
		if total < 1500 && r.IntN(4) > 0 {
			continue
		}
		got, reports := payloads(t, snapshot(t, s, p, r.IntN(2) == 0))
		got = deleteLarge(got)
		wantItems(t, "ring", got, total)
		if len(reports) > 0 {
			t.Errorf("after %d: %v", total, reports)
		}
	}
	if rings < 5 || p.tail.span < 2 {
		t.Errorf("the journal was seen in use %d times, the last segment is %d", rings, p.tail.span)
	}
}

func deleteLarge(list []string) []string {
	kept := list[:0]
	for _, s := range list {
		if len(s) < maxJournaled {
			kept = append(kept, s)
		}
	}
	return kept
}

// A closed store has no journals, and nothing that only they had is lost.
func TestJournalClose(t *testing.T) {
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 10)
	if err := p.Maintain(true); err != nil {
		t.Fatal(err)
	}
	noJournals(t, s.options.Dir)
	produceSmall(t, p, total, 1)
	total++
	got, reports := payloads(t, snapshot(t, s, p, false))
	wantItems(t, "closed", got, total)
	if len(reports) > 0 {
		t.Error(reports)
	}
	for range journalAfter + 2 {
		produceSmall(t, p, total, 1)
		total++
	}
	if m := p.tail.writer.making; m != nil {
		<-m.ready
	}
	dir := s.options.Dir
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	noJournals(t, dir)
}

func noJournals(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == journalName {
			t.Errorf("%s is there", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is damaged in a journal costs what is in the damaged record, and is reported;
// what Badger's log has counts all the same.
func TestJournalDamage(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 20)
	segment := filepath.Join(partitionDirName("q", 0), filepath.Base(p.tail.dir))
	for off := 0; off < 21*journalBlock; off += 389 {
		dir := snapshot(t, s, p, off%2 == 0)
		path := filepath.Join(dir, segment, journalName)
		ring, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ring[off] ^= 0x10
		hit := len(scanJournal(ring, p.tail.writer.number)) < 20
		if err := os.WriteFile(path, ring, 0o600); err != nil {
			t.Fatal(err)
		}
		got, reports := payloads(t, dir)
		switch {
		case !hit:
			wantItems(t, fmt.Sprintf("a flip at %d that is in no record", off), got, total)
		case len(got) < total-1:
			t.Errorf("a flip at %d costs %d items: %v", off, total-len(got), reports)
		case len(got) == total-1 && len(reports) == 0:
			t.Errorf("a flip at %d costs an item, and nothing is reported", off)
		}
	}
	for name, change := range map[string]func(path string) error{
		"gone":    os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 5*journalBlock+100) },
		"garbage": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte(journalMagic), 20000), 0o600) },
	} {
		dir := snapshot(t, s, p, true)
		if err := change(filepath.Join(dir, segment, journalName)); err != nil {
			t.Fatal(err)
		}
		got, reports := payloads(t, dir)
		if len(got) < total-20 || len(reports) == 0 {
			t.Errorf("%s: %d of %d items, reported %v", name, len(got), total, reports)
		}
	}
}

// One that finds no room is no failure: others took what was there a moment ago.
func TestJournalNotMade(t *testing.T) {
	_, p := openForTest(t, Options{Events: Events{Failed: func(dir string, err error) { t.Errorf("%s: %v", dir, err) }}})
	produceSmall(t, p, 0, 1)
	w := p.tail.writer
	w.making = &madeJournal{ready: make(chan struct{}), err: unavailable(unix.ENOSPC, "cannot make it")}
	close(w.making.ready)
	produceSmall(t, p, 1, journalAfter)
	if w.making != nil || w.journal != nil || w.wantsJournal() {
		t.Error("a journal is tried again at once")
	}
}

// A journal that finds no room is done without.
func TestJournalFull(t *testing.T) {
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 10)
	f := p.tail.writer.journal.f
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.tail.writer.journal.f = full
	commitSmall(t, p, fmt.Sprintf("item %d", total), false)
	produceSmall(t, p, total+1, 30)
	total += 31
	p.tail.writer.journal.f = f
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	survives(t, s, p, "used", total, true)
	produceSmall(t, p, total, 30)
	got, _ := payloads(t, snapshot(t, s, p, true))
	wantItems(t, "room again", got, total+30)
}

// When the journal cannot be written nothing more is acknowledged, and what was is
// there when the store is opened again, although closing ends early.
func TestJournalFails(t *testing.T) {
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 10)
	if err := p.tail.writer.journal.f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		first, err := p.Reserve(1, 1)
		if err == nil {
			c := queue.Commit{Sync: true, Items: []queue.Item{{Payload: []byte("x")}},
				Added: queue.Added{First: first, Count: 1, MinExpire: noMinExpire, MaxExpire: noMaxExpire}}
			p.state.Add(c.At, &c.Added)
			err = p.Commit(&c)
		}
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Fatalf("a commit after the journal failed: %v", err)
		}
	}
	_ = p.Close() // It cannot be closed in order.
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(s.options.Dir)); err != nil {
		t.Fatal(err)
	}
	got, _ := payloads(t, to)
	if len(got) == total+1 && got[total] == "x" {
		got = got[:total] // Whether it is there was not known.
	}
	wantItems(t, "failed", got, total)
}

// Commits with large values are in the journal, too, by pointers; it does not matter
// whether the power or the process goes.
func TestJournalLargeValues(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 5)
	r := rand.New(rand.NewPCG(1, 2))
	large := make([]byte, 3*valueThreshold)
	for i := range large {
		large[i] = byte(r.Uint32()) // Nothing that can be compressed.
	}
	text := string(large)
	w := p.tail.writer
	number, synced := w.journal.number, w.memSynced
	for range 4 {
		commitSmall(t, p, text, true)
		produceSmall(t, p, total, 1)
		total++
	}
	commitSmall(t, p, text, false)
	produceSmall(t, p, total, 1)
	total++
	if w.journal.number != number+9 || w.memSynced != synced {
		t.Fatalf("%d records were written, the log was synced: %v", w.journal.number-number, w.memSynced != synced)
	}
	for _, cut := range []bool{false, true} {
		got, reports := payloads(t, snapshot(t, s, p, cut))
		found := 0
		for _, payload := range got {
			if payload == text {
				found++
			}
		}
		wantItems(t, fmt.Sprintf("cut %v", cut), deleteLarge(got), total)
		if found != 5 || len(reports) > 0 {
			t.Errorf("cut %v: %d of 5 large items, reported %v", cut, found, reports)
		}
	}
}
