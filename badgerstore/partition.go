package badgerstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// partition is the store of one partition: a chain of segments, of which the
// last one may be open for writing. It implements queue.PartitionStore and
// belongs to the partition's goroutine.
type partition struct {
	storage *Storage
	key     queue.PartitionKey
	dir     string
	state   *queue.State
	err     error // why everything but Close is refused

	segments []*segment // ascending by span
	// tail is the last segment while it is open for writing; nil until the first
	// write after opening and after the partition was idle.
	tail *segment
	// resting are the books of the last segment while there is no tail because
	// the partition was idle: it is written on where it ends. Nil after opening,
	// since nothing is appended to what another process wrote.
	resting  *tail
	next     *prepared // the segment after the tail, being opened or ready
	nextSpan uint64    // least span that was never used
	// prepareAt is when next is tried again if it failed, since Storage.started.
	prepareAt time.Duration
	memSize   int64    // memtable of the next segment
	asked     int64    // the most that a commit asked of that of the tail
	spent     spentLog // for the next segment

	backup *backup // the one that is under way; nil if there is none

	first  uint64       // what Reserve answered
	block  decodedBlock // of Read
	looked decodedBlock // of Get and FindSource
	packer packer
	buf    []byte
	kept   int64 // bytes of both that are counted, see keepBuffers

	found []*queue.Damage // what opening it found
	read  eventPlace      // where Events was last

	background sync.WaitGroup // goroutines that open, close and remove segments
	// What segments that are no longer tail have cost.
	written, syncs atomic.Int64
}

func newPartition(s *Storage, key queue.PartitionKey, dir string) *partition {
	return &partition{storage: s, key: key, dir: dir, memSize: minMemTable,
		spent: spentLog{dir: dir, total: &s.spent, limit: maxSpent * s.options.SegmentBytes, raise: s.raiseFormat}}
}

// State returns the state, which is shared with the engine.
func (p *partition) State() *queue.State { return p.state }

// Commit writes the blocks of the new items and the record of the commit.
func (p *partition) Commit(c *queue.Commit) error {
	if p.err != nil {
		return p.err
	}
	if err := p.check(c); err != nil {
		return p.fail(err)
	}
	if format := formatOf(morePartsOf(c)); format > oldestFormat {
		if err := p.storage.raiseFormat(format); err != nil {
			return p.fail(err)
		}
	}
	if err := p.write(p.tail.writer, c); err != nil {
		return p.fail(err)
	}
	p.prepareNext()
	return p.startJournal()
}

// largeCommit is from how many bytes of payloads on commits are written one at a
// time, whatever their partitions: each takes several times as much memory.
const largeCommit = 1 << 20

// write writes the entries of a commit, which are on flash on return if the commit
// asks for it.
func (p *partition) write(t *tail, c *queue.Commit) error {
	size := 0
	for i := range c.Items {
		size += len(c.Items[i].Payload)
	}
	if size >= largeCommit {
		p.storage.large.Lock()
		defer p.storage.large.Unlock()
	}
	entries := p.encode(t, c)
	if size >= largeCommit && p.storage.options.Collect != nil {
		p.storage.options.Collect()
	}
	if err := t.put(entries, c.Sync); err != nil {
		return err
	}
	p.account(t, c, entries)
	p.keepBuffers()
	return nil
}

// check refuses a commit that was not prepared as the interface asks for.
func (p *partition) check(c *queue.Commit) error {
	n := len(c.Items)
	switch {
	case p.tail == nil:
		return p.bug("a commit without Reserve")
	case int(c.Added.Count) != n:
		return p.bug("a commit of %d items says that it adds %d", n, c.Added.Count)
	case n > 0 && c.Added.First != p.first:
		return p.bug("items begin at %d, reserved was %d", c.Added.First, p.first)
	case n > 0 && p.state.Next != p.first+uint64(n):
		return p.bug("the state's next is %d after %d items from %d on", p.state.Next, n, p.first)
	}
	return nil
}

