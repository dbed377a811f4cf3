package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/kapetan-io/querator-edge/queue"
)

// segment is one link of a partition's chain. It belongs to the partition's
// goroutine, but for what its comments say.
type segment struct {
	span uint64
	dir  string
	boot string // the boot it was written in; empty until its header was read

	// writer is its database while it is the tail, and for a while after that,
	// so that a reader close behind the writer need not wait for it to be closed.
	writer *tail
	// busy is closed when the goroutine that closes the database is done with
	// it; nil when there is none.
	busy chan struct{}
	// bytes is what it occupies; written by the goroutine before busy is closed.
	// Until then the owner goes by before, which is what it was when it was
	// written last.
	bytes, before int64
	filled        int64 // what of before was written, not only reserved

	mayEnd bool   // it may end in commits that never got to flash
	torn   bool   // it ended in something that cannot be read
	aside  string // where it, or a copy of it, was set aside; empty if it was not
	gone   bool   // nothing of it can be read; its directory was set aside
	stuck  error  // why it must not be looked at in this process; set by the goroutine before busy is closed

	sources  *sourceFile // its index of source ids, once it was needed
	verified bool        // the index was checked in this process
	barren   bool        // it holds no source ids
}

func newSegment(partitionDir string, span uint64) *segment {
	return &segment{span: span, dir: filepath.Join(partitionDir, segmentName(span))}
}

// wait waits for the goroutine that closes the segment's database.
func (s *segment) wait() {
	if s.busy != nil {
		<-s.busy
		s.busy = nil
	}
}

// isBusy reports whether that goroutine is still at work.
func (s *segment) isBusy() bool {
	if s.busy == nil {
		return false
	}
	select {
	case <-s.busy:
		s.busy = nil
		return false
	default:
		return true
	}
}

// readers keeps the sealed segments that are open for reading, of all
// partitions of a storage, and closes those that were not used for longest.
// Safe for use by any goroutine; a segment is acquired by its owner only.
type readers struct {
	max int

	mu    sync.Mutex // guards what follows
	open  map[*segment]*openReader
	clock uint64 // counts uses
}

type openReader struct {
	*database
	pins int
	used uint64
}

func newReaders(limit int) *readers {
	return &readers{max: limit, open: make(map[*segment]*openReader)}
}

// acquire returns the segment's database, opened for reading. The caller
// releases it.
func (r *readers) acquire(s *segment) (*database, error) {
	if d := r.pin(s); d != nil {
		return d, nil
	}
	s.wait()
	if s.stuck != nil {
		return nil, unavailable(s.stuck, "the segment %s could not be closed", s.dir)
	}
	var d *database
	var err error
	_ = again(len(readPauses), func() bool {
		d, err = openSealed(s.dir, isOurs, s.mayEnd)
		return !saysInputError(err) || isCorrupt(err)
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.clock++
	r.open[s] = &openReader{database: d, pins: 1, used: r.clock}
	victims := r.surplus()
	r.mu.Unlock()
	for _, v := range victims {
		_ = v.close() // It was only read.
	}
	return d, nil
}

func (r *readers) pin(s *segment) *database {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.open[s]
	if o == nil {
		return nil
	}
	r.clock++
	o.pins++
	o.used = r.clock
	return o.database
}

// surplus takes out what is beyond the bound, the least recently used first.
func (r *readers) surplus() (victims []*database) {
	for len(r.open) > r.max {
		var oldest *segment
		for s, o := range r.open {
			if o.pins == 0 && (oldest == nil || o.used < r.open[oldest].used) {
				oldest = s
			}
		}
		if oldest == nil {
			return victims
		}
		victims = append(victims, r.open[oldest].database)
		delete(r.open, oldest)
	}
	return victims
}

func (r *readers) release(s *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[s].pins--
}

// drop closes the segment's database if it is open.
func (r *readers) drop(s *segment) {
	r.mu.Lock()
	o := r.open[s]
	delete(r.open, s)
	r.mu.Unlock()
	if o != nil {
		_ = o.close() // It was only read.
	}
}

// isOpen reports whether the segment is open for reading.
func (r *readers) isOpen(s *segment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[s] != nil
}

// openSealed opens the database of a segment that is written no more. One that
// was not closed, since the process ended before, is settled first; mayEnd says
// that it may end in commits that never got to flash. The error Is
// queue.ErrCorrupt when the directory is in such a state that Badger would lose
// something or end the process; nothing was changed then.
func openSealed(dir string, check valueCheck, mayEnd bool) (*database, error) {
	c, err := inspect(dir)
	if err != nil {
		return nil, err
	}
	if err := examine(dir, c, check, mayEnd); err != nil {
		return nil, err
	}
	if c.mem > 0 {
		if err := settle(dir); err != nil {
			return nil, err
		}
	}
	return openDatabase(dir)
}

// readHeader reads the segment's header. The error Is queue.ErrCorrupt when
// there is none, or it is damaged.
func readHeader(d view) (h segmentHeader, err error) {
	found, err := d.get(headerKey(), func(value []byte) error {
		h, err = decodeHeader(value)
		return err
	})
	if err == nil && !found {
		err = corrupt(nil, "the segment %s has no header", d.where())
	}
	return h, err
}

// readCheckpoint reads the state that the segment began with.
func readCheckpoint(d view) (s *queue.State, err error) {
	found, err := d.get(checkpointKey(), func(value []byte) error {
		s, err = decodeCheckpoint(value)
		return err
	})
	if err == nil && !found {
		err = corrupt(nil, "the segment %s has no checkpoint", d.where())
	}
	return s, err
}

// beyondError: a block was not decoded, since its items are larger than was asked for.
type beyondError struct {
	size int64 // of an item, on average
}

func (e *beyondError) Error() string {
	return fmt.Sprintf("BUG: nobody asked for items of %d bytes", e.size)
}

// isBeyond reports whether err is a beyondError.
func isBeyond(err error) bool {
	var e *beyondError
	return errors.As(err, &e)
}

// readBlock returns the items of the block that begins with sequence number
// first, and whether there is one. It is not decoded when its items have more than
// most bytes each, on average; the error is a beyondError then.
func readBlock(d view, first uint64, tag queue.Tag, sameBoot bool, most int64) (items []queue.Item, found bool, err error) {
	found, err = d.get(blockKey(first), func(value []byte) error {
		h, err := readBlockHeader(value)
		if err == nil && h.First != first {
			err = errCorrupt("block", "it begins with %d instead of %d", h.First, first)
		}
		if err == nil {
			if size := h.RawLen/int64(h.Count) + (&queue.Item{}).Size(); size > most {
				return &beyondError{size: size}
			}
			items, err = decodeBlock(value, tag, sameBoot)
		}
		if err != nil {
			return inBlock(d, first, err)
		}
		return nil
	})
	return items, found, err
}

// inBlock adds the place to the error of a block.
func inBlock(d view, first uint64, err error) error {
	kind := queue.ErrCorrupt
	if errors.Is(err, queue.ErrFormat) {
		kind = queue.ErrFormat
	}
	return &queue.Error{Kind: kind, Err: err,
		Msg: fmt.Sprintf("the block of items from %d on in %s cannot be read", first, d.where())}
}
