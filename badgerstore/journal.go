package badgerstore

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The journal is a file in the directory of the segment that is written. A small
// commit is on flash as soon as it is there: with one write of one sector or a
// few. Without it, each commit is a change to a page of the memtable's log, and a
// page of 4 KiB is what the device writes. The log gets what is in the journal
// later, many commits at a time.
//
// It is a ring of journalBytes, made of zeros. A record begins at a multiple of
// journalBlock and ends with zeros up to the next one, so that no sector that
// holds something acknowledged is written again before the ring is full. Then
// everything in it is in the log and on flash, and the next record is written
// at the beginning.
//
//	4 bytes  "qej" and 3, the version
//	4 bytes  CRC-32C of the number of the memtable's log, 8 bytes big endian, and of
//	         all that follows here, little endian
//	4 bytes  how many bytes follow, little endian
//	uvarint  number of the record, from 1 on, one more than that of the one before
//	uvarint  place: where the first transaction stands in the memtable's log
//	uvarint  version, as Badger counts, of the first transaction
//	transactions, one behind the other in the log, each with the next version
//	         uvarint  how many entries; for each:
//	         uvarint  twice the length of the key, plus 1 if the value is one of
//	                  Badger's pointers to the value log
//	         bytes    key
//	         uvarint  length of the value
//	         bytes    value, with its own version and checksum, or the pointer
//
// The number of the log is random and stands in its header, where value logs have their
// stamp, in the same form (stamp.go), and once more behind the ring. Nobody outside the
// store learns it: what the payload of an item holds, which in an old record may begin
// where a record can, is none. Logs of before have no number; their journals are of
// version 2, or of version 1, where there are no pointers and the length of the key
// stands there as it is. The CRC is of the rest alone then.
//
// What a pointer of a record in the ring points to is on flash before the record is. Of
// commits with values in the value log the record stands there instead, with a number
// like any other (carried.go).
//
// So a record says which bytes belong where in the memtable's log (redo.go writes
// them there), and holds all that was written to that log since what the record
// before it, or the last sync of the log, has put on flash. A journal is made when
// the log is there, and removed, with its name off the flash, before the log goes.
// So one that is there belongs to the log that is there.
//
// For example, the first record, of one transaction of version 7 at place 300,
// with the key "k" and an empty value, for the log with the number 3:
//
//	71 65 6a 03   "qej", version 3
//	19 19 aa c1   CRC-32C
//	08 00 00 00   8 bytes
//	01 ac 02 07   number 1, place 300, version 7
//	01 02 6b 00   one entry: "k", nothing
type journal struct {
	f      *os.File
	at     int64  // where the next record goes
	log    uint64 // number of the memtable's log
	number uint64 // of the last record
	block  int    // records are written in multiples of it
	flags  int    // what the file is opened with
	record []byte // the next one: what is to be on flash with the next sync
}

const (
	journalName   = "journal"
	journalMagic  = "qej\x03"
	journalSecond = "qej\x02" // version 2
	journalFirst  = "qej\x01" // version 1
	journalHead   = 12

	// journalBytes is the size of the ring: so much of small commits is written
	// before the log is synced once for all of them.
	journalBytes = 64 << 10
	// journalBlock is what records begin at multiples of: a sector.
	journalBlock = 512
	// maxJournaled bounds a record. What is larger is written to the log at
	// once, where it would be written a second time anyway.
	maxJournaled = 4 << 10

	// journalMemory is what a tail takes for its journal: the record, and what the
	// log gets later.
	journalMemory = journalBytes + 4*maxJournaled
)

// makeJournal makes a journal in dir, for the memtable's log with that number; it is on
// flash, and empty, on return. The error Is queue.ErrFull when there is no room for it.
func makeJournal(dir string, log uint64) (*journal, error) {
	path := filepath.Join(dir, journalName)
	err := writeSynced(path, appendStamp(make([]byte, journalBytes), log))
	if err == nil {
		err = syncDir(dir)
	}
	var j *journal
	if err == nil {
		j, err = openJournal(path)
	}
	if err != nil {
		_ = os.Remove(path) // An empty one does no harm.
		return nil, unavailable(err, "cannot make %s", path)
	}
	j.log = log
	return j, nil
}

