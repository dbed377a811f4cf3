package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Check looks for damage in the storage directory dir, which nobody uses. It
// reads everything: every segment opens, the records of the newest lead from its
// checkpoint to a state, all blocks can be read, every item that the state holds
// is there, and the sums agree with what the blocks say. It changes nothing but
// what opening a partition changes. The error names every fault found.
func Check(dir string) error {
	s, err := New(Options{Dir: dir, MinFree: -1})
	if err != nil {
		return err
	}
	defer s.Close()
	names, err := listDir(s.options.Dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	var faults []error
	for _, name := range names {
		if strings.HasSuffix(name, partitionSuffix) && name != metaDirName {
			if err := checkPartition(s, filepath.Join(s.options.Dir, name)); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(faults...)
}

// checkPartition checks the partition in dir, whose key its segments tell.
func checkPartition(s *Storage, dir string) error {
	key, found, err := s.keyOf(dir)
	if err != nil || !found {
		return err
	}
	if name := partitionDirName(key.Queue, key.Partition); name != filepath.Base(dir) {
		return corrupt(nil, "it says that it is %s", name)
	}
	p := newPartition(s, key, dir)
	defer p.abandon()
	if err := p.recover(); err != nil {
		return err
	}
	if len(p.found) > 0 {
		return p.found[0]
	}
	return (&checker{partition: p}).run()
}

// keyOf returns the key of the partition in dir, from the newest segment that
// has a header.
func (s *Storage) keyOf(dir string) (key queue.PartitionKey, found bool, err error) {
	names, err := listDir(dir)
	if err != nil {
		return key, false, unavailable(err, "cannot read the directory %s", dir)
	}
	spans := segmentSpans(names)
	for i := len(spans) - 1; i >= 0; i-- {
		h, err := headerOf(newSegment(dir, spans[i]).dir)
		if err == nil {
			return queue.PartitionKey{Queue: h.Queue, Partition: h.Partition, Tag: h.Tag}, true, nil
		}
		if !isCorrupt(err) {
			return key, false, err
		}
	}
	return key, false, nil
}

// headerOf returns the header of the segment in dir.
func headerOf(dir string) (h segmentHeader, err error) {
	values, err := collect(dir, isOurs)
	if err != nil {
		return h, err
	}
	value, found, err := values.value(headerKey())
	if err == nil && !found {
		err = corrupt(nil, "the segment %s has no header", dir)
	}
	if err != nil {
		return h, err
	}
	return decodeHeader(value)
}

// checker counts what the blocks of a partition hold.
type checker struct {
	*partition

	ready        int64
	readyCreated int64
	leased       int
	scheduled    int
	bytes        int64
}

func (c *checker) run() error {
	for _, s := range c.segments {
		if err := c.segment(s); err != nil {
			return err
		}
	}
	return c.compare()
}

// segment reads all blocks of a segment that hold something alive.
func (c *checker) segment(s *segment) error {
	d, release, err := c.open(s)
	if err != nil {
		return err
	}
	defer release()
	h, err := readHeader(d)
	if err != nil {
		return err
	}
	if h.Span != s.span || h.Tag != c.key.Tag || h.Queue != c.key.Queue || h.Partition != c.key.Partition {
		return corrupt(nil, "the header of %s belongs to span %d of %s/%d", s.dir, h.Span, h.Queue, h.Partition)
	}
	next := s.span << queue.SpanBits
	return d.each(letterBlock, 0, func(first uint64, _ func(func([]byte) error) error) (bool, error) {
		items, _, err := readBlock(d, first, c.key.Tag, false, noMost)
		if err != nil {
			if c.anyAlive(first) {
				return false, err
			}
			return true, nil // The torn end, or done.
		}
		if first < next {
			return false, corrupt(nil, "the block of items from %d on in %s begins before %d", first, s.dir, next)
		}
		next = first + uint64(len(items))
		for i := range items {
			c.count(&items[i])
		}
		return true, nil
	})
}

// anyAlive reports whether the item first is alive, of a block that cannot be
// read; what else was in it is found missing by the sums.
func (c *checker) anyAlive(first uint64) bool { return c.state.IsAlive(first) }

func (c *checker) count(it *queue.Item) {
	seq := it.Seq()
	_, leased := c.state.Leases[seq]
	_, scheduled := c.state.Scheduled[seq]
	switch {
	case leased:
		c.leased++
	case scheduled:
		c.scheduled++
	case c.state.IsReady(seq):
		c.ready++
		c.readyCreated += it.CreatedAt.UnixNano() / int64(time.Millisecond)
	default:
		return
	}
	c.bytes += it.Size()
}

// compare compares the counts with the state.
func (c *checker) compare() error {
	st, t := c.state, &c.state.Totals
	var faults []error
	differ := func(what string, counted, stated int64) {
		if counted != stated {
			faults = append(faults, corrupt(nil, "%s: counted %d, the state says %d", what, counted, stated))
		}
	}
	differ("ready items", c.ready, t.Ready)
	differ("leased items", int64(c.leased), int64(len(st.Leases)))
	differ("scheduled items", int64(c.scheduled), int64(len(st.Scheduled)))
	differ("sum of creation times", c.readyCreated, t.ReadyCreated)
	differ("bytes held", c.bytes, t.Bytes)
	differ("items by the ledger", int64(t.Ledger.In()-t.Ledger.Out()), st.Held())
	return errors.Join(faults...)
}
