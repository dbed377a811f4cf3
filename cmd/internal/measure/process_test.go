package measure_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

func TestProcess(t *testing.T) {
	pid := os.Getpid()
	watch := measure.WatchMemory(pid)
	block := make([]byte, 32<<20)
	for i := range block {
		block[i] = byte(i)
	}
	if got := measure.Anonymous(pid); got < int64(len(block)) {
		t.Errorf("%d bytes of anonymous memory with %d in use", got, len(block))
	}
	for begin := time.Now(); measure.Processor(pid) == 0 && time.Since(begin) < time.Minute; {
		block[0]++
	}
	if measure.Processor(pid) == 0 {
		t.Error("a minute of counting took no processor time")
	}
	if most := watch.Stop(); most <= 0 {
		t.Errorf("at most %d bytes of anonymous memory", most)
	}
	if _, ok := measure.Written(pid); !ok {
		t.Error("the kernel does not say what was written")
	}
	if got := measure.Processor(1 << 30); got != 0 {
		t.Errorf("a process that is not there used %s", got)
	}
}

// A file that is synced was written. One that is removed before the kernel has written it was not.
func TestWritten(t *testing.T) {
	written := func(sync bool) int64 {
		before, _ := measure.Written(os.Getpid())
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.Write(make([]byte, 4<<20)); err == nil && sync {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
		after, _ := measure.Written(os.Getpid())
		return after - before
	}
	switch n := written(true); {
	case n == 0:
		t.Log("what is written here is in memory only")
	case n < 4<<20:
		t.Errorf("of 4 MiB that are synced %d bytes are written", n)
	}
	// The kernel may have begun with it, once.
	if n := min(written(false), written(false), written(false)); n > 1<<20 {
		t.Errorf("of 4 MiB that are removed %d bytes are written", n)
	}
}

// What the kernel does not let this process see has to be an error, not a zero.
func TestSyncsAndDisk(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	disk, diskErr := measure.DiskOf(dir)
	var before measure.DiskCounts
	if diskErr == nil {
		if before, err = disk.Counts(); err != nil {
			t.Fatal(err)
		}
	}
	syncs, syncErr := measure.CountSyncs(os.Getpid(), dir)
	const n = 5
	for range n {
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if syncErr == nil {
		defer syncs.Close()
		if got, err := syncs.Count(); err != nil || got < n {
			t.Errorf("%d syncs counted, %v; there were %d", got, err, n)
		}
	} else {
		t.Logf("the kernel does not count syncs here: %v", syncErr)
	}
	if diskErr == nil {
		after, err := disk.Counts()
		if err != nil || after.Written-before.Written < n*4096 {
			t.Errorf("%d bytes written, %v; there were %d", after.Written-before.Written, err, n*4096)
		}
	} else {
		t.Logf("the kernel does not count this disk: %v", diskErr)
	}
}
