package badgerstore

import (
	"math"
	"math/bits"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options are the settings of a storage. Zero values mean the defaults.
type Options struct {
	// Dir is the directory of the storage; it is created when it is not there.
	// All of it is on one device.
	Dir string
	// Boot names this run of the kernel (queue.Clock.Boot).
	Boot string
	// MemoryBudget is how many bytes of memory all open databases of the storage
	// should take together; 0 means DefaultMemoryBudget. Within it segments get
	// larger memtables, the next one is opened ahead, and the last one is kept open
	// for a while. What partitions cannot do without is taken in any case: TailMemory
	// for each that is open for writing. Whoever wants a hard bound opens no more of
	// them at a time than half of the budget has room for.
	MemoryBudget int64
	// MaxOpen is how many sealed segments are kept open for reading, all
	// partitions together, at about 160 KiB each; 0 means one for each MiB of
	// MemoryBudget, at least 4 and at most 32.
	MaxOpen int
	// MinFree is how many bytes of the disk are left alone: beyond it items are
	// refused, what is there can still be leased and completed. 0 means
	// DefaultMinFree, a negative number none.
	MinFree int64
	// MinFreeInodes is how many inodes of the disk are left alone, in the same
	// way; 0 means DefaultMinFreeInodes, a negative number none. A file system
	// that does not count inodes has enough of them.
	MinFreeInodes int64
	// SegmentBytes is how many bytes of stored blocks a segment takes before the
	// next one begins; 0 means 16 MiB, or 4 MiB where addresses have 32 bits,
	// since all of a segment is mapped, but at most a 16th of the file system, since
	// space is freed by segments. At least 1 MiB, at most 1 GiB.
	SegmentBytes int64
	// Compression says how items are compressed; the zero value is S2.
	Compression Compression
	// Collect is called when a commit of a MiB or more is in blocks, so that the memory
	// that its items came in is free while it is written, which takes a while. It
	// collects garbage where memory is short, as runtime.GC does; nil collects nothing.
	Collect func()
	// Now is the wall clock, for the time of creation in segment headers, which
	// only people read; nil means time.Now.
	Now func() time.Time
	// Events are told what an operator wants to know.
	Events Events
}

// Events are functions that are called when something happened that no error
// tells; nil ones are left out. They are called from any goroutine and must
// return soon.
type Events struct {
	// SetAside: the directory from was renamed to to and is used no more.
	SetAside func(from, to, reason string)
	// Dropped: the segment in dir ended in so many commits that were never
	// acknowledged, which is normal after a power cut.
	Dropped func(dir string, commits int)
	// Failed: something in the background failed and will be tried again.
	Failed func(dir string, err error)
}

const (
	// DefaultMemoryBudget suits a device with 512 MiB.
	DefaultMemoryBudget = 32 << 20
	// DefaultMinFree keeps room for what completing all items may write.
	DefaultMinFree = 8 << 20
	// DefaultMinFreeInodes keeps files for completing: a segment has about seven.
	DefaultMinFreeInodes = 1000

	// valueThreshold is the size from which on a value goes to the value log,
	// where without a journal it costs a second file to sync; below, it goes to the
	// memtable, which is written to flash twice (the second time when it is sealed). At
	// 4 KiB single items of that size that cannot be compressed write 2.1 bytes instead of
	// 3.0 for a byte of payload, but as much with what a file system notes of blocks that
	// were reserved, and are produced 0.75 to 0.85 times as fast.
	valueThreshold = 8 << 10
	// lowThreshold takes its place in a segment for a commit of so many blocks
	// that small ones among them might overflow the memtable.
	lowThreshold = 1 << 10
	manyBlocks   = 16

	// Sizes of memtables; each is 4 times the one before. They bound how many
	// commits a segment takes. The collector counts the whole of a memtable from
	// the beginning, so that every open partition has to do with the least one
	// when there are many.
	minMemTable = 128 << 10
	maxMemTable = 4 << 20

	// maxSegmentItems bounds a segment's items, and with them what a damaged
	// segment costs and what an index of its sources takes.
	maxSegmentItems = 1 << 18
	// maxSegmentSources bounds the source ids of a segment, which are in memory
	// while it is the tail.
	maxSegmentSources = 1 << 16

	// The files say of a place in them which byte it is in 32 bits.
	leastSegment = 1 << 20
	mostSegment  = 1 << 30
	segmentShare = 16

	// valueStep is how far ahead of the write offset blocks of the value log are
	// reserved on the disk at most, leastStep how far at the beginning.
	valueStep = 1 << 20
	leastStep = 128 << 10

	// recordSlack is how many bytes of records and blocks a value log holds
	// beyond SegmentBytes; so much is reserved for the record of one commit.
	recordSlack = 4 << 20
)

func (o Options) withDefaults() Options {
	if o.MemoryBudget <= 0 {
		o.MemoryBudget = DefaultMemoryBudget
	}
	if o.MaxOpen <= 0 {
		o.MaxOpen = int(min(32, max(4, o.MemoryBudget>>20)))
	}
	switch {
	case o.MinFree == 0:
		o.MinFree = DefaultMinFree
	case o.MinFree < 0:
		o.MinFree = 0
	}
	switch {
	case o.MinFreeInodes == 0:
		o.MinFreeInodes = DefaultMinFreeInodes
	case o.MinFreeInodes < 0:
		o.MinFreeInodes = 0
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 16 << 20
		if bits.UintSize == 32 {
			o.SegmentBytes = 4 << 20
		}
	}
	o.SegmentBytes = min(max(leastSegment, o.SegmentBytes), mostSegment)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// TailMemory is the least memory of a partition that is open for writing, with what
// was in its segment when that was closed before.
const TailMemory = minMemTable/2 + tailMemory + openMemory

const (
	// tailMemory is what a segment open for writing takes beside its index, and its
	// partition with it, garbage and what the kernel holds for its files included, as
	// measured with 300: 28 KiB of anonymous memory.
	tailMemory = 48 << 10
	// openMemory is what an open database takes, as measured.
	openMemory = 160 << 10
)

// memory bounds what a segment open for writing takes of memory. An entry has at least
// 38 bytes in the memtable's log, and indexMemory in the index.
func (z *sizes) memory() int64 { return z.mem/2 + tailMemory }

// fitSegments makes segments small on a small file system.
func (o *Options) fitSegments(dir string) {
	if st, err := statfs(dir); err == nil {
		o.SegmentBytes = max(leastSegment, min(o.SegmentBytes, int64(st.Blocks)*int64(st.Bsize)/segmentShare))
	}
}

// maxMem returns the greatest memtable that the budget allows.
func (o *Options) maxMem() int64 {
	switch {
	case o.MemoryBudget >= 128<<20:
		return maxMemTable
	case o.MemoryBudget >= 16<<20:
		return maxMemTable / 4
	}
	return minMemTable
}

// badgerOptions returns the options of a segment's database, which is only read.
// Nothing is ever compacted or collected. A table builder that outgrows twice
// BaseTableSize destroys its table where int has 32 bits; none is used.
func badgerOptions(dir string, log badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = log
	o.ReadOnly = true
	o.SyncWrites = false
	o.MemTableSize = minMemTable
	o.BaseTableSize = 4 * minMemTable
	o.NumMemtables = 2
	o.MaxLevels = 2
	o.NumLevelZeroTables = 500
	o.NumLevelZeroTablesStall = 1000
	o.NumCompactors = 0
	o.CompactL0OnClose = false
	o.NumGoroutines = 1
	o.ValueThreshold = valueThreshold
	o.ValueLogFileSize = 1 << 20
	o.ValueLogMaxEntries = math.MaxUint32
	o.Compression = options.None
	o.BlockCacheSize = 0
	o.IndexCacheSize = 0
	o.MetricsEnabled = false
	o.DetectConflicts = false
	o.VerifyValueChecksum = true
	o.ChecksumVerificationMode = options.OnTableAndBlockRead
	o.BypassLockGuard = true // The storage's own lock covers it.
	return o
}
