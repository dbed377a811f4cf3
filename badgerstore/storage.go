package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Storage is a directory that partitions live in. It implements queue.Storage.
// Its methods are safe for use by any goroutine.
type Storage struct {
	options    Options
	compressor *compressor
	lock       *os.File
	readers    *readers

	mu   sync.Mutex            // guards what follows
	open map[string]*partition // those in use by directory name; nil while one is opened

	raising sync.Mutex // guards what follows
	format  uint32     // that the file of that name has

	ballast   sync.Mutex   // the file of that name
	ballastAt atomic.Int64 // when it is looked at again, since started
	plenty    atomic.Int64 // see needRoom: nanoseconds since started until which there is room enough
	started   time.Time

	spent    atomic.Int64  // bytes of the value logs that partitions keep to use again
	large    sync.Mutex    // held while a large commit is written
	asleep   atomic.Int64  // bytes of memory of those that sleep, see sleep.go
	rousing  chan struct{} // holds a token for each that is woken to be closed
	writing  atomic.Int64  // bytes of memory of the segments that are open for writing
	decoded  atomic.Int64  // and of the blocks that partitions keep
	buffers  atomic.Int64  // and of what they keep to write the next commit with
	building chan struct{} // holds a token for each table that is being built
}

var (
	_ queue.Storage        = (*Storage)(nil)
	_ queue.PartitionStore = (*partition)(nil)
)

// New opens the storage in o.Dir and creates the directory when it is not there.
// The error Is queue.ErrLocked when another process uses it, queue.ErrUnavailable
// when it cannot be written.
func New(o Options) (*Storage, error) {
	byDefault := o.SegmentBytes <= 0
	o = o.withDefaults()
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, unavailable(err, "cannot use the directory %s", o.Dir)
	}
	o.Dir = dir
	if err := makeDirs(dir); err != nil {
		return nil, unavailable(err, "cannot create the directory %s", dir)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, unavailable(err, "%s is not a directory", dir)
	}
	if byDefault {
		o.fitSegments(dir)
	}
	c, err := newCompressor(o.Compression)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Storage{options: o, rousing: make(chan struct{}, maxRoused), compressor: c, lock: lock, readers: newReaders(o.MaxOpen), open: make(map[string]*partition), started: time.Now(),
		building: make(chan struct{}, max(1, o.MemoryBudget/tableShare))}
	if s.format, err = checkFormat(dir); err != nil {
		_ = unlockDir(lock)
		return nil, err
	}
	err = s.clean()
	if err != nil {
		err = unavailable(err, "cannot use the directory %s", dir)
	} else if c != nil {
		err = s.raiseFormat(zstdFormat)
	}
	if err != nil {
		_ = unlockDir(lock)
		return nil, err
	}
	s.keepBallast()
	return s, nil
}

// tableShare is how much of the memory budget there is for each table that is built
// at a time: that takes twice the entries of the memtable for a moment.
const tableShare = 16 << 20

// shutTail closes a segment that was written. Its table is built when its turn has
// come.
func (s *Storage) shutTail(t *tail, n *tableFile) error {
	if n != nil {
		n.building = s.building
	}
	return t.shut(n)
}

// hasRoom reports whether the budget has so many bytes of memory left for what
// partitions can do without.
func (s *Storage) hasRoom(bytes int64) bool {
	return s.writing.Load()+bytes <= s.options.MemoryBudget-int64(s.options.MaxOpen)*openMemory
}

// keepBallast has the ballast made (again) if there is room.
func (s *Storage) keepBallast() {
	s.ballast.Lock()
	defer s.ballast.Unlock()
	keepBallast(s.options.Dir, ballastSize, s.options.MinFree)
}

// tendBallast is keepBallast, now and then.
func (s *Storage) tendBallast() {
	now := int64(time.Since(s.started))
	if due := s.ballastAt.Load(); now >= due && s.ballastAt.CompareAndSwap(due, now+int64(prepareAgain)) {
		s.keepBallast()
	}
}

// clean removes partitions whose removal was interrupted.
func (s *Storage) clean() error {
	names, err := listDir(s.options.Dir)
	if err != nil {
		return err
	}
	return removeLeftovers(s.options.Dir, names)
}

