package badgerstore_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

func inode(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// newestLog returns the value log of the newest segment.
func newestLog(t testing.TB, dir string) string {
	t.Helper()
	dirs := segments(t, dir)
	return find(t, dirs[len(dirs)-1], "*.vlog")
}

// flow produces items and works them off, so many segments long, and calls each after
// each commit of new ones.
func (d *driver) flow(segments int, each func()) {
	d.t.Helper()
	for i := range segments * 26 {
		d.produce([]queue.Item{sizedItem(i, 40<<10)})
		if each != nil {
			each()
		}
		if i >= 20 {
			d.lease(1, false)
			d.complete(1)
		}
	}
}

// What flows through a queue is written to the same few value logs again and again.
func TestValueLogsAreUsedAgain(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20})
	logs, made := make(map[string]uint64), 0
	inodes := make(map[uint64]bool)
	most := uint64(0)
	d.flow(20, func() {
		badgerstore.WaitForBackground(d.s) // What it depends on is there then.
		path := newestLog(t, d.o.Dir)
		g, ok := badgerstore.GenerationOf(path)
		if !ok {
			t.Fatalf("the header of %s names no generation", path)
		}
		if _, seen := logs[path]; seen {
			return
		}
		most, logs[path] = max(most, g), g
		if g == 0 {
			made++
		} else if !inodes[inode(t, path)] {
			t.Errorf("%s has the generation %d, and is a new file", path, g)
		}
		inodes[inode(t, path)] = true
	})
	if len(logs) < 15 || made > 8 || most < 2 {
		t.Errorf("of %d value logs %d were made, %d the highest generation", len(logs), made, most)
	}
	d.kill(nil)
	d.lease(len(d.ready), true)
	d.flow(3, nil)
	d.reopen()
	d.complete(len(d.out))
	d.drain()
}

// What a value log held before is not there for anybody who looks at its segment.
func TestPastOfAValueLog(t *testing.T) {
	t.Parallel()
	var reports []string
	report := func(format string, args ...any) { reports = append(reports, fmt.Sprintf(format, args...)) }
	d := newDriver(t, badgerstore.Options{Events: badgerstore.Events{
		SetAside: func(_, to, reason string) { report("%s was set aside: %s", to, reason) },
		Dropped:  func(dir string, n int) { report("%d commits of %s were dropped", n, dir) },
	}})
	d.flow(1, nil)
	d.produce(jsonItems(0, 900))
	d.lease(900, true) // Its record is in the value log, and the first of its segment.
	d.complete(900)
	d.drain()
	d.reopen()
	old := newestLog(t, d.o.Dir)
	d.must(badgerstore.UseAgain(d.s, d.key.Queue, old))
	first := d.produce([]queue.Item{sizedItem(1, 20_000), sizedItem(2, 20_000)})
	d.kill(func(dir string) {
		dirs := segments(t, dir)
		var found []uint64
		faults, err := badgerstore.Salvage(dirs[len(dirs)-1], func(_ string, _ int, it *queue.Item) error {
			found = append(found, it.Seq())
			return nil
		})
		if err != nil || len(faults) > 0 || !slices.Equal(found, []uint64{first, first + 1}) {
			t.Errorf("there are %d items, %d faults, %v; want the two of the segment", len(found), len(faults), err)
		}
	})

	// The power goes when the segment has its files, and nothing is written to them.
	d.drain()
	d.reopen()
	d.must(badgerstore.UseAgain(d.s, d.key.Queue, old))
	before := len(segments(t, d.o.Dir))
	d.produce(jsonItems(0, 1))
	d.ready = nil
	d.kill(func(dir string) {
		dirs := segments(t, dir)
		newest := dirs[len(dirs)-1]
		mem := find(t, newest, "*.mem")
		info, err := os.Stat(mem)
		d.must(err)
		d.must(os.WriteFile(mem, make([]byte, 20), 0o600))
		d.must(os.Truncate(mem, info.Size()))
		d.must(os.Remove(filepath.Join(newest, "used")))
		if g, _ := badgerstore.GenerationOf(find(t, newest, "*.vlog")); g == 0 {
			t.Error("the value log is a new one")
		}
	})
	if n := len(segments(t, d.o.Dir)); n != before {
		t.Errorf("%d segments are there, want %d", n, before)
	}
	if len(reports) > 0 {
		t.Errorf("reported: %s", reports)
	}
}

// A value log that is spent goes when space is short, when the queue is not used any
// more, and at the end.
func TestSpentValueLogIsGivenBack(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20})
	isThere := func() bool {
		t.Helper()
		badgerstore.WaitForBackground(d.s)
		info, err := os.Stat(filepath.Join(partitionDir(t, d.o.Dir), "spent.vlog"))
		if err == nil && d.ps.Usage().DiskBytes < info.Size() {
			t.Errorf("%d bytes are used, and the spent value log has %d", d.ps.Usage().DiskBytes, info.Size())
		}
		return err == nil
	}
	spend := func() {
		t.Helper()
		d.flow(4, nil)
		for n := 0; !isThere(); n++ {
			if n == 1000 {
				t.Fatal("no value log was kept")
			}
			d.produce([]queue.Item{sizedItem(n, 40<<10)})
			d.drain()
		}
	}
	spend()
	badgerstore.FillDisk(d.s, true)
	if _, err := d.ps.Reserve(1, 100); err == nil {
		t.Error("the disk takes items")
	}
	if isThere() {
		t.Error("the disk is full, and the spent value log is there")
	}
	badgerstore.FillDisk(d.s, false)
	spend()
	d.must(d.ps.Maintain(true))
	if isThere() {
		t.Error("the queue is not used, and the spent value log is there")
	}
	spend()
	d.reopen()
	if isThere() {
		t.Error("the store was closed, and the spent value log is there")
	}
	spend()
	d.kill(nil)
	if isThere() {
		t.Error("the process was killed, and the spent value log is there after the next start")
	}
}

// A value log with another name, as a copy in the quarantine has it, is not written.
func TestSharedValueLogIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20})
	links, want := make(map[string]string), make(map[string][]byte)
	keep := t.TempDir()
	d.flow(10, func() {
		badgerstore.WaitForBackground(d.s)
		path := newestLog(t, d.o.Dir)
		if links[path] == "" {
			links[path] = filepath.Join(keep, fmt.Sprint(len(links)))
			d.must(os.Link(path, links[path]))
		}
	})
	d.drain()
	d.close()
	for path, link := range links {
		g, ok := badgerstore.GenerationOf(link)
		if !ok || g != 0 {
			t.Errorf("%s was used again: generation %d", path, g)
		}
		data, err := os.ReadFile(link)
		d.must(err)
		want[path] = bytes.TrimRight(data, "\x00")
	}
	if len(want) < 5 {
		t.Errorf("%d value logs", len(want))
	}
	d.open()
}
