package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"golang.org/x/sys/unix"
)

// statfs returns what the file system of dir has.
func statfs(dir string) (*unix.Statfs_t, error) {
	var st unix.Statfs_t
	if err := ignoreInterrupt(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return &st, nil
}

// freeSpace returns how many bytes can be written to the device of dir.
func freeSpace(dir string) (int64, error) {
	st, err := statfs(dir)
	if err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

const (
	// plentySpace and plentyInodes, beyond what has to stay free, are so much
	// that nobody fills them within plentyFor.
	plentySpace  = 256 << 20
	plentyInodes = 10000
	plentyFor    = 50 * time.Millisecond
)

// needRoom returns an error of kind ErrFull unless, besides the floors of the
// storage, need bytes are free on the device of dir. Where there is plenty it
// looks only now and then, since asking costs as much as an item.
func (s *Storage) needRoom(dir string, need int64) error {
	now := time.Since(s.started)
	if now < time.Duration(s.plenty.Load()) && need < plentySpace/2 {
		return nil
	}
	st, err := statfs(dir)
	if err != nil {
		return unavailable(err, "cannot tell the free space of %s", dir)
	}
	o := &s.options
	free := int64(st.Bavail) * int64(st.Bsize)
	if free < need+o.MinFree {
		return errNoSpace(dir, free, need+o.MinFree)
	}
	if !s.hasInodes(st, 0) {
		return &queue.Error{
			Kind: queue.ErrFull,
			Msg:  fmt.Sprintf("the disk is full: %s has %d inodes free, needs %d", dir, st.Ffree, o.MinFreeInodes),
			Hint: "remove small files from that disk, or complete items",
		}
	}
	s.notePlenty(st)
	return nil
}

// notePlenty takes note of it if there is so much that it need not be looked at again for
// a moment.
func (s *Storage) notePlenty(st *unix.Statfs_t) {
	o := &s.options
	if int64(st.Bavail)*int64(st.Bsize) > max(o.MinFree+plentySpace, shortSpace*o.MinFree) && s.hasInodes(st, plentyInodes) {
		s.plenty.Store(int64(time.Since(s.started) + plentyFor))
	}
}

// hasInodes reports whether so many inodes are free beyond what has to stay, if that is
// looked at. A file system that does not count them says that it has none at all.
func (s *Storage) hasInodes(st *unix.Statfs_t, beyond int64) bool {
	least := s.options.MinFreeInodes
	return st.Files == 0 || least <= 0 || st.Ffree >= uint64(least+beyond)
}

// isShort reports whether the device of dir is nearly full: whoever writes to it
// could take the rest before the next look. Where there is plenty that costs
// nothing.
func (s *Storage) isShort(dir string) bool {
	if time.Since(s.started) < time.Duration(s.plenty.Load()) {
		return false
	}
	st, err := statfs(dir)
	if err != nil {
		return false
	}
	s.notePlenty(st)
	return int64(st.Bavail)*int64(st.Bsize) < shortSpace*s.options.MinFree
}

// needSpace returns an error of kind ErrFull unless need bytes and the floor
// are free on the device of dir.
func needSpace(dir string, need, floor int64) error {
	free, err := freeSpace(dir)
	if err != nil {
		return unavailable(err, "cannot tell the free space of %s", dir)
	}
	if free >= need+floor {
		return nil
	}
	return errNoSpace(dir, free, need+floor)
}

func errNoSpace(dir string, free, need int64) error {
	return &queue.Error{
		Kind: queue.ErrFull,
		Msg:  fmt.Sprintf("the disk is full: %s has %d bytes free, needs %d", dir, free, need),
		Hint: "free space on that disk, or complete items",
	}
}

// allocate gives the file blocks for the bytes from off to end, so that writing
// them through a mapping cannot fail for want of space. The bytes are not in use
// yet: where the file system cannot reserve, zeros are written.
func allocate(f *os.File, off, end int64) error {
	const mode = unix.FALLOC_FL_KEEP_SIZE
	err := ignoreInterrupt(func() error { return unix.Fallocate(int(f.Fd()), mode, off, end-off) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = writeZeros(f, off, end)
	}
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return &queue.Error{Kind: queue.ErrFull, Err: err,
			Msg:  fmt.Sprintf("the disk is full: %s needs %d bytes", f.Name(), end-off),
			Hint: "free space on that disk, or complete items"}
	}
	return unavailable(err, "cannot reserve %d bytes of %s", end-off, f.Name())
}

func writeZeros(f *os.File, off, end int64) error {
	zeros := make([]byte, 64<<10)
	for off < end {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// isFull reports whether err says that the device or the quota is used up.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// ignoreInterrupt calls fn again when a signal interrupted it.
func ignoreInterrupt(fn func() error) error {
	for {
		err := fn()
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fdatasync puts the file's content on flash.
func fdatasync(f *os.File) error {
	if err := ignoreInterrupt(func() error { return unix.Fdatasync(int(f.Fd())) }); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// syncDir puts the entries of a directory on flash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// syncFiles puts the regular files in dir on flash, and dir itself.
func syncFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// diskBytes returns how many bytes of the device the files below dir occupy.
// What vanishes meanwhile is left out.
func diskBytes(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil {
			sum += int64(st.Blocks) * 512
		}
		return nil
	})
	return sum
}

// unavailable returns an error of kind ErrUnavailable.
func unavailable(cause error, format string, args ...any) *queue.Error {
	return &queue.Error{Kind: queue.ErrUnavailable, Msg: fmt.Sprintf(format, args...), Err: cause}
}