// OpenPartition opens the partition, creating it when it is not there. The
// directory of a partition with another tag, which a deleted queue left, is set
// aside. The error Is queue.ErrLocked when the partition is open already,
// queue.ErrCorrupt when it is damaged, queue.ErrFormat when a newer version
// wrote it, queue.ErrFull when recovering it finds no room on the disk.
func (s *Storage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	name := partitionDirName(key.Queue, key.Partition)
	if err := s.take(name, key); err != nil {
		return nil, err
	}
	p, err := s.openPartition(key, filepath.Join(s.options.Dir, name))
	if err != nil {
		s.give(name)
		return nil, placed(err, key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[name] = p
	return p, nil
}

func (s *Storage) openPartition(key queue.PartitionKey, dir string) (*partition, error) {
	for range 2 {
		if err := makeDir(dir); err != nil {
			return nil, unavailable(err, "cannot create the directory %s", dir)
		}
		p := newPartition(s, key, dir)
		err := p.recover()
		if err == nil {
			return p, nil
		}
		p.abandon()
		if !errors.Is(err, errStale) {
			return nil, err
		}
		to, err := renameAside(dir)
		if err != nil {
			return nil, unavailable(err, "cannot set the directory %s aside", dir)
		}
		if s.options.Events.SetAside != nil {
			s.options.Events.SetAside(dir, to, "it belongs to a queue of that name that was deleted")
		}
	}
	return nil, unavailable(nil, "BUG: the directory %s is stale again", dir)
}

// RemovePartition removes a partition that is not open. A directory whose tag is
// another one stays.
func (s *Storage) RemovePartition(key queue.PartitionKey) error {
	name := partitionDirName(key.Queue, key.Partition)
	if err := s.take(name, key); err != nil {
		return err
	}
	defer s.give(name)
	dir := filepath.Join(s.options.Dir, name)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if old, found, _ := s.keyOf(dir); found && old.Tag != key.Tag {
		return nil
	}
	if err := discardDir(dir); err != nil {
		return placed(unavailable(err, "cannot remove the directory %s", dir), key)
	}
	return nil
}

// Partitions returns the keys of the partitions that are there. The tag of one
// that has no header that can be read, such as one without items, is zero.
func (s *Storage) Partitions() ([]queue.PartitionKey, error) {
	names, err := listDir(s.options.Dir)
	if err != nil {
		return nil, unavailable(err, "cannot read the directory %s", s.options.Dir)
	}
	var keys []queue.PartitionKey
	for _, name := range names {
		if !strings.HasSuffix(name, partitionSuffix) || name == metaDirName {
			continue
		}
		key, found, err := s.keyOf(filepath.Join(s.options.Dir, name))
		if err != nil {
			return nil, err
		}
		if !found || partitionDirName(key.Queue, key.Partition) != name {
			if key, found = parsePartitionDir(name); !found {
				continue
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Close releases the directory. All partitions are closed by then.
func (s *Storage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	if n := len(s.open); n > 0 {
		return unavailable(nil, "BUG: %d partitions of %s are still open", n, s.options.Dir)
	}
	err := unlockDir(s.lock)
	s.lock = nil
	return err
}

// take marks a partition as in use.
func (s *Storage) take(name string, key queue.PartitionKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return &queue.Error{Kind: queue.ErrClosed, Msg: fmt.Sprintf("the storage %s is closed", s.options.Dir)}
	}
	if _, used := s.open[name]; used {
		return &queue.Error{Kind: queue.ErrLocked, Queue: key.Queue, Partition: key.Partition,
			Msg: fmt.Sprintf("partition %s is open already", key)}
	}
	s.open[name] = nil
	return nil
}

func (s *Storage) give(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, name)
}

// closed is told by a partition that it is closed.
func (s *Storage) closed(p *partition) { s.give(filepath.Base(p.dir)) }

// report hands an error of the background to the events.
func (s *Storage) report(dir string, err error) {
	if err != nil && s.options.Events.Failed != nil {
		s.options.Events.Failed(dir, err)
	}
}

// segmentSpans returns the spans of the segments among the names, ascending.
func segmentSpans(names []string) []uint64 {
	var spans []uint64
	for _, name := range names {
		if span, ok := parseSegmentName(strings.TrimSuffix(name, removedSuffix)); ok && !strings.HasSuffix(name, removedSuffix) {
			spans = append(spans, span)
		}
	}
	sortSpans(spans)
	return spans
}

// placed adds the partition to an error.
func placed(err error, key queue.PartitionKey) error {
	var e *queue.Error
	if !errors.As(err, &e) || e.Queue != "" {
		return err
	}
	at := *e
	at.Queue, at.Partition = key.Queue, key.Partition
	return &at
}
