package badgerstore

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/kapetan-io/querator-edge/queue"
	"golang.org/x/sys/unix"
)

// The ballast is a file of reserved blocks in the directory of a storage, given
// up when others have filled the disk to the last byte: opening a store after a
// kill, and completing items, write before they free. It is made again when
// there is room.
const (
	ballastName = "BALLAST"
	// ballastSize suits settling a partition and beginning a segment; on a small
	// file system it is a ballastShare-th of all.
	ballastSize  = 6 << 20
	ballastShare = 16
	// metaBallast suits settling the definitions.
	metaBallast = 1 << 20
)

// keepBallast makes the ballast of a storage in dir, unless it is there or space
// is short. A storage without works all the same.
func keepBallast(dir string, size, floor int64) {
	path := filepath.Join(dir, ballastName)
	st, err := statfs(dir)
	if err != nil {
		return
	}
	size = min(size, int64(st.Blocks)*int64(st.Bsize)/ballastShare)
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return
	}
	if size <= 0 || int64(st.Bavail)*int64(st.Bsize) < floor+2*size {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	err = ignoreInterrupt(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // Half a ballast is none.
	}
}

// makeSpace is needSpace for what has to go on when the disk is full: if need
// be, the ballast of the storage that dir is in is given up.
func makeSpace(dir string, need, floor int64) error {
	err := needSpace(dir, need, floor)
	if !errors.Is(err, queue.ErrFull) {
		return err
	}
	// The directory of a segment lies two levels below that of its storage.
	for range 3 {
		path := filepath.Join(dir, ballastName)
		if os.Truncate(path, 0) == nil && os.Remove(path) == nil {
			return needSpace(dir, need, floor)
		}
		dir = filepath.Dir(dir)
	}
	return err
}
