package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// tail is the segment that is written: two logs in the format of Badger's, a
// memtable's log and a value log, and the books of them: which byte comes next in
// both, what is on flash, where every entry is. It belongs to one goroutine.
type tail struct {
	dir  string
	span uint64

	memFile, valueFile *os.File
	valueNumber        uint32    // of the value log
	older              *database // what was there when it was opened again; nil if it is not read, or nothing was
	index              index
	readBuf            []byte   // of the last read; at most mappedValue
	version            uint64   // of the last transaction, as Badger counts
	number             uint64   // of the memtable's log, see journal.go
	used               *os.File // see usedName; nil before it is there, and for definitions
	usedMap            []byte   // it, mapped; nil if it is not

	sizes
	memEnd     int64  // where the next entry of the memtable's log goes
	pending    []byte // the end of that log, which the file has not got yet
	memWritten int64  // where that begins
	valueEnd   int64  // where the next value goes
	reserved   int64  // the value log has blocks up to here
	spent      int64  // and up to here they were written before, in another segment
	lent       lent   // what that counts for

	memSynced, valueSynced int64 // both files are on flash up to here
	flashed                int64 // the memtable's log is, by itself or by the journal
	logged                 int64 // valueEnd when it was synced by itself

	journal *journal     // nil while there is none
	making  *madeJournal // the one that is being made; nil if none is
	unnoted bool         // something that is not on flash is not in the journal's record
	asleep  sleeping     // it is closed for a moment
	failed  bool         // a write or a sync failed: what is on flash is not known, and no later one tells
	small   int          // commits so far that suit a journal

	commits uint64 // records written
	synced  uint64 // records known to be on flash, a count from the first on
	items   uint32
	bytes   int64 // stored bytes of blocks
	sources *sourceTail
	resumed int  // how often it was opened again
	rests   bool // it is closed for a while only, its sources stay in memory

	written, syncs int64 // bytes given to the device, and syncs, so far

	gauge   *atomic.Int64 // memory of all tails of the storage; nil for definitions
	charged int64         // how much of that is this one's
}

// sizes is what a segment is made for.
type sizes struct {
	mem       int64 // bytes of the memtable's log
	values    int64 // bytes of the value log
	threshold int   // values of so many bytes and more go to the value log
	first     int64 // bytes of the value log that are reserved at first, if more than step
	step      int64 // how far ahead it is reserved then; 0 means valueStep
}

// ahead returns in which steps blocks of the value log are reserved.
func (z *sizes) ahead() int64 {
	if z.step == 0 {
		return valueStep
	}
	return z.step
}

// space returns what making the segment takes of the device.
func (z *sizes) space() int64 { return z.mem + max(z.first, z.ahead()) + z.ahead() + leanSpace }

// memLimit returns how much of the memtable's log takes entries.
func (z *sizes) memLimit() int64 { return z.mem - logHeader }

// entry is one key with its value.
type entry struct {
	key, value []byte
	rest       [][]byte // of a value of megabytes, what stands behind value
	pointer    bool     // the value says where in the value log the real one is
}

// size returns how many bytes the whole value has.
func (e *entry) size() int {
	n := len(e.value)
	for _, part := range e.rest {
		n += len(part)
	}
	return n
}

const (
	// What the logs hold beside keys and values: a header of the file, and
	// for each entry 2 bytes, three varints, the key's version and a checksum.
	// The end of a transaction is an entry too.
	logHeader    = 20
	versionSize  = 8
	checksumSize = 4
	pointerSize  = 12                                                    // stands in the memtable for a value in the value log
	endOfTxn     = 2 + 3 + len(endKey) + versionSize + 20 + checksumSize // at most

	pageSize = 4096

	// createMargin is left free when a segment is made.
	createMargin = 1 << 20
)

// logSize returns what an entry takes in a log of Badger's.
func logSize(key, value int) int64 {
	return int64(2+varintSize(key+versionSize)+varintSize(value)+1) + int64(key+versionSize+value+checksumSize)
}

func varintSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// memCost returns what an entry takes of the memtable's log.
func (z *sizes) memCost(key, value int) int64 {
	if value >= z.threshold {
		value = pointerSize
	}
	return logSize(key, value)
}

// createTail makes a new segment in dir and reserves what its files need on the
// device; the caller has looked whether there is room. It is on flash, and empty,
// when createTail returns. It may run in a goroutine of its own: nobody knows of
// the segment yet. Its memory is added to the gauge until it is closed; nil adds it
// nowhere.
func createTail(dir string, span uint64, z sizes, gauge *atomic.Int64, spent *spentLog) (t *tail, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, unmade(err, dir)
	}
	t = &tail{dir: dir, span: span, sizes: z, sources: newSourceTail(maxSegmentSources), gauge: gauge}
	t.charge(z.memory())
	err = makeDatabase(dir)
	if err == nil {
		err = t.makeLogs(spent)
	}
	if err == nil {
		if err = syncDir(filepath.Dir(dir)); err != nil {
			err = unavailable(err, "cannot sync the directory %s", filepath.Dir(dir))
		}
	}
	if err != nil {
		return nil, errors.Join(err, t.close(), os.RemoveAll(dir)) // The next try makes it anew.
	}
	return t, nil
}

