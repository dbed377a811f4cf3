package badgerstore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// eventually waits for what the store does in the background.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not after 20 s", what)
		}
	}
}

func partitionDir(t testing.TB, dir string) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, "*-partition"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("partitions in %s: %v, %v", dir, dirs, err)
	}
	return dirs[0]
}

// segments returns the directories of the partition's segments, in order.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(partitionDir(t, dir), strings.Repeat("[0-9]", 20)))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func find(t testing.TB, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, files, err)
	}
	return files[0]
}

func TestLife(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	for i := range 5 {
		d.produce(jsonItems(i*100, 100))
		d.lease(30, i%2 == 0)
		d.complete(10)
		d.reopen()
	}
	if got := d.st.Totals.Ledger.Completed; got != 50 {
		t.Errorf("completed %d, want 50", got)
	}
	for seq, l := range d.st.Leases {
		if l.Size == 0 || l.Created == 0 || l.Expire == 0 {
			t.Errorf("the lease of item %d lacks what its item says: %+v", seq, *l)
		}
	}
	items := d.lease(1, true)
	if want := jsonItem(150); !bytes.Equal(items[0].Payload, want.Payload) {
		t.Errorf("item 150 is %q, want %q", items[0].Payload, want.Payload)
	}
	d.drain()
}

func TestManySmallCommits(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{MemoryBudget: 1 << 20})
	for i := range 2000 {
		d.produce(jsonItems(i, 1))
	}
	if n := d.ps.Usage().Segments; n < 3 {
		t.Errorf("%d segments after 2000 commits, want several", n)
	}
	d.reopen()
	d.drain()
	eventually(t, "segments that are done are removed", func() bool {
		d.must(d.ps.Maintain(false))
		return d.ps.Usage().Segments == 1 && len(segments(t, d.o.Dir)) <= 2 // The next one may be prepared.
	})
}

func TestBigCommits(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 10))
	big := []queue.Item{sizedItem(1, 5_000_000)}
	d.produce(big)
	var many []queue.Item
	for i := range 240 {
		many = append(many, sizedItem(i, 250<<10))
	}
	d.produce(many) // 60 MB in one commit.
	d.produce(jsonItems(10, 10))
	d.kill(nil)
	d.lease(10, true)
	if got := d.lease(1, true); !bytes.Equal(got[0].Payload, sizedItem(1, 5_000_000).Payload) {
		t.Error("the item of 5 MB came back changed")
	}
	for i := range many {
		if got := d.lease(1, false); !bytes.Equal(got[0].Payload, many[i].Payload) {
			t.Fatalf("item %d of the 60 MB commit came back changed", i)
		}
	}
	d.drain()
}

// A commit of blocks that are small only when compressed must not overflow the
// memtable, whose rotation would leave commits unsynced.
func TestBigCommitThatCompresses(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	items := make([]queue.Item, 60)
	for i := range items {
		items[i].Payload = make([]byte, 1_000_000)
	}
	d.produce(items)
	dirs := segments(t, d.o.Dir)
	find(t, dirs[len(dirs)-1], "*.mem")
	find(t, dirs[len(dirs)-1], "*.vlog")
	d.drain()
}

func TestSpaceComesBackAtOnce(t *testing.T) {
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20})
	var top int64
	for round := range 4 {
		for i := range 40 {
			d.produce([]queue.Item{sizedItem(round*40+i, 100<<10)})
		}
		top = max(top, d.ps.Usage().DiskBytes)
		d.drain()
	}
	if top < 4_000_000 {
		t.Errorf("4 MB of items took %d bytes", top)
	}
	eventually(t, "done segments are removed", func() bool {
		d.must(d.ps.Maintain(false))
		return d.ps.Usage().Segments == 1
	})
	d.must(d.ps.Maintain(true))
	eventually(t, "an empty partition is small", func() bool {
		d.must(d.ps.Maintain(true))
		u := d.ps.Usage()
		return u.DiskBytes < 64<<10 && u.Open == 0
	})
	d.reopen()
	d.produce(jsonItems(0, 3))
	d.drain()
}

// While a backlog is worked off in small steps, the segments that only take
// records do not pile up behind it.
func TestRecordsDoNotPileUp(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20, MemoryBudget: 1 << 20})
	for i := range 8 {
		d.produce([]queue.Item{sizedItem(i, 1<<20)})
	}
	d.produce(jsonItems(0, 3500))
	backlog := d.ps.Usage().Segments
	for range 8 {
		d.lease(1, false) // Leased for long: their segments stay.
	}
	held := d.out
	d.out = nil
	for range 3200 {
		d.lease(1, false)
		d.complete(1)
	}
	d.out = append(d.out, held...)
	if got := d.ps.Usage().Segments; got > backlog+2 {
		t.Errorf("%d segments after working off 3200 of 3500 items, %d before", got, backlog)
	}
	d.reopen()
	d.drain()
}

