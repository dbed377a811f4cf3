package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/kapetan-io/querator-edge/queue"
)

// database is one Badger database, open for reading. It is safe for use by any
// goroutine.
//
// Badger is opened for versions that its user gives out ("managed"), as the logs of
// segments have them (tail_write.go).
type database struct {
	db      *badger.DB
	log     *logger
	dir     string
	faulted atomic.Bool // see guard
	lost    atomic.Bool // the device has lost a part of it
}

// openDatabase opens the database in dir for reading. Callers have looked into dir
// with inspect before, or have made what is there.
func openDatabase(dir string) (d *database, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if fault, ok := r.(interface{ Addr() uintptr }); ok {
			d, err = nil, failedOpen(dir, fmt.Errorf("%w: address %#x", errFault, fault.Addr()))
			return
		}
		// Badger asserts on what it finds in damaged files.
		if r != nil {
			d, err = nil, corrupt(nil, "the database %s cannot be opened: %v", dir, r)
		}
	}()
	// Badger ends the process when it cannot list the directory. What was listed a
	// moment ago the kernel has in memory.
	if _, err := listDir(dir); err != nil {
		return nil, unavailable(err, "cannot read the directory %s", dir)
	}
	log := newLogger(dir)
	db, err := badger.OpenManaged(badgerOptions(dir, log))
	switch {
	case err == nil:
	case errors.Is(err, badger.ErrTruncateNeeded):
		return nil, err
	case isErrno(err, syscall.ENOSPC, syscall.EDQUOT):
		return nil, &queue.Error{Kind: queue.ErrFull, Err: err, Msg: fmt.Sprintf("the disk is full: %s cannot be opened", dir)}
	case isPassing(err):
		return nil, unavailable(err, "cannot open %s", dir)
	case saysInputError(err):
		return nil, failedOpen(dir, err)
	default:
		return nil, corrupt(err, "the database %s cannot be opened", dir)
	}
	d = &database{db: db, log: log, dir: dir}
	if err := log.check(); err != nil {
		// Such as a table that Badger found damaged and left out.
		_ = d.close()
		if saysInputError(err) {
			return nil, failedOpen(dir, err)
		}
		return nil, corrupt(err, "the database %s is damaged", dir)
	}
	return d, nil
}

// isPassing reports whether err is about the machine and not about the files: with
// rights, memory or descriptors they can be opened again. EIO is not among them,
// since a device answers so for a block that it has lost; see card.go.
func isPassing(err error) bool {
	return isErrno(err, syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM)
}

// isErrno reports whether one of the errors of the system is behind err. Badger
// keeps only the text of some.
func isErrno(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(errno syscall.Errno) bool {
		return errors.Is(err, errno) || strings.HasSuffix(err.Error(), ": "+errno.Error())
	})
}

// close closes the database. One whose mapped files had a fault stays open, since
// Badger may hold locks for ever.
func (d *database) close() error {
	if d.faulted.Load() {
		return unavailable(errFault, "a file of %s could not be read", d.dir)
	}
	return errors.Join(d.db.Close(), d.log.check())
}

// readTxn begins a transaction that sees what was written before. The caller ends
// it with Discard.
func (d *database) readTxn() *badger.Txn { return d.db.NewTransactionAt(math.MaxUint64, false) }

// where is view.where.
func (d *database) where() string { return d.dir }

// get is view.get. A value that Badger cannot read is damage.
func (d *database) get(key []byte, fn func(value []byte) error) (found bool, err error) {
	txn := d.readTxn()
	defer txn.Discard()
	item, err := d.find(txn, key)
	var known *queue.Error
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return false, nil
	case errors.As(err, &known):
		return false, err
	case err != nil:
		return false, corrupt(err, "key %x of %s cannot be read", key, d.dir)
	}
	return true, d.value(item, fn)
}

func (d *database) value(item *badger.Item, fn func(value []byte) error) error {
	var inner, outer error
	err := d.reading(func() error {
		outer = item.Value(func(value []byte) error {
			inner = fn(value)
			return nil
		})
		return nil
	})
	if err != nil {
		return err
	}
	if outer != nil {
		return corrupt(outer, "the value of key %x of %s cannot be read", item.Key(), d.dir)
	}
	return inner
}

