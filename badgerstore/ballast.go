package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

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
	ballastShare = 8
	// ballastPiece is the least that is given up of it, and that is left of it.
	ballastPiece = 64 << 10
	// metaBallast suits settling the definitions.
	metaBallast = 1 << 20
)

// keepBallast makes the ballast of a storage in dir, or makes it whole again, unless
// less than half the floor would be left, which is what spare segments are made of.
// Where items fill the disk up to the floor it has to be made of the rest, or it would
// never be there again. A storage without works all the same.
func keepBallast(dir string, size, floor int64) {
	path := filepath.Join(dir, ballastName)
	st, err := statfs(dir)
	if err != nil {
		return
	}
	size = min(size, int64(st.Blocks)*int64(st.Bsize)/ballastShare)
	var had int64
	if info, err := os.Stat(path); err == nil {
		had = info.Size()
	}
	if had >= size {
		return
	}
	if size <= 0 || int64(st.Bavail)*int64(st.Bsize) < floor/2+size {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	err = ignoreInterrupt(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if err = errors.Join(err, f.Close()); err != nil {
		giveBallast(path, size, size-had) // Others were faster; what was there stays.
	}
}

// makeSpace is needSpace for what has to go on when the disk is full: if need
// be, as much as is missing of the ballast of the storage that dir is in is given
// up.
func makeSpace(dir string, need, floor int64) error {
	free, err := freeSpace(dir)
	if err != nil {
		return unavailable(err, "cannot tell the free space of %s", dir)
	}
	missing := need + floor - free
	if missing <= 0 {
		return nil
	}
	// The directory of a segment lies two levels below that of its storage.
	for at := range 3 {
		path := filepath.Join(dir, strings.Repeat("../", at), ballastName)
		if info, err := os.Stat(path); err == nil {
			giveBallast(path, info.Size(), missing)
			return needSpace(dir, need, floor)
		}
	}
	return errNoSpace(dir, free, need+floor)
}

// giveBallast makes the ballast smaller by what is missing, and removes it when
// no more than a piece would be left. A failure shows in what is free then.
func giveBallast(path string, size, missing int64) {
	left := size - (missing+ballastPiece-1)/ballastPiece*ballastPiece
	if left < ballastPiece {
		left = 0
	}
	if os.Truncate(path, left) == nil && left == 0 {
		_ = os.Remove(path) // Without blocks it is no ballast; it is made anew.
	}
}
