package measure_test

import (
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
