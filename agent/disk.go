package agent

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// disk is what a file system has.
type disk struct {
	free, total int64 // bytes
	freeInodes  int64
	hasInodes   bool // it counts them
}

// diskOf returns what the file system of dir has.
func diskOf(dir string) (disk, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return disk{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return disk{
		free: int64(st.Bavail) * int64(st.Bsize), total: int64(st.Blocks) * int64(st.Bsize),
		freeInodes: int64(st.Ffree), hasInodes: st.Files > 0,
	}, nil
}

// diskSize returns the size of the file system that dir is on, or will be on
// when it is made; 0 if that cannot be told.
func diskSize(dir string) int64 {
	for {
		d, err := diskOf(dir)
		above := filepath.Dir(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || above == dir {
			return d.total
		}
		dir = above
	}
}