// openJournal opens a new journal for writing: past the kernel's memory, where a
// sector can be written without the page around it, and otherwise through it.
func openJournal(path string) (*journal, error) {
	for _, way := range []struct{ flags, block int }{
		{unix.O_DIRECT, journalBlock},
		{unix.O_DIRECT, pageSize}, // Devices with large sectors.
		{0, journalBlock},
	} {
		j := &journal{block: way.block, flags: os.O_WRONLY | unix.O_DSYNC | way.flags}
		err := j.open(path)
		if errors.Is(err, unix.EINVAL) {
			continue // A file system that does not know O_DIRECT.
		}
		if err != nil {
			return nil, err
		}
		// Which sectors a device takes shows when one is written.
		if _, err = j.f.WriteAt(j.record[:way.block], 0); err == nil {
			return j, nil
		}
		if err := errors.Join(err, j.f.Close()); !errors.Is(err, unix.EINVAL) {
			return nil, err
		}
	}
	return nil, &fs.PathError{Op: "write", Path: path, Err: unix.EINVAL}
}

// open opens the file, at first and after close.
func (j *journal) open(path string) (err error) {
	if j.f, err = os.OpenFile(path, j.flags, 0); err == nil {
		j.record = alignedBytes(2 * maxJournaled)[:0]
	}
	return err
}

// close closes the file for a while; nothing waits to be written.
func (j *journal) close() {
	_ = j.f.Close() // What was written is on flash.
	j.f, j.record = nil, nil
}

// alignedBytes returns n zeros that begin where a page does, as O_DIRECT asks for.
func alignedBytes(n int) []byte {
	b := make([]byte, n+pageSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (pageSize - 1) //nolint:gosec // Heap memory does not move.
	return b[skip : skip+n : skip+n]
}

// add adds a transaction to the next record: that of this version, which stands
// at this place in the memtable's log. It reports false when it does not fit.
func (j *journal) add(place int64, version uint64, entries []entry) bool {
	size := binary.MaxVarintLen32
	for _, e := range entries {
		size += 2*binary.MaxVarintLen32 + len(e.key) + len(e.value)
	}
	if len(j.record)+size > maxJournaled {
		return false
	}
	if len(j.record) == 0 {
		j.record = append(j.record, make([]byte, journalHead)...)
		j.record = binary.AppendUvarint(j.record, j.number+1)
		j.record = binary.AppendUvarint(j.record, uint64(place))
		j.record = binary.AppendUvarint(j.record, version)
	}
	j.record = appendTransaction(j.record, entries)
	return true
}

// appendTransaction appends the entries of a transaction, in the form above.
func appendTransaction(dst []byte, entries []entry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	for _, e := range entries {
		head := uint64(len(e.key)) << 1
		if e.pointer {
			head |= 1
		}
		dst = append(binary.AppendUvarint(dst, head), e.key...)
		dst = append(binary.AppendUvarint(dst, uint64(len(e.value))), e.value...)
	}
	return dst
}

// size returns what the next record takes of the ring.
func (j *journal) size() int { return (len(j.record) + j.block - 1) / j.block * j.block }

// hasRoom reports whether the ring has room for the next record.
func (j *journal) hasRoom() bool { return j.at+int64(j.size()) <= journalBytes }

// write writes the record, which is on flash on return, and begins the next one.
// It returns how many bytes it has written. There is room for it.
func (j *journal) write() (int64, error) {
	n, size := len(j.seal()), j.size()
	b := j.record[:size]
	clear(b[n:])
	if _, err := j.f.WriteAt(b, j.at); err != nil {
		return 0, err
	}
	j.at += int64(size)
	j.next()
	return int64(size), nil
}

// seal completes the record and returns it.
func (j *journal) seal() []byte {
	b := j.record
	copy(b, journalMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-journalHead))
	binary.LittleEndian.PutUint32(b[4:], recordSum(j.log, b[8:]))
	return b
}

// recordSum returns the checksum of a record for a log, 0 for one without a number.
func recordSum(log uint64, b []byte) uint32 {
	if log == 0 {
		return checksum(b)
	}
	return moreChecksum(checksum(binary.BigEndian.AppendUint64(nil, log)), b)
}

// next begins the next record: the one of before is on flash, or going to be.
func (j *journal) next() {
	j.number++
	j.record = j.record[:0]
}

// reset begins at the beginning of the ring again: everything is on flash
// elsewhere.
func (j *journal) reset() { j.at, j.record = 0, j.record[:0] }

// remove removes the journal, and its name from the flash: everything is on flash
// elsewhere.
func (j *journal) remove() error {
	path := j.f.Name()
	return errors.Join(j.f.Close(), os.Remove(path), syncDir(filepath.Dir(path)))
}
