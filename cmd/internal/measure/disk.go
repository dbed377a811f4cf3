package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk is the block device that a directory lies on, as the kernel counts it: whoever writes to it.
type Disk struct {
	Name string // such as mmcblk0
	stat string // the file of its counters
}

// DiskCounts is what a disk had done at one moment.
type DiskCounts struct {
	Written int64 // bytes
	Flushes int64 // that were asked for by somebody's sync
}

// DiskOf returns the disk of a directory, the whole of it if the directory is on a partition, since flushes are
// counted there only.
func DiskOf(dir string) (*Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("looking for the disk of %s: %w", dir, err)
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	path, err := filepath.EvalSymlinks(link)
	if err != nil {
		return nil, fmt.Errorf("%s is not on a disk of its own that the kernel counts: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
		path = filepath.Dir(path)
	}
	d := &Disk{Name: filepath.Base(path), stat: filepath.Join(path, "stat")}
	_, err = d.Counts()
	return d, err
}

// Counts reads the counters.
func (d *Disk) Counts() (DiskCounts, error) {
	text, err := os.ReadFile(d.stat)
	if err != nil {
		return DiskCounts{}, err
	}
	const sectorsWritten, flushes, sector = 6, 15, 512
	fields := strings.Fields(string(text))
	if len(fields) <= flushes {
		return DiskCounts{}, fmt.Errorf("%s has %d counters; Linux 5.5 has %d", d.stat, len(fields), flushes+1)
	}
	written, err := strconv.ParseInt(fields[sectorsWritten], 10, 64)
	if err != nil {
		return DiskCounts{}, fmt.Errorf("%s: %w", d.stat, err)
	}
	flushed, err := strconv.ParseInt(fields[flushes], 10, 64)
	if err != nil {
		return DiskCounts{}, fmt.Errorf("%s: %w", d.stat, err)
	}
	return DiskCounts{Written: written * sector, Flushes: flushed}, nil
}

// SyncFS writes everything that waits for the file system of a directory.
func SyncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", dir, err)
	}
	return nil
}
