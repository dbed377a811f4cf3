package badgerstore

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// What a tail writes, and where it stands until it is in the files.
//
// An entry goes to the memtable's log, a large value to the value log, and a pointer
// to it to the memtable's. A commit is one transaction of the memtable's log, which
// is there as a whole or not at all after a crash. All of it is appended to pending
// first. With a journal it stays there for a while, when the journal has it on flash;
// else pending is written to the file at once.

// write writes the entries in order, behind all that was written before, as one
// transaction.
func (t *tail) write(entries []entry) error {
	if err := t.fits(entries); err != nil {
		return err
	}
	t.unnoted = t.unnoted || t.journal != nil
	if _, err := t.append(entries); err != nil {
		return err
	}
	return t.flush()
}

// put writes a commit, and puts it on flash if sync says so.
func (t *tail) put(entries []entry, sync bool) error {
	if err := t.fits(entries); err != nil {
		return err
	}
	small := t.isSmall(entries)
	if small {
		t.small++
	}
	place, version := t.memEnd, t.version+1
	logged, err := t.append(entries)
	if err != nil {
		return err
	}
	t.note(small, place, version, logged)
	t.commits++
	if !sync {
		// The kernel has it in case that the process is killed.
		return t.flush()
	}
	return t.sync()
}

// isSmall reports whether what the entries are in the memtable's log suits a journal.
func (t *tail) isSmall(entries []entry) bool {
	size := 0
	for _, e := range entries {
		n := e.size()
		if n >= t.threshold {
			n = pointerSize
		}
		size += len(e.key) + n
	}
	return size <= maxJournaled
}

// note adds what stands at place in the log to the journal's next record. When that
// cannot be, only a sync of the log puts it on flash.
func (t *tail) note(small bool, place int64, version uint64, logged []entry) {
	if t.journal == nil || t.unnoted {
		return
	}
	t.unnoted = !small || !t.journal.add(place, version, logged)
}

// fits sees to it that both logs have room and blocks for the entries.
func (t *tail) fits(entries []entry) error {
	mem, values := int64(endOfTxn), int64(0)
	for _, e := range entries {
		mem += t.memCost(len(e.key), e.size())
		if e.size() >= t.threshold {
			values += logSize(len(e.key), e.size())
		}
	}
	if mem > t.memLeft() || values > t.valueLeft() {
		return unavailable(nil, "BUG: a commit of %d and %d bytes does not fit into %s, which has %d and %d left",
			mem, values, t.dir, t.memLeft(), t.valueLeft())
	}
	return t.reserve(values)
}

// append appends the entries, as one transaction: large values to the value log, the
// rest to pending. It returns the entries as they are there. After an error the tail
// has failed.
func (t *tail) append(entries []entry) (logged []entry, err error) {
	t.version++
	logged = entries
	values := newValueWriter(t.valueFile, t.valueEnd, entries, t.threshold)
	for i, e := range entries {
		if e.size() < t.threshold {
			t.pending = appendRaw(t.pending, metaTxn, e.key, t.version, e.value)
			t.index.add(e.key, t.memWritten+int64(len(t.pending)-checksumSize-len(e.value)), len(e.value), false)
			continue
		}
		at := values.end()
		place := values.add(&e, t.version)
		pointer := appendPointer(make([]byte, 0, pointerSize), t.valueNumber, at, values.end())
		t.pending = appendRaw(t.pending, metaTxn|metaPointer, e.key, t.version, pointer)
		t.index.add(e.key, place, e.size(), true)
		if &logged[0] == &entries[0] {
			logged = slices.Clone(entries)
		}
		logged[i] = entry{key: e.key, value: pointer, pointer: true}
	}
	t.pending = appendRaw(t.pending, metaEndTxn, []byte(endKey), t.version, strconv.AppendUint(nil, t.version, 10))
	t.memEnd = t.memWritten + int64(len(t.pending))
	values.pad(t.spent)
	if err := values.write(); err != nil {
		t.failed = true
		return nil, unavailable(err, "cannot write the values of %s", t.dir)
	}
	t.valueEnd = values.end()
	return logged, nil
}

