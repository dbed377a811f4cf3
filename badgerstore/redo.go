package badgerstore

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// journalRecord is a record of a journal, see journal.go.
type journalRecord struct {
	number  uint64
	place   int64
	version uint64
	txns    [][]entry
}

// redo writes what the journal in dir holds, and what its value log carries, to the
// memtable's log that it belongs to, where the tail would have written it in the end, and
// removes the journal. It does nothing without one, and may be interrupted and called
// again. Nobody else uses the directory.
func redo(dir string) error {
	path := filepath.Join(dir, journalName)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	mem, err := newestLog(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	if err := refreshFile(path); err != nil {
		return unavailable(err, "cannot sync %s", path)
	}
	data, _, err := readCard(path)
	if err != nil {
		return unavailable(err, "cannot read %s", path)
	}
	log, err := logNumber(mem, data)
	if err != nil {
		return unavailable(err, "cannot read %s", mem)
	}
	if log == 0 && len(data) > journalBytes {
		// What is in it cannot be told from what an item may hold. It is set aside.
		return corrupt(nil, "neither the log nor the journal of %s says which number the log has", dir)
	}
	records := scanJournal(data, log)
	if mem == "" && len(records) > 0 {
		return nil // The log was taken away. The journal stays beside what there is.
	}
	if mem != "" {
		if err := redoLog(mem, log, records); isCorrupt(err) {
			return err // The directory is set aside with its journal.
		} else if err != nil {
			return unavailable(err, "cannot write %s again", mem)
		}
	}
	if err := errors.Join(os.Remove(path), syncDir(dir)); err != nil {
		return unavailable(err, "cannot remove %s", path)
	}
	return nil
}

// logNumber returns the number of the memtable's log at mem, which its header or its
// journal has; 0 if it has none. Without a log the journal tells.
func logNumber(mem string, journal []byte) (uint64, error) {
	if mem != "" {
		f, err := os.Open(mem)
		if err != nil {
			return 0, err
		}
		w := &window{f: &card{f: f}, size: logHeader}
		number, ok := parseStamp(w.at(0, logHeader))
		if err := errors.Join(w.err, f.Close()); err != nil || ok {
			return number, err
		}
	}
	number, ok := parseStamp(journal[min(len(journal), journalBytes):])
	if !ok {
		return 0, nil
	}
	return number, nil
}

// newestLog returns the path of the memtable's log with the greatest number, empty
// if there is none.
func newestLog(dir string) (string, error) {
	names, err := listDir(dir)
	if err != nil {
		return "", err
	}
	newest := ""
	for _, name := range names {
		if filepath.Ext(name) == ".mem" {
			newest = max(newest, name) // Numbers have leading zeros.
		}
	}
	if newest == "" {
		return "", nil
	}
	return filepath.Join(dir, newest), nil
}

// redoLog writes the transactions of the records, and of those that are carried, to
// their places in the log at path, and syncs it. No place is that of two records, so that
// it does not matter which is written first. The error Is queue.ErrCorrupt when one could
// not be written because of a part of the log that the device has lost; all others are.
func redoLog(path string, log uint64, records []journalRecord) error {
	// What the device has is what counts beside the journal, see refresh.
	if err := refreshFile(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var buf []byte
	lost := false
	write := func(rec journalRecord) error {
		buf = buf[:0]
		for i, entries := range rec.txns {
			buf = appendRawTxn(buf, rec.version+uint64(i), entries)
		}
		_, err := f.WriteAt(buf, rec.place)
		if isInputError(err) {
			// The kernel cannot read the page around it. The rest goes on.
			lost, err = true, nil
		}
		return err
	}
	// First those that are carried: where they are depends on what the log has.
	if log != 0 {
		err = eachCarried(path, log, write)
	}
	for i := 0; i < len(records) && err == nil; i++ {
		err = write(records[i])
	}
	if err == nil {
		err = fdatasync(f)
	}
	err = errors.Join(err, f.Close())
	if err == nil && lost {
		return corrupt(nil, "the device has lost a part of %s", path)
	}
	return err
}

// scanJournal returns the records of a ring for a log, in order. One that does not verify is
// left out: the last one may be torn, which was not acknowledged then, and what was
// lost of others shows in the log. Behind the newest come older ones, which are in
// the log.
func scanJournal(ring []byte, log uint64) []journalRecord {
	var records []journalRecord
	last := uint64(0)
	for off := 0; off+journalHead <= len(ring); {
		rec, size, ok := decodeJournalRecord(ring[off:], log)
		if !ok || rec.number <= last {
			off += journalBlock
			continue
		}
		records, last = append(records, rec), rec.number
		off += (size + journalBlock - 1) / journalBlock * journalBlock
	}
	return records
}

// decodeJournalRecord reads the record that b begins with, one for a log with that number
// or without any, and returns its size. The entries share the memory of b.
func decodeJournalRecord(b []byte, log uint64) (rec journalRecord, size int, ok bool) {
	if len(b) < journalHead {
		return rec, 0, false
	}
	first := false
	switch string(b[:len(journalMagic)]) {
	case journalMagic:
		ok = log != 0
	case journalFirst, journalSecond:
		first, ok = b[len(journalMagic)-1] == 1, log == 0
	}
	if !ok {
		return rec, 0, false
	}
	n := binary.LittleEndian.Uint32(b[8:])
	if int64(n) > int64(len(b)-journalHead) {
		return rec, 0, false
	}
	size = journalHead + int(n)
	if recordSum(log, b[8:size]) != leUint32(b[4:]) {
		return rec, 0, false
	}
	r := &reader{b: b[journalHead:size]}
	rec.number = r.uvarint()
	place := r.uvarint()
	rec.version = r.uvarint()
	for r.left() > 0 && !r.bad {
		rec.txns = append(rec.txns, r.transaction(first))
	}
	rec.place = int64(place & maxLogPlace)
	if place > maxLogPlace || place < logHeader {
		r.bad = true
	}
	return rec, size, !r.bad
}

// maxLogPlace bounds the places that are believed; logs are far smaller.
const maxLogPlace = 1<<31 - 1

// transaction reads what appendTransaction has written, or has written in version 1.
func (r *reader) transaction(first bool) []entry {
	const leastEntry = 3 // A key of one byte, and two lengths.
	n := r.count(leastEntry)
	entries := make([]entry, 0, n)
	for range n {
		var e entry
		if first {
			e.key = r.bytes(r.length())
		} else {
			head := r.uvarint()
			e.pointer = head&1 != 0
			e.key = r.bytes(r.fitting(head >> 1))
		}
		e.value = r.bytes(r.length())
		if len(e.key) == 0 || e.pointer && len(e.value) != pointerSize {
			r.fail()
		}
		entries = append(entries, e)
	}
	return entries
}

// endKey is the key of the entry that ends a transaction in Badger's logs; its
// value is the version in digits.
const endKey = "!badger!txn"

// appendRawTxn appends a transaction as it stands in a log of Badger's, see
// rawlog.go. Badger wrote the entries in any order.
func appendRawTxn(dst []byte, version uint64, entries []entry) []byte {
	for _, e := range entries {
		meta := byte(metaTxn)
		if e.pointer {
			meta |= metaPointer
		}
		dst = appendRaw(dst, meta, e.key, version, e.value)
	}
	return appendRaw(dst, metaEndTxn, []byte(endKey), version, strconv.AppendUint(nil, version, 10))
}

// appendRaw appends an entry as it stands in a log of Badger's.
func appendRaw(dst []byte, meta byte, key []byte, version uint64, value []byte) []byte {
	start := len(dst)
	dst = appendRawHead(dst, meta, key, version, len(value))
	dst = append(dst, value...)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[start:]))
}

// appendRawHead appends what stands before the value of an entry.
func appendRawHead(dst []byte, meta byte, key []byte, version uint64, size int) []byte {
	dst = append(dst, meta, 0)
	dst = binary.AppendUvarint(dst, uint64(len(key)+versionSize))
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = append(dst, 0)
	dst = append(dst, key...)
	return binary.BigEndian.AppendUint64(dst, ^version)
}
