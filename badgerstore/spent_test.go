package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
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
	logs, made := make(map[string]bool), 0
	inodes, stamps := make(map[uint64]bool), make(map[uint64]bool)
	d.flow(20, func() {
		badgerstore.WaitForBackground(d.s) // What it depends on is there then.
		path := newestLog(t, d.o.Dir)
		stamp, ok := badgerstore.StampOf(path)
		if !ok {
			t.Fatalf("the header of %s names no stamp", path)
		}
		if logs[path] {
			return
		}
		logs[path] = true
		if stamp == 0 {
			made++
		} else if !inodes[inode(t, path)] || stamps[stamp] {
			t.Errorf("%s has the stamp %d, which was there before (%t), or is a new file", path, stamp, stamps[stamp])
		}
		stamps[stamp] = true
		inodes[inode(t, path)] = true
	})
	if len(logs) < 15 || made > 8 {
		t.Errorf("of %d value logs %d were made", len(logs), made)
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
	// An item that is a back-up of another store's files, which was used in the same way.
	other := newDriver(t, badgerstore.Options{})
	other.produce(jsonItems(0, 1))
	other.reopen()
	d.must(badgerstore.UseAgain(other.s, other.key.Queue, nil, old))
	other.produce(jsonItems(0, 900))
	other.lease(900, true)
	badgerstore.WaitForBackground(other.s)
	foreign, err := os.ReadFile(newestLog(t, other.o.Dir))
	d.must(err)
	foreign = bytes.TrimRight(foreign, "\x00")
	d.must(badgerstore.UseAgain(d.s, d.key.Queue, foreign, old))
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
	d.must(badgerstore.UseAgain(d.s, d.key.Queue, foreign, old))
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
		if g, _ := badgerstore.StampOf(find(t, newest, "*.vlog")); g == 0 {
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
		g, ok := badgerstore.StampOf(link)
		if !ok || g != 0 {
			t.Errorf("%s was used again: stamp %d", path, g)
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

// Damage of the last value is seen in a log with a past, too.
func TestVerifyOfALogWithAPast(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		d := newDriver(t, badgerstore.Options{Dir: filepath.Join(t.TempDir(), "store")})
		d.flow(1, nil)
		d.drain()
		d.reopen()
		if again {
			d.must(badgerstore.UseAgain(d.s, d.key.Queue, nil, newestLog(t, d.o.Dir)))
		}
		d.produce(jsonItems(0, 900))
		d.lease(900, true) // Its record is the last value.
		path := newestLog(t, d.o.Dir)
		d.reopen()
		d.produce(jsonItems(0, 1))
		d.close()
		data, err := os.ReadFile(path)
		d.must(err)
		data[len(data)-1] ^= 1
		d.must(os.WriteFile(path, data, 0o600))
		faults := 0
		_, err = badgerstore.Verify(d.o.Dir, func(badgerstore.Fault) { faults++ })
		d.must(err)
		if stamp, _ := badgerstore.StampOf(path); faults == 0 || again != (stamp > 0) {
			t.Errorf("%d faults with the stamp %d", faults, stamp)
		}
		d.must(os.RemoveAll(d.o.Dir)) // It is not sound.
	}
}

// A partition that gives way to others keeps nothing for later.
func TestYieldKeepsNoSpentBlocks(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 4 << 20})
	d.flow(5, nil)
	for n := 0; ; n++ {
		d.flow(4, nil)
		if stamp, _ := badgerstore.StampOf(newestLog(t, d.o.Dir)); stamp > 0 {
			break
		}
		if n == 20 {
			t.Fatal("no value log is used again")
		}
	}
	d.drain()
	d.must(d.ps.Maintain(false))
	if n := badgerstore.SpentBytes(d.s); n == 0 {
		t.Error("nothing counts as used again")
	}
	d.must(d.ps.Yield())
	if n := badgerstore.SpentBytes(d.s); n != 0 {
		t.Errorf("%d bytes count as used again", n)
	}
	// The tail holds what it held; the rest of its file is given back.
	logs, err := filepath.Glob(filepath.Join(partitionDir(t, d.o.Dir), "0*", "*.vlog"))
	d.must(err)
	for _, path := range logs {
		var st unix.Stat_t
		d.must(unix.Stat(path, &st))
		data, err := os.ReadFile(path)
		d.must(err)
		if used := int64(len(bytes.TrimRight(data, "\x00"))); st.Blocks*512 > used+1<<20 {
			t.Errorf("%s holds %d bytes in %d", path, used, st.Blocks*512)
		}
	}
	d.produce(jsonItems(0, 300))
	d.kill(nil)
}

// A store whose queues have no value logs stays one that older programs can use.
func TestFormatWithoutSpentLogs(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20})
	for i := range 1200 {
		d.produce([]queue.Item{sizedItem(i, 3000)})
		d.drain()
	}
	badgerstore.WaitForBackground(d.s)
	if n := len(segments(t, d.o.Dir)); n > 6 {
		t.Errorf("%d segments are left", n)
	}
	text, err := os.ReadFile(filepath.Join(d.o.Dir, "FORMAT"))
	if err != nil || bytes.HasPrefix(text, []byte("7 ")) {
		t.Errorf("FORMAT is %q, %v", text, err)
	}
}

// A segment that was made ahead of such a value log gives it up when space is short.
func TestPreparedSegmentGivesBackSpentBlocks(t *testing.T) {
	t.Parallel()
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20})
	isPrepared := func() bool {
		badgerstore.WaitForBackground(d.s)
		dirs := segments(t, d.o.Dir)
		if len(dirs) == 0 {
			return false
		}
		newest := dirs[len(dirs)-1]
		_, err := os.Stat(filepath.Join(newest, "used"))
		stamp, _ := badgerstore.StampOf(find(t, newest, "*.vlog"))
		return errors.Is(err, fs.ErrNotExist) && stamp > 0
	}
	for n := 0; !isPrepared(); n++ {
		if n == 1000 {
			t.Fatal("no segment was made ahead of a spent value log")
		}
		d.produce([]queue.Item{sizedItem(n, 40<<10)})
		d.drain()
	}
	badgerstore.FillDisk(d.s, true)
	if _, err := d.ps.Reserve(1, 100); err == nil {
		t.Error("the disk takes items")
	}
	badgerstore.WaitForBackground(d.s)
	if n := badgerstore.SpentBytes(d.s); n != 0 || isPrepared() {
		t.Errorf("the disk is full, and %d bytes count as used again", n)
	}
	badgerstore.FillDisk(d.s, false)
	d.produce(jsonItems(0, 100))
	d.kill(nil)
	d.drain()
}
