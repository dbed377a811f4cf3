package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// tail is the database of the segment that is written. It keeps the books that
// let Badger's files be synced from outside and never rotate: which byte comes
// next in both, how much of the memtable is used, what is on flash. It belongs
// to one goroutine.
type tail struct {
	*database
	span uint64

	memFile, valueFile *os.File // our own descriptors of Badger's files
	used               *os.File // see usedName; nil before it is there, and for definitions

	sizes
	memEnd   int64 // where the next entry of the memtable's log goes
	memUsed  int64 // upper bound of what is used of the memtable: log or arena
	valueEnd int64 // where the next value goes
	reserved int64 // the value log has blocks up to here

	memSynced, valueSynced int64 // both files are on flash up to here
	flashed                int64 // the memtable's log is, by itself or by the journal

	journal *journal     // nil while there is none
	making  *madeJournal // the one that is being made; nil if none is
	behind  behind       // what Badger is to get later
	unnoted bool         // something that is not on flash is not in the journal's record
	failed  bool         // a sync failed: what is on flash is not known, and no later one tells
	small   int          // commits so far that suit a journal
	calm    int          // those of them since the last one that does not

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
	mem       int64 // Badger's MemTableSize
	values    int64 // Badger's ValueLogFileSize, beyond which it would rotate
	threshold int   // Badger's ValueThreshold: from here on values go to the value log
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

// memLimit returns how much of the memtable is used.
func (z *sizes) memLimit() int64 { return z.mem * memLimit / 100 }

// entry is one key with its value.
type entry struct{ key, value []byte }

const (
	// What Badger's logs hold beside keys and values: a header of the file, and
	// for each entry 2 bytes, three varints, the key's version and a checksum.
	// The end of a transaction is an entry too.
	logHeader    = 20
	versionSize  = 8
	checksumSize = 4
	pointerSize  = 12                                                    // stands in the memtable for a value in the value log
	endOfTxn     = 2 + 3 + len(endKey) + versionSize + 20 + checksumSize // at most, see endSize

	// arenaNode is what a node takes in the memtable's arena beside key and
	// value: 23 bytes and 4 for each level of its tower, of which there are 1.5
	// on average. Over the hundreds of entries of a memtable the mean is sure
	// within a per cent; the bound is far above it.
	arenaNode = 44

	// memLimit is the part of the memtable that is used, in per cent.
	memLimit = 85

	pageSize = 4096

	// createMargin is left free when a segment is made: Badger writes the first
	// pages of its files before we can reserve them.
	createMargin = 1 << 20
)

// logSize returns what an entry takes in a log of Badger's.
func logSize(key, value int) int64 {
	return int64(2+varintSize(key+versionSize)+varintSize(value)+1) + int64(key+versionSize+value+checksumSize)
}

// endSize returns what the end of the transaction of that version takes in a log.
func endSize(version uint64) int64 {
	digits := 1
	for ; version >= 10; version /= 10 {
		digits++
	}
	return logSize(len(endKey), digits)
}

func varintSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// memCost returns an upper bound of what an entry takes of the memtable.
func (z *sizes) memCost(key, value int) int64 {
	if value >= z.threshold {
		value = pointerSize
	}
	return max(logSize(key, value), int64(arenaNode+key+versionSize+value+4))
}

// createTail makes a new segment in dir and reserves what its files need on the
// device; the caller has looked whether there is room. It is on flash, and empty,
// when createTail returns. It may run in a goroutine of its own: nobody knows of
// the segment yet. Its memory is added to the gauge until it is closed; nil adds it
// nowhere.
func createTail(dir string, span uint64, z sizes, gauge *atomic.Int64) (t *tail, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, unavailable(err, "cannot create the segment %s", dir)
	}
	d, err := openDatabase(dir, z, false)
	if err != nil {
		_ = os.RemoveAll(dir) // Nothing was written, and the next try makes it anew.
		return nil, err
	}
	t = &tail{database: d, span: span, sizes: z, sources: newSourceTail(maxSegmentSources), gauge: gauge}
	t.charge(z.memory())
	if err := t.openFiles(); err != nil {
		_ = t.close() // Nothing was written.
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		_ = t.close() // Nothing was written.
		return nil, unavailable(err, "cannot sync the directory %s", filepath.Dir(dir))
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

// resume opens a tail again that was closed, to write on in new files. Its index
// of sources on the disk will not do any more, and is removed first.
func (t *tail) resume() error {
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
	d, err := openDatabase(t.dir, t.sizes, false)
	if err == nil {
		t.database, t.memFile, t.valueFile, t.used = d, nil, nil, nil
		t.resumed++
		t.rests = false
		t.charge(t.memory() + sourceMemory*int64(t.sources.len()))
		err = t.openFiles()
		if err == nil {
			err = t.markUsed()
		}
		if err != nil {
			_ = t.close() // Nothing was written.
		}
	}
	if err != nil {
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

// openFiles opens descriptors of the files that Badger writes: the memtable's
// log and the value log with the greatest numbers. Then it reserves what they
// need on the device, and puts everything in the directory on flash.
func (t *tail) openFiles() error {
	names, err := listDir(t.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", t.dir)
	}
	slices.Sort(names) // Numbers have leading zeros, and stay far below their width.
	for _, name := range names {
		var f **os.File
		switch filepath.Ext(name) {
		case ".mem":
			f = &t.memFile
		case ".vlog":
			f = &t.valueFile
		default:
			continue
		}
		if *f != nil {
			_ = (*f).Close() // Nothing was written through it.
		}
		if *f, err = os.OpenFile(filepath.Join(t.dir, name), os.O_RDWR, 0); err != nil {
			return unavailable(err, "cannot open %s of %s", name, t.dir)
		}
	}
	if t.memFile == nil || t.valueFile == nil {
		return unavailable(nil, "BUG: %s lacks a log", t.dir)
	}
	t.memEnd, t.valueEnd, t.memUsed, t.reserved = logHeader, logHeader, 0, 0
	if err := allocate(t.memFile, 0, t.mem); err != nil {
		return err
	}
	if err := t.reserve(max(t.first, t.ahead()-logHeader)); err != nil {
		return err
	}
	if err := t.syncNew(); err != nil {
		return unavailable(err, "cannot sync the segment %s", t.dir)
	}
	t.memSynced, t.valueSynced, t.flashed = t.memEnd, t.valueEnd, t.memEnd
	t.small, t.calm, t.unnoted = 0, 0, false
	t.written += 8 * pageSize
	t.syncs += 8
	return t.log.check()
}

// syncNew puts what Badger has just made on flash. In a segment that is opened
// again that is the two logs and the MANIFEST; the tables and the value logs of
// before were synced when they were made, and there may be many.
func (t *tail) syncNew() error {
	if t.resumed == 0 {
		return syncFiles(t.dir)
	}
	m, err := os.Open(filepath.Join(t.dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	return errors.Join(m.Sync(), m.Close(), t.memFile.Sync(), t.valueFile.Sync(), syncDir(t.dir))
}

func (t *tail) closeFiles() {
	for _, f := range []*os.File{t.memFile, t.valueFile, t.used} {
		if f != nil {
			_ = f.Close() // Nothing that matters was written through it.
		}
	}
}

// close closes the database; what was not synced may be lost. What only the journal
// has would be lost for sure without its log: where Badger cannot be given it, the
// database is left to the end of the process, and its files are as after a crash.
// The error Is errStuck then.
func (t *tail) close() error {
	defer t.charge(-t.charged)
	err := t.settle()
	t.closeFiles()
	if err != nil {
		return errors.Join(errStuck, err)
	}
	return t.database.close()
}

// shed lets go of the memory of a database that was closed.
func (t *tail) shed() { t.database = &database{log: t.log, dir: t.dir} }

// charge adds n bytes to what the tail takes of memory.
func (t *tail) charge(n int64) {
	if t.gauge != nil {
		t.charged += n
		t.gauge.Add(n)
	}
}

// memLeft returns how much of the memtable may still be used.
func (t *tail) memLeft() int64 { return t.memLimit() - t.memUsed }

// valueLeft returns how much the value log still takes.
func (t *tail) valueLeft() int64 { return t.values - t.valueEnd }

// reserve sees to it that the value log has blocks for n bytes more. Badger has
// made the file twice as long as it will ever be, without blocks.
func (t *tail) reserve(n int64) error {
	if t.valueEnd+n <= t.reserved {
		return nil
	}
	step := t.ahead()
	end := (t.valueEnd + n + step - 1) / step * step
	if err := allocate(t.valueFile, max(t.reserved, t.valueEnd), end); err != nil {
		return err
	}
	t.reserved = end
	return nil
}

// write writes the entries in order, behind all that was written before: in one
// transaction, so that after a crash all of them are there or none, or in several
// when there are too many for one. Then the last entry has to be the one that gives
// the others their meaning.
func (t *tail) write(entries []entry) error {
	if err := t.fits(entries); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return err
	}
	for len(entries) > 0 {
		n := t.batch(entries)
		if err := t.transact(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return t.log.check()
}

// fits sees to it that both logs have room and blocks for the entries.
func (t *tail) fits(entries []entry) error {
	var mem, values int64
	for _, e := range entries {
		mem += t.memCost(len(e.key), len(e.value))
		if len(e.value) >= t.threshold {
			values += logSize(len(e.key), len(e.value))
		}
	}
	if mem > t.memLeft() || values > t.valueLeft() {
		return unavailable(nil, "BUG: a commit of %d and %d bytes does not fit into %s, which has %d and %d left",
			mem, values, t.dir, t.memLeft(), t.valueLeft())
	}
	return t.reserve(values)
}

// batch returns how many of the entries go into one transaction. Badger takes
// 15 % of the memtable's size, and one entry for each greatest node in that.
func (t *tail) batch(entries []entry) int {
	const nodeSize = 96
	limit := t.mem * 15 / 100
	count := int(limit/nodeSize) - 2
	size := int64(len("!badger!txn") + 10) // The end of the transaction.
	for i, e := range entries {
		value := len(e.value)
		if value >= t.threshold {
			value = pointerSize
		}
		if size += int64(len(e.key) + value + 12); i == count || size >= limit {
			return max(1, i)
		}
	}
	return len(entries)
}

// transact writes the entries in one transaction and keeps the books.
func (t *tail) transact(entries []entry) error {
	txn := t.writeTxn()
	defer txn.Discard()
	for _, e := range entries {
		if err := txn.SetEntry(badger.NewEntry(e.key, e.value)); err != nil {
			return unavailable(err, "cannot write to %s", t.dir)
		}
	}
	if err := t.commit(txn); err != nil {
		return err
	}
	t.book(entries)
	return nil
}

// book keeps the books of a transaction of the present version.
func (t *tail) book(entries []entry) {
	for _, e := range entries {
		size := len(e.value)
		if size >= t.threshold {
			t.valueEnd += logSize(len(e.key), size)
			size = pointerSize
		}
		t.memUsed += t.memCost(len(e.key), len(e.value))
		t.memEnd += logSize(len(e.key), size)
	}
	t.memUsed += int64(endOfTxn)
	t.memEnd += endSize(t.version)
}

// usedBytes returns what the tail's files occupy of the device.
func (t *tail) usedBytes() int64 {
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
