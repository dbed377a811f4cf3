package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// A device that answers a read with an error may have lost the block for good, or
// may be disturbed for a moment: a loose contact, a reset, a supply that sagged.
// So what cannot be read is tried again. Only when it goes on is it taken for
// lost, and then it is damage of that part of the file, like any other. An error
// that is not repeated, or that comes while something is made or written, sets
// nothing aside: the partition is not available until it is opened again.

// readPauses are the pauses before what cannot be read is tried again: a card that
// was reset takes up to a second. Once something of a file is lost, the first alone
// is waited for, and none when it is more than briefBytes, so that much that is lost
// does not take for ever.
var readPauses = [...]time.Duration{25 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond, time.Second}

// briefBytes is how much of a file is waited for briefly after its first loss.
const briefBytes = 64 * pageSize

// errFault: a mapped page could not be read.
var errFault = errors.New("a page of a file could not be read")

// card reads a file on a device that may have lost parts of it. It is an
// io.ReaderAt; bytes that are lost read as zeros.
type card struct {
	f    *os.File
	lost int64 // bytes
}

// ReadAt reads like os.File.ReadAt.
func (c *card) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.try(b, off)
	if !isInputError(err) {
		return n, err
	}
	// Page by page, to lose no more than is lost.
	n = 0
	for n < len(b) {
		at := off + int64(n)
		part := b[n:min(len(b), n+int(pageSize-at%pageSize))]
		k, err := c.try(part, at)
		switch {
		case isInputError(err):
			clear(part)
			c.lost += int64(len(part))
			k = len(part)
		case err != nil:
			return n + k, err
		}
		n += k
	}
	return n, nil
}

// try reads, again if the device answers with an error.
func (c *card) try(b []byte, off int64) (n int, err error) {
	_ = again(c.pauses(), func() bool {
		n, err = c.f.ReadAt(b, off)
		return !isInputError(err)
	})
	return n, err
}

// pauses returns how many pauses are made for a part that cannot be read.
func (c *card) pauses() int {
	switch {
	case c.lost == 0:
		return len(readPauses)
	case c.lost < briefBytes:
		return 1
	}
	return 0
}

// again calls fn until it reports true, at most until so many of the pauses are
// over, and returns what it reported last.
func again(pauses int, fn func() bool) bool {
	if fn() {
		return true
	}
	for _, pause := range readPauses[:pauses] {
		t := time.NewTimer(pause)
		<-t.C
		if fn() {
			return true
		}
	}
	return false
}

// refresh makes the kernel forget the content of the files in dir, so that what is
// read is what the device has: after a sync that failed, its memory shows what is
// not on flash and never will be.
func refresh(dir string) error {
	names, err := listDir(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	for _, name := range names {
		if err := refreshFile(filepath.Join(dir, name)); err != nil {
			return unavailable(err, "cannot sync %s of %s", name, dir)
		}
	}
	return nil
}

func refreshFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// What was written and not synced, as by a process that was killed, is kept. The
	// kernel may report a failure of before, once, such as of a device that could
	// not be written for a while; what that was about is lost here, and what the
	// device has is read next.
	if fdatasync(f) != nil {
		if err := fdatasync(f); err != nil {
			return err
		}
	}
	return ignoreInterrupt(func() error { return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) })
}

// isInputError reports whether a device did not give what it has.
func isInputError(err error) bool { return errors.Is(err, syscall.EIO) }

// readCard reads a whole file; lost bytes are zeros.
func readCard(path string) (data []byte, lost int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	c := &card{f: f}
	data = make([]byte, info.Size())
	n, err := c.ReadAt(data, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], c.lost, err
}

// hasLost reports whether parts of the files of the database in dir are lost.
func hasLost(dir string) bool {
	names, err := listDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool { return isLost(filepath.Join(dir, name)) })
}

// isLost reports whether a part of a file is lost.
func isLost(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false
	}
	c, buf := &card{f: f}, make([]byte, windowSize)
	w := &window{f: f, size: info.Size()}
	for off := w.nextData(0); off < w.size && c.lost == 0; off = w.nextData(off) {
		n, err := c.ReadAt(buf, off)
		if n == 0 || err != nil && !errors.Is(err, io.EOF) {
			return false
		}
		off += int64(n)
	}
	return c.lost > 0
}

// failedOpen is the error of a database in dir that a failure of the device kept
// from being opened: damage if it has lost something, else one that passes.
func failedOpen(dir string, cause error) error {
	if hasLost(dir) {
		return corrupt(cause, "the device has lost parts of %s", dir)
	}
	return unavailable(cause, "cannot open %s", dir)
}

// saysInputError reports whether an error of Badger's, which may be text only,
// comes from the device.
func saysInputError(err error) bool {
	return isInputError(err) || errors.Is(err, errFault) || err != nil && strings.Contains(err.Error(), syscall.EIO.Error())
}

// guard calls fn, which reads mapped files. A page that the device does not give
// is a fault, which by itself would end the process; it becomes errFault.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface{ Addr() uintptr })
		if !ok {
			panic(r)
		}
		err = fmt.Errorf("%w: address %#x", errFault, fault.Addr())
	}()
	return fn()
}

// guard is guard for what Badger reads. It may hold locks after a fault that are never
// released, so the database is not closed any more.
func (d *database) guard(fn func() error) error {
	err := guard(fn)
	if errors.Is(err, errFault) {
		d.faulted.Store(true)
	}
	return err
}

// reading is guard for what can be done again, until it succeeds or is lost.
func (d *database) reading(fn func() error) (err error) {
	pauses := len(readPauses)
	if d.lost.Load() {
		pauses = 1
	}
	ok := again(pauses, func() bool {
		err = d.guard(fn)
		return !errors.Is(err, errFault)
	})
	if ok {
		return err
	}
	d.lost.Store(true)
	return corrupt(err, "the device has lost a part of %s", d.dir)
}

// find is txn.Get.
func (d *database) find(txn *badger.Txn, key []byte) (item *badger.Item, err error) {
	fault := d.reading(func() error {
		item, err = txn.Get(key)
		return nil
	})
	if fault != nil {
		return nil, fault
	}
	return item, err
}
