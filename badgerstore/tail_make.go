package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/kapetan-io/querator-edge/queue"
)

// The files of a segment are made here as Badger makes them, since Badger reads them
// once the segment is written no more.

const (
	// emptyManifest is the MANIFEST of a database without tables: Badger's magic,
	// the version of an outer format, which is 0, that of its own, and a change that
	// says nothing: its length and its checksum, all big endian.
	emptyManifest = "Bdgr\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00"

	// discardName is a file of statistics about what we never do, discardSize bytes
	// long, of zeros. Badger makes it when it is not there, by way of a mapping, which
	// would be a fault on a full disk.
	discardName = "DISCARD"
	discardSize = 1 << 20
)

// makeDatabase makes a database in dir that holds nothing; its files are on flash on
// return, their names are not. The error Is queue.ErrFull when there is no room.
func makeDatabase(dir string) error {
	if err := writeSynced(filepath.Join(dir, badger.ManifestFilename), []byte(emptyManifest)); err != nil {
		return unmade(err, dir)
	}
	f, err := os.OpenFile(filepath.Join(dir, discardName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(discardSize), f.Close())
	}
	if err != nil {
		return unmade(err, dir)
	}
	return nil
}

// makeLogs makes two new logs and reserves what they need of the device. The value log
// is the spent one, if there is one. Everything in the directory is on flash then.
func (t *tail) makeLogs(spent *spentLog) error {
	names, err := listDir(t.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", t.dir)
	}
	memNumber, valueNumber := uint64(1), uint64(1)
	for _, name := range names {
		ext := filepath.Ext(name)
		n, err := strconv.ParseUint(strings.TrimSuffix(name, ext), 10, 31)
		switch {
		case err != nil:
		case ext == ".mem":
			memNumber = max(memNumber, n+1)
		case ext == ".vlog":
			valueNumber = max(valueNumber, n+1)
		}
	}
	t.index, t.pending = index{}, nil
	t.memEnd, t.memWritten, t.valueEnd, t.reserved = logHeader, logHeader, logHeader, 0
	t.valueNumber, t.number = uint32(valueNumber), newLogNumber()
	// Both are twice as long as they will ever be, as Badger would have it.
	if t.memFile, err = makeLog(filepath.Join(t.dir, fmt.Sprintf("%05d.mem", memNumber)), 2*t.mem, appendStamp(nil, t.number)); err == nil {
		err = t.makeValueLog(spent)
	}
	if err != nil {
		return unmade(err, t.dir)
	}
	if err := allocate(t.memFile, 0, t.mem); err != nil {
		return err
	}
	if err := t.reserve(max(t.first, min(t.ahead(), leastStep)-logHeader)); err != nil {
		return err
	}
	if err := errors.Join(t.memFile.Sync(), t.valueFile.Sync(), syncDir(t.dir)); err != nil {
		return unavailable(err, "cannot sync the segment %s", t.dir)
	}
	t.memSynced, t.valueSynced, t.flashed, t.logged = t.memEnd, t.valueEnd, t.memEnd, t.valueEnd
	t.small, t.unnoted = 0, false
	t.written += 6 * pageSize
	t.syncs += 5
	return nil
}

// makeValueLog makes the value log, of the spent one if there is one.
func (t *tail) makeValueLog(spent *spentLog) (err error) {
	path, size := filepath.Join(t.dir, valueLogName(t.valueNumber)), 2*t.valueFileSize()
	f, stamp, written := spent.take(path)
	if t.spent = 0; f == nil {
		t.valueFile, err = makeLog(path, size, appendStamp(nil, stampOf(t.version)))
		return err
	}
	t.valueFile, t.version = f, stamp<<stampShift
	t.spent = min(written, size)
	t.reserved, t.lent = t.spent, lent{spent.total, written}
	t.written += pageSize
	t.syncs++
	return f.Truncate(size)
}

// makeLog makes a log without entries.
func makeLog(path string, size int64, header []byte) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(header)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// valueLogName returns the name of a value log.
func valueLogName(number uint32) string { return fmt.Sprintf("%06d.vlog", number) }

// lastValueLog returns the name of the value log with the greatest number, empty if there
// is none among the names.
func lastValueLog(names []string) (last string) {
	for _, name := range names {
		if filepath.Ext(name) == ".vlog" {
			last = max(last, name) // Numbers have leading zeros.
		}
	}
	return last
}

// valueFileSize returns the size that Badger is to take for that of a value log. By a
// multiple of minMemTable a log as it was made is told from one that was cut off
// (addLog), such as by damage.
func (z *sizes) valueFileSize() int64 {
	return (z.values + minMemTable - 1) / minMemTable * minMemTable
}

// unmade is the error of a segment that could not be made.
func unmade(err error, dir string) error {
	if isFull(err) {
		return &queue.Error{Kind: queue.ErrFull, Err: err, Msg: fmt.Sprintf("the disk is full: %s cannot be made", dir),
			Hint: "free space on that disk, or complete items"}
	}
	return unavailable(err, "cannot create the segment %s", dir)
}