// A partition with a backlog that is idle again and again does not grow by a
// segment each time.
func TestIdleAndBack(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	for i := range 10 {
		it := jsonItem(i)
		it.SourceID = "source-" + string(rune('a'+i))
		d.produce([]queue.Item{it})
		d.must(d.ps.Maintain(true))
		for j := range i + 1 {
			seq, found, err := d.ps.FindSource("source-" + string(rune('a'+j)))
			if err != nil || !found || seq != d.ready[j] {
				t.Fatalf("source %d: %d, %v, %v, want %d", j, seq, found, err, d.ready[j])
			}
		}
	}
	if u := d.ps.Usage(); u.Segments != 1 {
		t.Errorf("%d segments, want 1", u.Segments)
	}
	d.produce(jsonItems(10, 1))
	d.kill(nil)
	for j := range 10 {
		if _, found, err := d.ps.FindSource("source-" + string(rune('a'+j))); err != nil || !found {
			t.Errorf("source %d after a kill: %v, %v", j, found, err)
		}
	}
	d.drain()
}

func TestKill(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{MemoryBudget: 1 << 20})
	for round := range 6 {
		for i := range 120 {
			d.produce(jsonItems(i, 1+i%7))
		}
		d.lease(100, false)
		d.complete(50)
		if round%2 == 0 {
			d.lease(20, false) // Not synced, but in the kernel's hands.
		}
		d.kill(nil)
	}
	d.drain()
}

// A power cut may tear whatever was not synced; everything before stays.
func TestTornEnd(t *testing.T) {
	tears := map[string]func(mem []byte, end int){
		"zeros":   func(mem []byte, end int) { clear(mem[end:]) },
		"flipped": func(mem []byte, end int) { mem[end+40] ^= 1 },
		"garbage": func(mem []byte, end int) {
			for i := end + 10; i < end+500 && i < len(mem); i++ {
				mem[i] = byte(i * 7)
			}
		},
		"cut in the middle": func(mem []byte, end int) { clear(mem[end+30:]) },
	}
	for name, tear := range tears {
		t.Run(name, func(t *testing.T) {
			var dropped int
			d := newDriver(t, badgerstore.Options{Events: badgerstore.Events{Dropped: func(string, int) { dropped++ }}})
			d.produce(jsonItems(0, 20))
			d.produce(jsonItems(20, 20))
			end := logEnd(t, d)
			out, ready := d.out, d.ready
			d.lease(7, false)
			d.lease(2, false)
			if logEnd(t, d) <= end {
				t.Fatal("leases wrote nothing")
			}
			d.out, d.ready = out, ready // Never acknowledged as on flash.
			d.kill(func(dir string) {
				dirs := segments(t, dir)
				path := find(t, dirs[len(dirs)-1], "*.mem")
				mem, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				tear(mem, end)
				if err := os.WriteFile(path, mem, 0o600); err != nil {
					t.Fatal(err)
				}
			})
			first := d.ready[len(d.ready)-1]
			if again := d.produce(jsonItems(40, 1)); again <= first {
				t.Errorf("sequence number %d is not beyond %d", again, first)
			}
			d.drain()
		})
	}
}

// logEnd returns where the log of the tail's memtable ends.
func logEnd(t *testing.T, d *driver) int {
	t.Helper()
	dirs := segments(t, d.o.Dir)
	mem, err := os.ReadFile(find(t, dirs[len(dirs)-1], "*.mem"))
	if err != nil {
		t.Fatal(err)
	}
	return len(bytes.TrimRight(mem, "\x00"))
}

