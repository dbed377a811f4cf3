package badgerstore

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// A commit with values in the value log would take two syncs, one of that log and then
// one of the journal; of each the device empties its cache. So its record of the journal
// is carried: it stands behind the values, as an entry of the value log that nothing
// points to, and one sync is for both.
//
//	key      'j' and the number of the memtable's log, 8 bytes, big endian
//	version  of the last transaction in the record
//	value    the record, as it would stand in the ring (journal.go)
//
// The device may have the record and not the values when the power goes during the sync.
// So redo gives the log a commit then of which values are missing: nothing was
// acknowledged, since no later record says so, and recovery drops it, as it drops one
// whose pages of the memtable's log the kernel has written by itself.
//
// Records are looked for behind the last value that the memtable's log points to, by
// their key, so that damage to one costs no other. The log is synced when the value log
// has grown by maxCarried since: no more than that is read for it after a crash, unless
// the log is torn, of which the kernel may have written any pages.
//
// For example, the record of the example in journal.go, carried for the log number 3 with
// version 7:
//
//	00 00 11 14 00                 an entry, key of 17 bytes, value of 20
//	6a 00 00 00 00 00 00 00 03     'j', number 3
//	ff ff ff ff ff ff ff f8        version 7
//	71 65 6a 03 19 19 aa c1 …      the record
//	79 b5 0b 41                    CRC-32C
const letterCarried = 'j'

const (
	// maxCarried is how far the value log may grow while records are carried in it that
	// the memtable's log has not got on flash.
	maxCarried = 4 << 20
	// mostCarried bounds the entry of a carried record.
	mostCarried = rawFrame + numberedKeySize + maxJournaled
)

// newLogNumber returns a number for a memtable's log; it is not 0.
func newLogNumber() uint64 { return 1 + rand.Uint64N(math.MaxUint64) }

// carriedKey returns the key of the records carried for a log.
func carriedKey(number uint64) []byte { return numberedKey(letterCarried, number) }

// isCarried reports whether an entry of a value log is a carried record.
func isCarried(key []byte) bool {
	_, ok := keyNumber(letterCarried, key)
	return ok
}

// carry writes the journal's record behind the values, which are to be synced next. It
// reports false where there is no room for it, or none that may be used.
func (t *tail) carry() (bool, error) {
	e := entry{key: carriedKey(t.number), value: t.journal.seal()}
	end := t.valueEnd + logSize(len(e.key), len(e.value))
	if t.step != 0 || end > t.values || end > t.reserved {
		return false, nil
	}
	w := newValueWriter(t.valueFile, t.valueEnd, []entry{e}, 0)
	w.add(&e, t.version)
	w.pad(t.spent)
	err := w.write()
	if isFull(err) {
		return false, nil // Where the file system writes everything to a new place.
	}
	if err != nil {
		return false, unavailable(err, "cannot write the values of %s", t.dir)
	}
	t.valueEnd = w.end()
	t.journal.next()
	return true, nil
}

// eachCarried hands the records to fn that are carried for the memtable's log at mem, which
// has that number, in order. Their memory is valid during the call.
func eachCarried(mem string, log uint64, fn func(rec journalRecord) error) error {
	dir := filepath.Dir(mem)
	names, err := listDir(dir)
	if err != nil {
		return err
	}
	name := lastValueLog(names)
	if name == "" {
		return nil
	}
	values, err := newValueLog(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if err := refreshFile(values.path); err != nil {
		return err
	}
	f, err := os.Open(values.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	from, end, err := carriedRange(mem, values, info.Size())
	if err != nil {
		return err
	}
	w := &window{f: &card{f: f}, size: end}
	return errors.Join(w.carried(from, log, fn), w.err)
}

// carriedRange returns from where to where in a value log records can be that the
// memtable's log may not have: behind the last value that it points to, and no further
// than it grows before the log is synced. Where the log is torn or damaged, anywhere.
func carriedRange(mem string, values *valueLog, size int64) (from, end int64, err error) {
	l, err := scanLog(mem, func(e *rawEntry) error { values.use(e.meta, e.value); return nil }, func() {})
	if err != nil {
		return 0, 0, err
	}
	if len(l.gaps) > 0 || l.lost > 0 || values.used > size {
		return logHeader, size, nil
	}
	// Behind the last value a record may follow that was carried before the sync.
	from = max(logHeader, values.used)
	return from, min(size, from+maxCarried+3*mostCarried), nil
}

// parsePointer reads what appendPointer has written.
func parsePointer(b []byte) (file, length, at uint32) {
	return binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
}

// carried hands the records for a log to fn, from from on.
func (w *window) carried(from int64, log uint64, fn func(rec journalRecord) error) error {
	key := carriedKey(log)
	for at := w.index(from, key); at >= 0; at = w.index(at+1, key) {
		// Before the key are two bytes and the three lengths, of which that of the value
		// takes one byte or two.
		for _, head := range []int64{5, 6} {
			e, n := w.entry(at - head)
			if n == 0 || string(e.key) != string(key) {
				continue
			}
			if rec, _, ok := decodeJournalRecord(e.value, log); ok {
				if err := fn(rec); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