// appendPointer appends what stands for a value whose entry is at a place in a value
// log. Badger's pointers lie there as in memory: file, length, offset.
func appendPointer(dst []byte, file uint32, at, end int64) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, file)
	dst = binary.NativeEndian.AppendUint32(dst, uint32(end-at))
	return binary.NativeEndian.AppendUint32(dst, uint32(at))
}

// flush writes what is pending to the file.
func (t *tail) flush() error {
	if len(t.pending) == 0 {
		return nil
	}
	if _, err := t.memFile.WriteAt(t.pending, t.memWritten); err != nil {
		t.failed = true
		return unavailable(err, "cannot write the log of %s", t.dir)
	}
	t.memWritten = t.memEnd
	t.pending = t.pending[:0]
	if cap(t.pending) > keptPending {
		t.pending = nil
	}
	return nil
}

// keptPending bounds the buffer that is kept for what is pending; with a journal it
// grows to about that.
const keptPending = journalBytes + 4*maxJournaled

// valueWriter writes entries to a value log, without a copy of the values.
type valueWriter struct {
	f     *os.File
	at    int64    // where the first goes
	size  int64    // of all
	heads []byte   // what stands before values and behind them; it does not move
	parts [][]byte // all, in order
}

// rawFrame bounds what an entry takes beside key and value.
const rawFrame = 2 + 3*binary.MaxVarintLen32 + versionSize + checksumSize

// newValueWriter returns one for entries whose values have at least so many bytes.
func newValueWriter(f *os.File, at int64, entries []entry, threshold int) *valueWriter {
	parts, size := 0, 0
	for _, e := range entries {
		if e.size() >= threshold {
			parts, size = parts+3+len(e.rest), size+len(e.key)+rawFrame
		}
	}
	if parts == 0 {
		return &valueWriter{at: at}
	}
	return &valueWriter{f: f, at: at, heads: make([]byte, 0, size), parts: make([][]byte, 0, parts+1)}
}

// end returns where the next entry goes.
func (w *valueWriter) end() int64 { return w.at + w.size }

// add adds an entry, and returns where its value will be.
func (w *valueWriter) add(e *entry, version uint64) (place int64) {
	start, size := len(w.heads), e.size()
	w.heads = appendRawHead(w.heads, 0, e.key, version, size)
	head := w.heads[start:]
	sum := moreChecksum(checksum(head), e.value)
	w.parts = append(w.parts, head, e.value)
	for _, part := range e.rest {
		sum = moreChecksum(sum, part)
		w.parts = append(w.parts, part)
	}
	w.heads = binary.BigEndian.AppendUint32(w.heads, sum)
	w.parts = append(w.parts, w.heads[len(w.heads)-checksumSize:])
	place = w.end() + int64(len(head))
	w.size += int64(len(head) + size + checksumSize)
	return place
}

// pad fills the last page with zeros where the file has blocks that were written
// before, which it has up to spent: of a page that is written in part the kernel reads
// the rest from the device first.
func (w *valueWriter) pad(spent int64) {
	n := -w.end() & (pageSize - 1)
	if n > 0 && len(w.parts) > 0 && w.end()+n <= spent {
		w.parts = append(w.parts, make([]byte, n))
	}
}

// write writes what was added.
func (w *valueWriter) write() error {
	const mostParts = 1024 // The kernel takes no more at a time.
	at, parts := w.at, w.parts
	for len(parts) > 0 {
		var n int
		err := ignoreInterrupt(func() (err error) {
			n, err = unix.Pwritev(int(w.f.Fd()), parts[:min(len(parts), mostParts)], at)
			return err
		})
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return &fs.PathError{Op: "pwritev", Path: w.f.Name(), Err: err}
		}
		at += int64(n)
		for n > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return nil
}