const (
	// maxResumed bounds how often a segment is opened for writing again: each
	// time leaves a table behind, which every closing syncs again.
	maxResumed = 32
	// maxResumedSources bounds the index that is kept in memory for it, which
	// every partition that rests may have.
	maxResumedSources = 256
)

// canResume reports whether the tail, closed cleanly by this process, is worth
// opening again.
func (t *tail) canResume(o *Options) bool {
	return t.resumed < maxResumed && t.sources.len() <= maxResumedSources &&
		t.bytes < o.SegmentBytes/2 && t.items < maxSegmentItems/2
}

// resume opens a tail again that was closed, to write on in new files; what was
// there before can be read if reads says so. Its index of sources on the disk will
// not do any more, and is removed first.
func (t *tail) resume(reads bool) error {
	if err := makeSpace(t.dir, t.space(), 0); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(t.dir, sourcesName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(err, "cannot remove the index of %s", t.dir)
	}
	before, err := listDir(t.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", t.dir)
	}
	if reads {
		// Before there is a log that it would take for its own.
		if t.older, err = openDatabase(t.dir); err != nil {
			return err
		}
		t.charge(openMemory)
	}
	t.resumed++
	t.rests = false
	t.charge(t.memory() + sourceMemory*int64(t.sources.len()))
	if err = t.makeLogs(nil); err == nil {
		err = t.markUsed()
	}
	if err != nil {
		err = errors.Join(err, t.close()) // Nothing was written.
		removeNew(t.dir, before)
	}
	return err
}

// removeNew removes the files in dir that were not there before: half made, they
// would pass for damage.
func removeNew(dir string, before []string) {
	names, _ := listDir(dir) // A failure shows when the segment is read.
	for _, name := range names {
		if !slices.Contains(before, name) {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
}

func (t *tail) closeFiles() {
	if t.usedMap != nil {
		_ = unix.Munmap(t.usedMap) // The kernel has it.
		t.usedMap = nil
	}
	for _, f := range []**os.File{&t.memFile, &t.valueFile, &t.used} {
		if *f != nil {
			_ = (*f).Close() // What matters of it was synced.
			*f = nil
		}
	}
}

// close closes the files; what was not synced may be lost, and they stay as after a
// crash, which is a normal state. What only the journal has would be lost for sure
// without its log: where that cannot be given it, the journal stays as well, and the
// error Is errStuck. Logs to which nothing was written are removed, and blocks beyond
// the end of others given back.
func (t *tail) close() error {
	if err := t.settle(); err != nil {
		return t.leave(err)
	}
	err := t.trim()
	t.letGo()
	if err != nil {
		return unavailable(err, "cannot cut the logs of %s", t.dir)
	}
	return nil
}

// trim gives back the blocks of the logs beyond their ends. The file of the memtable's
// log stays as long as it was, so that it is not taken for one that was cut off.
func (t *tail) trim() error {
	if t.failed || t.memFile == nil || t.valueFile == nil {
		return nil
	}
	if t.isBlank() {
		// The value log is removed last: nothing can point to it then.
		return errors.Join(os.Remove(t.memFile.Name()), os.Remove(t.valueFile.Name()))
	}
	return errors.Join(t.memFile.Truncate(t.memEnd), t.memFile.Truncate(2*t.mem), t.valueFile.Truncate(t.valueEnd))
}

// letGo closes the files and gives the memory back.
func (t *tail) letGo() {
	t.closeFiles()
	t.forgetJournal()
	if t.older != nil {
		_ = t.older.close() // It was only read.
		t.older = nil
	}
	t.asleep.end()
	t.lent.end()
	t.index, t.pending, t.readBuf = index{}, nil, nil
	t.charge(-t.charged)
}

// charge adds n bytes to what the tail takes of memory.
func (t *tail) charge(n int64) {
	if t.gauge != nil {
		t.charged += n
		t.gauge.Add(n)
	}
}

// memUsed returns how much of the memtable's log is used.
func (t *tail) memUsed() int64 { return t.memEnd - logHeader }

// memLeft returns how much of the memtable's log may still be used.
func (t *tail) memLeft() int64 { return t.memLimit() - t.memUsed() }

// valueLeft returns how much the value log still takes.
func (t *tail) valueLeft() int64 { return t.values - t.valueEnd }

// reserve sees to it that the value log has blocks for n bytes more.
func (t *tail) reserve(n int64) error {
	if t.valueEnd+n <= t.reserved {
		return nil
	}
	step := t.ahead()
	if t.step == 0 {
		// Most queues are small.
		step = max(leastStep, min(step, t.valueEnd))
	}
	end := (t.valueEnd + n + step - 1) / step * step
	if err := allocate(t.valueFile, max(t.reserved, t.valueEnd), end); err != nil {
		return err
	}
	t.reserved = end
	return nil
}

// usedBytes returns what the tail's files occupy of the device.
func (t *tail) usedBytes() int64 {
	if t.asleep.is {
		return t.asleep.used
	}
	var sum int64
	for _, f := range []*os.File{t.memFile, t.valueFile} {
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) == nil {
			sum += int64(st.Blocks) * 512
		}
	}
	if t.journal != nil {
		sum += journalBytes
	}
	return sum + 5*pageSize // the small files
}