// each is view.each.
func (d *database) each(letter byte, from uint64, fn eachFunc) error {
	err := d.guard(func() error { return d.walk(letter, from, fn) })
	if errors.Is(err, errFault) {
		return unavailable(err, "cannot read %s", d.dir) // The next time it may be there, or be found to be lost.
	}
	return err
}

func (d *database) walk(letter byte, from uint64, fn eachFunc) error {
	txn := d.readTxn()
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{letter}})
	defer it.Close()
	for it.Seek(numberedKey(letter, from)); it.Valid(); it.Next() {
		item := it.Item()
		n, ok := keyNumber(letter, item.Key())
		if !ok {
			return corrupt(nil, "%s holds the key %x, which is none of ours", d.dir, item.Key())
		}
		more, err := fn(n, func(use func([]byte) error) error { return d.value(item, use) })
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// blockBefore is view.blockBefore.
func (d *database) blockBefore(seq uint64) (first uint64, found bool) {
	txn := d.readTxn()
	defer txn.Discard()
	_ = d.reading(func() error { // What is lost is not found.
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
		defer it.Close()
		if it.Seek(blockKey(seq)); it.Valid() {
			first, found = keyNumber(letterBlock, it.Item().Key())
		}
		return nil
	})
	return first, found
}

// blockAfter is view.blockAfter.
func (d *database) blockAfter(seq uint64) (first uint64, found bool) {
	txn := d.readTxn()
	defer txn.Discard()
	_ = d.reading(func() error { // What is lost is not found.
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{letterBlock}})
		defer it.Close()
		if it.Seek(blockKey(seq + 1)); it.Valid() {
			first, found = keyNumber(letterBlock, it.Item().Key())
		}
		return nil
	})
	return first, found
}

// contents says what kinds of files a segment's directory holds.
type contents struct {
	manifest bool
	data     bool  // tables, memtables or value logs
	mem      int64 // size of the largest memtable; 0 if there is none
}

// inspect looks at the files of a database before Badger does, and puts right
// or refuses what Badger would stumble over: what only a journal has; empty files,
// which deleting leaves and which make every Open fail; a directory without a
// MANIFEST, or with tables that the MANIFEST does not name, which Badger would
// delete.
func inspect(dir string) (contents, error) {
	var c contents
	if err := redo(dir); err != nil {
		return c, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return c, unavailable(err, "cannot read the directory %s", dir)
	}
	var tables []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return c, unavailable(err, "cannot read the directory %s", dir)
		}
		ext := filepath.Ext(e.Name())
		switch {
		case e.Name() == badger.ManifestFilename:
			c.manifest = true
		case (ext == ".mem" || ext == ".vlog") && info.Size() == 0:
			if err := os.Remove(path); err != nil {
				return c, unavailable(err, "cannot remove the empty file %s", path)
			}
		case e.Name() == "DISCARD" && info.Size() != 1<<20:
			// Statistics for what we never do; Badger makes them anew.
			if err := os.Remove(path); err != nil {
				return c, unavailable(err, "cannot remove the damaged file %s", path)
			}
		case ext == ".mem":
			c.data, c.mem = true, max(c.mem, info.Size())
		case ext == ".vlog":
			c.data = true
		case ext == ".sst":
			c.data = true
			tables = append(tables, e.Name())
		}
	}
	if !c.manifest && c.data {
		return c, corrupt(nil, "%s has no %s, but files that need one", dir, badger.ManifestFilename)
	}
	if c.manifest {
		return c, checkManifest(dir, tables, c.mem > 0)
	}
	return c, nil
}

// settleSpace is what opening and closing a database takes beside its memtable.
const settleSpace = 256 << 10

// corrupt returns an error of kind ErrCorrupt.
func corrupt(cause error, format string, args ...any) *queue.Error {
	return &queue.Error{Kind: queue.ErrCorrupt, Msg: fmt.Sprintf(format, args...), Err: cause,
		Hint: "keep a copy of the directory and look for errors of the disk in the kernel's log"}
}

// isCorrupt reports whether err says that stored data is damaged.
func isCorrupt(err error) bool { return errors.Is(err, queue.ErrCorrupt) }