// encode returns the blocks of the commit and, last, its record. They lie in
// p.buf until the next call, but for the blocks of large items.
func (p *partition) encode(t *tail, c *queue.Commit) []entry {
	var runs [][]queue.Item
	if len(c.Items) > 0 {
		p.number(c)
		runs = splitBlocks(c.Items)
	}
	entries := make([]entry, 0, len(runs)+1)
	ends := make([]int, 0, len(runs)+1)
	buf := p.buf[:0]
	first := c.Added.First
	p.packer.with = p.storage.compressor
	for _, run := range runs {
		e := entry{key: blockKey(first)}
		if isLarge(run) {
			e.value, e.rest = largeBlock(run, c.At)
		} else {
			buf = appendBlock(buf, run, c.At, &p.packer)
		}
		entries = append(entries, e)
		ends = append(ends, len(buf))
		first += uint64(len(run))
	}
	buf = appendRecord(buf, c, t.commits, t.synced)
	entries = append(entries, entry{key: recordKey(t.commits)})
	ends = append(ends, len(buf))
	begin := 0
	for i, end := range ends {
		if entries[i].value == nil {
			entries[i].value = buf[begin:end:end]
		}
		begin = end
	}
	p.buf = buf
	if cap(buf) > maxKeptBuffer {
		p.buf = nil
	}
	return entries
}

// maxKeptBuffer bounds the buffer that is kept from one commit to the next.
const maxKeptBuffer = 1 << 20

// number gives the items of the commit the ids of their places.
func (p *partition) number(c *queue.Commit) {
	for i := range c.Items {
		c.Items[i].ID = queue.NewID(c.Added.First+uint64(i), p.key.Tag)
	}
}

// account takes note of what was written.
func (p *partition) account(t *tail, c *queue.Commit, entries []entry) {
	for _, e := range entries[:len(entries)-1] {
		t.bytes += int64(e.size())
	}
	for i := range c.Items {
		if id := c.Items[i].SourceID; id != "" {
			t.sources.add(id, t.items+uint32(i))
			t.charge(sourceMemory)
		}
	}
	t.items += uint32(len(c.Items))
}

// Sync puts on flash what was committed without Sync.
func (p *partition) Sync() error {
	if p.err != nil {
		return p.err
	}
	if p.tail == nil {
		return nil
	}
	if err := p.tail.writer.sync(); err != nil {
		return p.fail(err)
	}
	return nil
}

// Usage tells what the partition occupies.
func (p *partition) Usage() queue.Usage {
	u := queue.Usage{Segments: len(p.segments), DiskBytes: p.spent.size.Load(), Written: p.written.Load(), Syncs: p.syncs.Load()}
	for _, s := range p.segments {
		switch {
		case s.writer != nil:
			u.DiskBytes += s.writer.usedBytes()
			u.Written += s.writer.written
			u.Syncs += s.writer.syncs
			if !s.writer.asleep.is {
				u.Open++
			}
		case s.isBusy():
			u.DiskBytes += s.before
			u.Open++
		default:
			u.DiskBytes += s.bytes
			if p.storage.readers.isOpen(s) {
				u.Open++
			}
		}
	}
	return u
}

// Close syncs and closes. After a failure it only closes.
func (p *partition) Close() error {
	if p.state == nil {
		return nil
	}
	var err error
	if p.err == nil {
		err = p.Sync()
	}
	p.discardNext()
	for _, s := range p.segments {
		if s.writer != nil {
			p.seal(s, true, p.storage.options.MinFree)
		}
	}
	p.background.Wait()
	p.spent.drop()
	for _, s := range p.segments {
		p.storage.readers.drop(s)
		if s.sources != nil {
			_ = s.sources.close() // It was only read.
		}
	}
	p.storage.closed(p)
	p.err = &queue.Error{Kind: queue.ErrClosed, Queue: p.key.Queue, Partition: p.key.Partition,
		Msg: fmt.Sprintf("partition %s is closed", p.key)}
	p.state, p.tail, p.resting, p.segments, p.backup = nil, nil, nil, nil, nil
	p.storage.dropBlock(&p.block)
	p.storage.dropBlock(&p.looked)
	p.dropBuffers()
	return err
}

// fail makes the partition refuse everything from now on with err, and returns
// it: what is on flash is not known any more.
func (p *partition) fail(err error) error {
	var e *queue.Error
	if errors.As(err, &e) && e.Queue == "" {
		at := *e
		at.Queue, at.Partition = p.key.Queue, p.key.Partition
		err = &at
	}
	if errors.Is(err, queue.ErrFull) {
		// A disk that is full in the middle of a commit is a failure.
		err = &queue.Error{Kind: queue.ErrUnavailable, Queue: p.key.Queue, Partition: p.key.Partition,
			Msg: fmt.Sprintf("partition %s cannot be written", p.key), Err: err}
	}
	p.err = err
	return err
}

// bug is a breach of the interface by the caller.
func (p *partition) bug(format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrUnavailable, Queue: p.key.Queue, Partition: p.key.Partition,
		Msg: "BUG: " + fmt.Sprintf(format, args...)}
}
