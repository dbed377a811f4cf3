package badgerstore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// openUnder returns the files in dir that this process has open.
func openUnder(t *testing.T, dir string) []string {
	t.Helper()
	var open []string
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(path, dir+"/") {
			open = append(open, path)
		}
	}
	return open
}

// A partition that yields has one file open and takes little memory, is read as it is,
// and writes on where it was. Neither costs a byte or a sync on the device, and a power
// cut or a kill at any moment of it takes nothing.
func TestYield(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 5)
	rounds := 100
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		before, memory := p.Usage(), s.writing.Load()
		w := p.tail.writer
		if err := p.Yield(); err != nil {
			t.Fatal(err)
		}
		if open := openUnder(t, w.dir); !w.asleep.is || len(open) != 1 || open[0] != w.memFile.Name() {
			t.Fatalf("round %d: it is asleep: %v, and these files are open: %q", round, w.asleep.is, open)
		}
		if now := s.writing.Load(); now > memory/4 {
			t.Fatalf("it takes %d bytes of memory, %d when it is awake", now, memory)
		}
		u := p.Usage()
		if u.Written != before.Written || u.Syncs != before.Syncs || u.DiskBytes < before.DiskBytes || u.Open != before.Open-1 {
			t.Fatalf("round %d: it was %+v, and is %+v", round, before, u)
		}
		if round%20 == 0 {
			survives(t, s, p, "asleep", total, true)
		}
		produceSmall(t, p, total, 1+round%5)
		total += 1 + round%5
		if n := s.writing.Load(); p.tail.writer == w && n < memory {
			t.Fatalf("it takes %d bytes of memory, %d before it slept", n, memory)
		}
	}
	if err := p.Yield(); err != nil {
		t.Fatal(err)
	}
	items, _, err := Flat(p.Read(0, total+1, 1<<30))
	if err != nil || len(items) != total {
		t.Fatalf("%d of %d items are read while it sleeps: %v", len(items), total, err)
	}
	survives(t, s, p, "read while asleep", total, false)
}

// What lies in the value log is read while the partition sleeps, and no file stays open
// for it.
func TestYieldReadsValues(t *testing.T) {
	t.Parallel()
	_, p := openForTest(t, Options{})
	sizes := []int{10, 2 * valueThreshold, 2 * mappedValue}
	for i, n := range sizes {
		commitSmall(t, p, strings.Repeat(string(rune('a'+i)), n), true)
	}
	if err := p.Yield(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		items, _, err := Flat(p.Read(0, 10, 1<<30))
		if err != nil || len(items) != len(sizes) {
			t.Fatalf("%d items: %v", len(items), err)
		}
		for i, n := range sizes {
			if want := bytes.Repeat([]byte{byte('a' + i)}, n); !bytes.Equal(items[i].Payload, want) {
				t.Errorf("item %d is not what was produced", i)
			}
		}
	}
	if open := openUnder(t, p.tail.dir); len(open) != 1 {
		t.Errorf("these files are open: %q", open)
	}
}

// A partition that slept and is not used for long is closed, as one that did not sleep,
// and gives back what was reserved.
func TestYieldThenIdle(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	total := withJournal(t, p, 5)
	for round := range 3 {
		if err := p.Yield(); err != nil {
			t.Fatal(err)
		}
		u := p.Usage()
		// What was closed once has a table, which is not kept open; a new segment takes
		// its place.
		slept := p.tail != nil
		if slept != (round != 1) {
			t.Errorf("round %d: it sleeps: %v", round, slept)
		}
		if err := p.Maintain(true); err != nil {
			t.Fatal(err)
		}
		noJournals(t, s.options.Dir)
		if now := p.Usage(); now.Open != 0 || slept && now.DiskBytes >= u.DiskBytes {
			t.Errorf("it was %+v, and is %+v", u, now)
		}
		produceSmall(t, p, total, 1)
		total++
		survives(t, s, p, "after it was closed", total, false)
	}
}

