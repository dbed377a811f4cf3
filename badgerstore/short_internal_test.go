package badgerstore

// These tests look at how segments are made where space is short.

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// openStore opens a storage and a partition of it, which the caller closes.
func openStore(t *testing.T, o Options) (*Storage, *partition) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, openAgain(t, s)
}

// openAgain opens the partition of openStore.
func openAgain(t *testing.T, s *Storage) *partition {
	t.Helper()
	ps, err := s.OpenPartition(queue.PartitionKey{Queue: "q", Tag: queue.Tag{1}})
	if err != nil {
		t.Fatal(err)
	}
	return ps.(*partition)
}

// openForTest opens a storage that is closed with the test.
func openForTest(t *testing.T, o Options) (*Storage, *partition) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Dir, o.Boot = filepath.Join(o.Dir, "store"), "boot"
	s, p := openStore(t, o)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, p
}

// Where space is short a lean segment is ready before it is needed, and is taken
// when there is no room for another one, not even of ballast.
func TestSpareSegment(t *testing.T) {
	s, p := openForTest(t, Options{})
	reserve := func() {
		t.Helper()
		if _, err := p.Reserve(0, 0); err != nil {
			t.Fatal(err)
		}
	}
	reserve()
	if p.prepareNext(); p.next != nil {
		t.Fatal("a segment is prepared although there is space and the tail is empty")
	}
	free, err := freeSpace(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.plenty.Store(0)
	s.options.MinFree = free / (shortSpace - 1)
	if p.prepareNext(); p.next == nil {
		t.Fatal("no segment is prepared although space is short")
	}
	lean, usual := p.next.sizes, p.sizesFor(minMemTable, demand{}, 0)
	if <-p.next.ready; p.next.err != nil || lean.space() > usual.space()*2/3 {
		t.Fatalf("the spare takes %d bytes, a usual segment %d; error %v", lean.space(), usual.space(), p.next.err)
	}
	spare := p.next.span
	if err := p.roll(p.demand(0, 0)); err != nil {
		t.Fatal(err)
	}
	if p.tail.span != spare {
		t.Errorf("the tail is segment %d, the spare was %d", p.tail.span, spare)
	}
	reserve()
	p.discardNext()
	p.background.Wait()
	// A spare that failed is tried again, after a while.
	p.next = &prepared{dir: filepath.Join(p.dir, segmentName(p.takeSpan())), ready: make(chan struct{}), err: queue.ErrFull}
	close(p.next.ready)
	p.prepareAt = time.Since(s.started) + time.Hour
	if p.prepareNext(); p.next.err == nil {
		t.Error("it is tried again at once")
	}
	p.prepareAt = 0
	if p.prepareNext(); p.next == nil || p.next.hasFailed() {
		t.Error("it is not tried again")
	}
}

// Where space is short segments are sealed, which gives back what is reserved of them,
// but for the one that somebody close behind the writer reads.
func TestFewStayOpenWhereSpaceIsShort(t *testing.T) {
	s, p := openForTest(t, Options{MemoryBudget: 64 << 20, SegmentBytes: leastSegment})
	open := func() (n int) {
		for _, g := range p.segments {
			if g.writer != nil && g != p.tail {
				n++
			}
		}
		return n
	}
	for len(p.segments) < 2*spares {
		commitSmall(t, p, strings.Repeat("x", 100<<10), false)
	}
	if n := open(); n != spares {
		t.Fatalf("%d segments stay open, want %d", n, spares)
	}
	free, err := freeSpace(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.plenty.Store(0)
	s.options.MinFree = free / (shortSpace - 1)
	if err := p.Maintain(false); err != nil {
		t.Fatal(err)
	}
	if n := open(); n > 1 {
		t.Errorf("%d segments stay open although space is short", n)
	}
}

// A segment is never larger than what its files can say of a place in it, whatever is
// asked for.
func TestSegmentsAreBounded(t *testing.T) {
	o := Options{SegmentBytes: 1 << 40}.withDefaults()
	if end := o.SegmentBytes + recordSlack; end > math.MaxInt32 {
		t.Errorf("a value log may have %d bytes", end)
	}
}

// The ballast is given up as far as is needed, and made whole again.
func TestBallastIsGivenBitByBit(t *testing.T) {
	dir := t.TempDir()
	keepBallast(dir, ballastSize, 0)
	path := filepath.Join(dir, ballastName)
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if os.IsNotExist(err) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	whole := size()
	if whole != ballastSize {
		t.Fatalf("the ballast has %d bytes, want %d", whole, ballastSize)
	}
	giveBallast(path, whole, 1)
	if got := size(); got != whole-ballastPiece {
		t.Errorf("%d bytes are left of %d when 1 is needed", got, whole)
	}
	giveBallast(path, size(), 1<<20)
	if got := size(); got != whole-ballastPiece-1<<20 {
		t.Errorf("%d bytes are left of %d", got, whole)
	}
	giveBallast(path, size(), whole)
	if got := size(); got != 0 {
		t.Errorf("%d bytes are left when all is needed", got)
	}
	keepBallast(dir, ballastSize, 0)
	giveBallast(path, whole, 1)
	if keepBallast(dir, ballastSize, 0); size() != whole {
		t.Errorf("%d bytes are there when there is room again, want %d", size(), whole)
	}
}

// Where items have filled the disk up to the floor, the ballast is made again of what
// is left, but not of what spare segments are made of.
func TestBallastComesBack(t *testing.T) {
	const floor = 8 << 20
	for free, want := range map[int64]int64{floor: 3 << 20, floor / 2: 0} {
		disk := tinyDisk(t, 24<<20)
		f, err := os.Create(filepath.Join(disk, "items"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := allocate(f, 0, 24<<20-free); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		keepBallast(disk, ballastSize, floor)
		info, err := os.Stat(filepath.Join(disk, ballastName))
		if want == 0 && !os.IsNotExist(err) || want > 0 && (err != nil || info.Size() != want) {
			t.Errorf("with %d bytes free: ballast %v, %v, want %d bytes", free, info, err, want)
		}
	}
}

// On a small file system segments are small, since space is freed by segments.
func TestSegmentsFitTheFileSystem(t *testing.T) {
	s, _ := openForTest(t, Options{})
	st, err := statfs(s.options.Dir)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{SegmentBytes: 1 << 50}
	o.fitSegments(s.options.Dir)
	if want := int64(st.Blocks) * int64(st.Bsize) / segmentShare; o.SegmentBytes != want {
		t.Errorf("a segment takes %d bytes, want %d", o.SegmentBytes, want)
	}
}

// Items that are there may be copied where there is no room for new ones.
func TestReserveMove(t *testing.T) {
	disk := tinyDisk(t, 24<<20)
	s, p := openForTest(t, Options{Dir: disk})
	produceSmall(t, p, 0, 1)
	left := func(free int64) (release func()) {
		t.Helper()
		path := filepath.Join(disk, "other")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		now, err := freeSpace(disk)
		if err == nil {
			err = allocate(f, 0, now-free)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Remove(path) }
	}
	release := left(s.options.MinFree)
	s.plenty.Store(0)
	if _, err := p.Reserve(1, 1); !errors.Is(err, queue.ErrFull) {
		t.Errorf("room for a new item: %v, want ErrFull", err)
	}
	if _, err := p.ReserveMove(10, 1<<20); err != nil {
		t.Errorf("room for items that are there: %v", err)
	}
	release()
	defer left(s.options.MinFree / 2)()
	if _, err := p.ReserveMove(1, 1); !errors.Is(err, queue.ErrFull) {
		t.Errorf("room for items that are there, at half the floor: %v, want ErrFull", err)
	}
	if _, err := p.Reserve(0, 0); err != nil {
		t.Errorf("room for a record: %v", err)
	}
}

// The process may end in the middle of a value, whatever the size of the logs, which
// hangs on the file system and on commits. That is no damage.
func TestTornValueOfAnySize(t *testing.T) {
	for _, values := range []int64{1 << 20, 1<<20 + 12345, 5510848} {
		dir := filepath.Join(t.TempDir(), "s")
		w, err := createTail(dir, 1, sizes{mem: minMemTable, values: values, threshold: valueThreshold}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		key, value := headerKey(), bytes.Repeat([]byte("x"), 20000)
		if err := w.write([]entry{{key: key, value: value}}); err != nil {
			t.Fatal(err)
		}
		torn := appendRaw(nil, 0, blockKey(1), 9, value)
		if _, err := w.valueFile.WriteAt(torn[:5000], w.valueEnd); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := w.throwAway(nil); err != nil {
			t.Fatal(err)
		}
		d, err := openSealed(copied, func(_, _ []byte) bool { return true }, true)
		if err != nil {
			t.Errorf("value log for %d bytes: %v", values, err)
			continue
		}
		found, err := d.get(key, func([]byte) error { return nil })
		if err = errors.Join(err, d.close()); err != nil || !found {
			t.Errorf("value log for %d bytes: found %v, %v", values, found, err)
		}
	}
}
