package doctor

import (
	"context"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// syncs is how long writes and syncs took.
type syncs struct {
	count          int
	p50, p99, most time.Duration // a write with its sync
	write          time.Duration // a write alone (p50)
}

const (
	syncBlock = 4096
	syncFile  = 1 << 20
	maxSyncs  = 500
)

// measure writes blocks to a file of its own in dir and syncs each, as a commit
// does: over blocks that are allocated, with fdatasync. It ends after so long or
// maxSyncs, and always makes at least one.
func measure(ctx context.Context, dir string, long time.Duration) (syncs, error) {
	f, err := os.CreateTemp(dir, ".querator-doctor-")
	if err != nil {
		return syncs{}, err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if _, err := f.Write(make([]byte, syncFile)); err != nil {
		return syncs{}, err
	}
	if err := f.Sync(); err != nil {
		return syncs{}, err
	}
	var writes, both []time.Duration
	for until := time.Now().Add(long); ; {
		begin := time.Now()
		if _, err := f.WriteAt(make([]byte, syncBlock), int64(len(both))*syncBlock%syncFile); err != nil {
			return syncs{}, err
		}
		writes = append(writes, time.Since(begin))
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return syncs{}, &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		both = append(both, time.Since(begin))
		if len(both) >= maxSyncs || time.Now().After(until) || ctx.Err() != nil {
			break
		}
	}
	slices.Sort(writes)
	slices.Sort(both)
	n := len(both)
	return syncs{count: n, p50: both[n/2], p99: both[min(n*99/100, n-1)], most: both[n-1], write: writes[n/2]}, nil
}

// short rounds a duration to what people read.
func short(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