// Where memory is short a partition that yields is closed.
func TestYieldWithoutMemory(t *testing.T) {
	t.Parallel()
	s, p := openForTest(t, Options{})
	produceSmall(t, p, 0, 3)
	s.asleep.Add(s.options.MemoryBudget)
	defer s.asleep.Add(-s.options.MemoryBudget)
	if err := p.Yield(); err != nil {
		t.Fatal(err)
	}
	if p.tail != nil || p.resting == nil {
		t.Error("it is not closed")
	}
	produceSmall(t, p, 3, 1)
	got, _ := payloads(t, snapshot(t, s, p, true))
	wantItems(t, "closed", got, 4)
}

// When a file is gone that a partition needs to wake up, it fails and says so; the
// files stay as they are.
func TestYieldAndFileGone(t *testing.T) {
	t.Parallel()
	s, p := openStore(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Boot: "boot"})
	defer s.Close()
	produceSmall(t, p, 0, 3)
	if err := p.Yield(); err != nil {
		t.Fatal(err)
	}
	dir, name := p.tail.dir, filepath.Join(p.tail.dir, valueLogName(p.tail.writer.valueNumber))
	if err := os.Rename(name, name+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Reserve(1, 10); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("it goes on without its value log: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if open := openUnder(t, dir); len(open) != 0 {
		t.Errorf("these files are open: %q", open)
	}
	if err := os.Rename(name+".away", name); err != nil {
		t.Fatal(err)
	}
	p = openAgain(t, s)
	if items, _, err := Flat(p.Read(0, 10, 1<<20)); err != nil || len(items) != 3 {
		t.Errorf("%d items are there afterwards: %v", len(items), err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A partition that sleeps when it is closed is not woken: what only its journal had is
// in its log, what was reserved is given back, and everything is there afterwards.
func TestYieldThenClose(t *testing.T) {
	t.Parallel()
	for _, journal := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "store")
		s, p := openStore(t, Options{Dir: dir, Boot: "boot"})
		total := 3
		if journal {
			total = withJournal(t, p, 5)
		} else {
			produceSmall(t, p, 0, total)
		}
		if err := p.Yield(); err != nil {
			t.Fatal(err)
		}
		segment, before := p.tail.dir, p.Usage().DiskBytes
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if held := s.asleep.Load() + s.writing.Load(); held != 0 {
			t.Errorf("%d bytes of memory are counted", held)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		noJournals(t, dir)
		if open := openUnder(t, dir); len(open) != 0 {
			t.Errorf("these files are open: %q", open)
		}
		if now := diskBytes(segment); now > before/2 {
			t.Errorf("it occupies %d bytes, and %d before", now, before)
		}
		got, reports := payloads(t, dir)
		wantItems(t, fmt.Sprintf("closed, with a journal: %v", journal), got, total)
		if len(reports) > 0 {
			t.Error(reports)
		}
	}
}

// Of many partitions that take turns some sleep, and leave memory to those that are
// busy; the others are closed and opened again, which does not make a segment each time.
func TestYieldOfMany(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Dir: filepath.Join(t.TempDir(), "store"), Boot: "boot", MemoryBudget: 2 << 20, MaxOpen: 1})
	if err != nil {
		t.Fatal(err)
	}
	var all []*partition
	for i := range 140 {
		ps, err := s.OpenPartition(queue.PartitionKey{Queue: fmt.Sprint("q", i), Tag: queue.Tag{byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ps.(*partition))
	}
	const turns = 6
	for turn := range turns {
		for _, p := range all {
			produceSmall(t, p, turn, 1)
			if err := p.Yield(); err != nil {
				t.Fatal(err)
			}
		}
	}
	asleep, most := 0, 0
	for _, p := range all {
		if p.tail != nil {
			asleep++
		}
		most = max(most, len(p.segments))
	}
	if asleep < 100 || asleep == len(all) || most > 2 {
		t.Errorf("%d of %d sleep, and there are up to %d segments after %d turns", asleep, len(all), most, turns)
	}
	if !s.hasRoom(journalMemory) {
		t.Errorf("no memory is left to those that are busy: %d of %d bytes", s.writing.Load(), s.options.MemoryBudget)
	}
	for _, p := range all {
		if items, _, err := Flat(p.Read(0, 100, 1<<20)); err != nil || len(items) != turns {
			t.Errorf("%s has %d items, want %d: %v", p.key.Queue, len(items), turns, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := s.asleep.Load() + s.writing.Load(); n != 0 {
		t.Errorf("%d bytes of memory are counted", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