// A value that did not reach the flash before the pointer to it: the commit was
// never acknowledged.
func TestTornValue(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce([]queue.Item{sizedItem(0, 100<<10)})
	ready := d.ready
	d.lazy = true
	d.produce([]queue.Item{sizedItem(1, 100<<10)})
	d.lazy = false
	d.ready = ready
	d.kill(func(dir string) {
		dirs := segments(t, dir)
		path := find(t, dirs[len(dirs)-1], "*.vlog")
		values, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(values[150<<10:])
		if err := os.WriteFile(path, values, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	// When the segment is not the newest any more, nothing tells the rest of that
	// commit from damage, so that nothing of it may be left.
	d.produce(jsonItems(0, 5))
	wantSound(t, d)
	d.drain()
}

// wantSound checks that a copy of the store is without faults, and that a back-up of
// it lacks nothing.
func wantSound(t *testing.T, d *driver) {
	t.Helper()
	dir := t.TempDir()
	copyDir(t, d.o.Dir, dir)
	_, err := badgerstore.Verify(dir, func(f badgerstore.Fault) { t.Errorf("%s: %s", f.Path, f.Reason) })
	d.must(err)
	s, err := badgerstore.New(badgerstore.Options{Dir: dir, Boot: "boot-1"})
	d.must(err)
	defer s.Close()
	ps, err := s.OpenPartition(d.key)
	d.must(err)
	defer ps.Close()
	b, err := ps.(queue.BackupStore).BeginBackup(nil)
	d.must(err)
	defer b.End()
	for {
		piece, err := b.Next(1 << 20)
		if errors.Is(err, io.EOF) {
			return
		}
		d.must(err)
		if piece != nil && piece.Lost != "" {
			t.Error(piece.Lost)
		}
	}
}

// Damage of what was on flash is an error that names the place.
func TestDamagedRecord(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	for i := range 10 {
		d.produce([]queue.Item{sizedItem(i, 100<<10)})
	}
	dir := t.TempDir()
	copyDir(t, d.o.Dir, dir)
	dirs := segments(t, dir)
	path := find(t, dirs[0], "*.vlog")
	values, err := os.ReadFile(path)
	d.must(err)
	values[350<<10] ^= 4
	d.must(os.WriteFile(path, values, 0o600))
	s, err := badgerstore.New(badgerstore.Options{Dir: dir, Boot: "boot-1"})
	d.must(err)
	defer s.Close()
	ps, err := s.OpenPartition(d.key)
	if err == nil {
		defer ps.Close()
		for from := uint64(0); err == nil && from < ps.State().Next; {
			_, from, err = ps.Read(from, 1, 1)
		}
	}
	if !errors.Is(err, queue.ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(dirs[0])) {
		t.Errorf("reading a damaged item: %v, want an error of kind ErrCorrupt that names %s", err, dirs[0])
	}
}

// What an interrupted creation or removal leaves behind is removed.
func TestLeftovers(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 5))
	d.kill(func(dir string) {
		p := partitionDir(t, dir)
		// A segment whose directory was made and no more, one with a database
		// that holds nothing, one that was being removed, a partition too.
		d.must(os.Mkdir(filepath.Join(p, "00000000001677721600"), 0o700))
		d.must(os.MkdirAll(filepath.Join(p, "00000000003355443200.removed", "x"), 0o700))
		d.must(os.MkdirAll(filepath.Join(dir, "gone-000000-partition.removed", "x"), 0o700))
	})
	for _, dir := range []string{d.o.Dir, partitionDir(t, d.o.Dir)} {
		left, err := filepath.Glob(filepath.Join(dir, "*.removed"))
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	}
	if dirs := segments(t, d.o.Dir); len(dirs) != 1 {
		t.Errorf("segments: %v, want one", dirs)
	}
	if first := d.produce(jsonItems(5, 1)); queue.Span(first) <= 200 {
		t.Errorf("item %d is in span %d, want beyond those that left a trace", first, queue.Span(first))
	}
	d.drain()
}

// Badger cannot open a directory with an empty log file, and would delete the
// tables of one without a MANIFEST.
func TestEmptyLogFiles(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 5))
	d.reopen()
	d.kill(func(dir string) {
		s := segments(t, dir)[0]
		d.must(os.WriteFile(filepath.Join(s, "00009.mem"), nil, 0o600))
		d.must(os.WriteFile(filepath.Join(s, "000009.vlog"), nil, 0o600))
	})
	d.drain()
}

func TestNoManifest(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 5))
	d.reopen()
	d.kill(func(dir string) { d.must(os.Remove(filepath.Join(segments(t, dir)[0], "MANIFEST"))) })
	checkAside(t, d)
	d.drain()
}

// checkAside checks that one segment was set aside, with its table.
func checkAside(t *testing.T, d *driver) {
	t.Helper()
	aside, err := filepath.Glob(filepath.Join(partitionDir(t, d.o.Dir), "quarantine", "*"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside: %v, %v, want one", aside, err)
	}
	find(t, aside[0], "*.sst")
}

// A MANIFEST that lost its end names no tables: Badger would delete them.
func TestCutManifest(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 5))
	d.reopen()
	d.kill(func(dir string) {
		manifest := filepath.Join(segments(t, dir)[0], "MANIFEST")
		info, err := os.Stat(manifest)
		d.must(err)
		d.must(os.Truncate(manifest, info.Size()-5))
	})
	checkAside(t, d)
	d.drain()
}

// The index of source ids is made again when it is gone or damaged.
func TestSourceIndexRebuilt(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	it := jsonItem(1)
	it.SourceID = "a-source"
	d.produce([]queue.Item{jsonItem(0), it})
	d.reopen()
	for _, damage := range []func(path string) error{
		os.Remove,
		func(path string) error { return os.WriteFile(path, []byte("nonsense"), 0o600) },
	} {
		d.kill(func(dir string) { d.must(damage(filepath.Join(segments(t, dir)[0], "sources.idx"))) })
		seq, found, err := d.ps.FindSource("a-source")
		if err != nil || !found || seq != d.ready[1] {
			t.Errorf("source: %d, %v, %v, want %d", seq, found, err, d.ready[1])
		}
		if _, found, err := d.ps.FindSource("another"); err != nil || found {
			t.Errorf("another source: %v, %v", found, err)
		}
	}
	d.drain()
}

func TestReadOnlyDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := badgerstore.New(badgerstore.Options{Dir: dir, Boot: "boot-1"})
		if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), dir) {
			t.Errorf("New(%s): %v, want an error of kind ErrUnavailable that names it", dir, err)
		}
	}
	if _, err := os.Stat(filepath.Join(file, "below")); errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}
