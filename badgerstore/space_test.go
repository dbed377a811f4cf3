package badgerstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that size, or skips the test when this
// process may not.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// On a full disk items are refused before anything changes; those that are there
// are leased and completed, which makes room again.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 32<<20)
	d := newDriver(t, badgerstore.Options{Dir: filepath.Join(disk, "store"), SegmentBytes: 1 << 20})
	for round := range 3 {
		var full error
		for i := 0; full == nil && i < 1000; i++ {
			_, full = d.tryProduce([]queue.Item{sizedItem(i, 200<<10)})
		}
		if !errors.Is(full, queue.ErrFull) {
			t.Fatalf("round %d: filling the disk: %v, want an error of kind ErrFull", round, full)
		}
		if round == 1 {
			d.reopen()
		}
		// Something else takes what is left. It is not so fast that it takes all
		// between the look at the free space and what Badger then writes.
		badgerstore.WaitForBackground(d.s)
		ballast := filepath.Join(disk, "ballast")
		fill(t, ballast)
		if _, err := d.tryProduce(jsonItems(0, 1)); !errors.Is(err, queue.ErrFull) {
			t.Errorf("round %d: produce without any space: %v, want an error of kind ErrFull", round, err)
		}
		if round == 1 {
			// A partition that has no tail yet needs one to complete anything.
			d.must(os.Truncate(ballast, 0))
		}
		held := len(d.ready)
		d.lease(held/2, false)
		d.complete(held / 2)
		d.must(os.Remove(ballast))
		d.drain()
		eventually(t, "the space comes back", func() bool {
			d.must(d.ps.Maintain(false))
			return d.ps.Usage().DiskBytes < 6<<20
		})
	}
}

// On a disk without inodes items are refused, and those that are there are
// leased and completed.
func TestNoInodes(t *testing.T) {
	disk := smallDisk(t, 64<<20)
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	d := newDriver(t, badgerstore.Options{Dir: filepath.Join(disk, "store"), MinFreeInodes: -1})
	for _, test := range []struct {
		floor int64
		full  bool
	}{{-1, false}, {int64(st.Ffree) + 1, true}, {int64(st.Ffree) / 2, false}, {0, st.Ffree < badgerstore.DefaultMinFreeInodes}} {
		d.o.MinFreeInodes = test.floor
		d.reopen()
		if _, err := d.tryProduce(jsonItems(0, 3)); errors.Is(err, queue.ErrFull) != test.full || err != nil && !test.full {
			t.Errorf("a floor of %d while %d are free: %v", test.floor, st.Ffree, err)
		}
		d.lease(1, false)
		d.complete(1)
	}
	d.drain()
}

// fill writes a file until there is no space left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
