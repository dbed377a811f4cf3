package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kapetan-io/querator-edge/queue"
)

// A partition that is restored is written segment by segment, with the values of
// the back-up, in a directory whose name ends in restoreSuffix. The header gets
// the new tag and name; a checkpoint and those records that name other
// partitions are written with the new tags of these. Behind the segments of the
// back-up comes one of its own, which holds nothing but the state of the moment
// of the back-up. When all of it is on flash, the directory is renamed. One that
// is found when a storage is opened was interrupted, and is removed.

// restoreSuffix is the end of the name of a partition that is being restored.
const restoreSuffix = ".restore"

// restoredBoot stands for the boot in which a restored segment was written, and
// which has ended: its leases are over, and only the wall clock can tell how old
// its items are.
const restoredBoot = "restored"

// restoreMem is the memtable that segments are restored with. One that gets full
// is written out, and the next begun.
const restoreMem = maxMemTable / 4

// restore is a partition that is being restored.
type restore struct {
	s         *Storage
	key       queue.PartitionKey
	name, dir string // of the directory, as it is going to be
	temp      string
	head      *queue.PartitionHead
	state     *queue.State
	tags      map[queue.Tag]queue.Tag

	tail   *tail // the segment that is written; nil if there is none
	header bool  // it has a header
	last   uint64
	taken  bool
}

var _ queue.RestoreStorage = (*Storage)(nil)

// RestorePartition begins to restore a partition. The error Is queue.ErrCorrupt
// or queue.ErrFormat when the state in the head cannot be used.
func (s *Storage) RestorePartition(key queue.PartitionKey, head *queue.PartitionHead, tags map[queue.Tag]queue.Tag) (queue.PartitionRestore, error) {
	state, err := decodeCheckpoint(head.State)
	if err != nil {
		return nil, placed(err, key)
	}
	name := partitionDirName(key.Queue, key.Partition)
	r := &restore{s: s, key: key, name: name, dir: filepath.Join(s.options.Dir, name), head: head, state: state, tags: tags}
	r.temp = r.dir + restoreSuffix
	if err := s.take(name+restoreSuffix, key); err != nil {
		return nil, err
	}
	r.taken = true
	err = os.RemoveAll(r.temp)
	if err == nil {
		err = makeDir(r.temp)
	}
	if err != nil {
		r.Abort()
		return nil, placed(unavailable(err, "cannot create the directory %s", r.temp), key)
	}
	return r, nil
}

// Write adds a piece.
func (r *restore) Write(piece *queue.BackupPiece) error {
	if err := r.write(piece); err != nil {
		return placed(err, r.key)
	}
	return nil
}

func (r *restore) write(piece *queue.BackupPiece) error {
	entries, err := splitEntries(piece.Data)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := checkEntry(piece.Span, entries[i]); err != nil {
			return err
		}
	}
	if r.tail == nil || r.tail.span != piece.Span {
		if err := r.begin(piece.Span); err != nil {
			return err
		}
	}
	for i := range entries {
		if entries[i].value, err = r.adapt(entries[i]); err != nil {
			return err
		}
	}
	return r.put(entries)
}

// begin ends the segment that was written, and begins the one with that span.
func (r *restore) begin(span uint64) error {
	if err := r.end(); err != nil {
		return err
	}
	if span <= r.last || span > maxSpan {
		return errCorrupt("back-up", "the segment %s is not in its place", segmentName(span))
	}
	z := sizes{mem: restoreMem, values: r.s.options.SegmentBytes + recordSlack, threshold: valueThreshold}
	if err := needSpace(r.temp, z.mem+valueStep+settleSpace, r.s.options.MinFree); err != nil {
		return err
	}
	t, err := createTail(newSegment(r.temp, span).dir, span, z, &r.s.writing, nil)
	if err != nil {
		return err
	}
	r.tail, r.last, r.header = t, span, false
	return nil
}

// adapt returns the value that an entry gets here.
func (r *restore) adapt(e entry) ([]byte, error) {
	switch e.key[0] {
	case letterHeader:
		r.header = true
		h, err := decodeHeader(e.value)
		if err != nil {
			return nil, err
		}
		return r.newHeader(h.Span, h.Created), nil
	case letterCheckpoint:
		s, err := decodeCheckpoint(e.value)
		if err != nil {
			return nil, err
		}
		s.Retag(r.key.Tag, restoredBoot, r.tags)
		return appendCheckpoint(nil, s), nil
	case letterRecord:
		rec, err := decodeRecord(e.value)
		if err != nil {
			return nil, err
		}
		if rec.Commit.Retag(r.tags) {
			return appendRecord(nil, &rec.Commit, rec.N, rec.Synced), nil
		}
	case letterBlock:
		if h, err := readBlockHeader(e.value); err == nil && h.codec == codecZstd {
			if err := r.s.raiseFormat(zstdFormat); err != nil {
				return nil, err
			}
		}
		return e.value, r.index(e)
	}
	return e.value, nil
}

func (r *restore) newHeader(span uint64, created int64) []byte {
	return appendHeader(nil, &segmentHeader{Queue: r.key.Queue, Partition: r.key.Partition, Tag: r.key.Tag,
		Span: span, Boot: restoredBoot, Created: created})
}

// index adds the source ids of a block to the index of its segment.
func (r *restore) index(e entry) error {
	items, err := decodeBlock(e.value, r.key.Tag, false)
	if err != nil {
		return err
	}
	for i := range items {
		if id := items[i].SourceID; id != "" {
			r.tail.sources.add(id, uint32(items[i].Seq()&(queue.MaxSpanItems-1)))
		}
	}
	return nil
}

// put writes entries to the segment.
func (r *restore) put(entries []entry) error {
	t := r.tail
	for len(entries) > 0 {
		n, values := t.fitting(entries)
		if n == 0 {
			if err := r.renew(entries[0]); err != nil {
				return err
			}
			continue
		}
		if err := needSpace(r.temp, values, r.s.options.MinFree); err != nil {
			return err
		}
		if err := t.write(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// fitting returns how many of the entries the segment takes without new files,
// and how many bytes of the value log they need.
func (t *tail) fitting(entries []entry) (n int, values int64) {
	mem := int64(endOfTxn)
	for _, e := range entries {
		more := int64(0)
		if len(e.value) >= t.threshold {
			more = logSize(len(e.key), len(e.value))
		}
		// Each may be a transaction of its own.
		mem += t.memCost(len(e.key), len(e.value)) + int64(endOfTxn)
		if mem > t.memLeft() || values+more > t.valueLeft() {
			return n, values
		}
		values += more
		n++
	}
	return n, values
}

// renew goes on with the segment in new files, which take the entry e for sure.
func (r *restore) renew(e entry) error {
	t := r.tail
	if err := needSpace(r.temp, t.mem+valueStep+settleSpace, r.s.options.MinFree); err != nil {
		return err
	}
	t.values = max(t.values, logSize(len(e.key), len(e.value))+recordSlack)
	return t.renew()
}

// end puts the segment that was written on flash, and closes it.
func (r *restore) end() error {
	t := r.tail
	if t == nil {
		return nil
	}
	if !r.header {
		// That of the back-up could not be read.
		if err := r.put([]entry{{key: headerKey(), value: r.newHeader(t.span, r.s.options.Now().UnixNano())}}); err != nil {
			return err
		}
	}
	if err := needSpace(r.temp, t.mem+settleSpace, r.s.options.MinFree); err != nil {
		return err
	}
	err := t.sync()
	if err == nil {
		err = t.markUsed()
	}
	if err == nil {
		_, err = writeSources(t.dir, t.sources)
	}
	if err != nil {
		return err
	}
	r.tail = nil
	return t.finish()
}

// Finish writes the state and puts everything on flash.
func (r *restore) Finish() error {
	if err := r.finish(); err != nil {
		return placed(err, r.key)
	}
	return nil
}

func (r *restore) finish() error {
	r.state.Retag(r.key.Tag, restoredBoot, r.tags)
	span := max(r.last, queue.Span(r.state.Next)) + 1
	if err := r.begin(span); err != nil {
		return err
	}
	r.header = true
	err := r.put([]entry{
		{key: headerKey(), value: r.newHeader(span, r.s.options.Now().UnixNano())},
		{key: checkpointKey(), value: appendCheckpoint(nil, r.state)},
	})
	if err == nil {
		err = r.end()
	}
	if err == nil {
		err = syncDir(r.temp)
	}
	return err
}

// Install gives the directory its name.
func (r *restore) Install() error {
	if err := r.s.take(r.name, r.key); err != nil {
		return err
	}
	defer r.s.give(r.name)
	if _, err := os.Lstat(r.dir); !errors.Is(err, fs.ErrNotExist) {
		to, err := renameAside(r.dir)
		if err != nil {
			return placed(unavailable(err, "cannot set the directory %s aside", r.dir), r.key)
		}
		if r.s.options.Events.SetAside != nil {
			r.s.options.Events.SetAside(r.dir, to, "a partition was restored in its place")
		}
	}
	if err := errors.Join(os.Rename(r.temp, r.dir), syncDir(r.s.options.Dir)); err != nil {
		return placed(unavailable(err, "cannot rename %s", r.temp), r.key)
	}
	r.giveBack()
	return nil
}

// Abort removes what was written.
func (r *restore) Abort() {
	if r.tail != nil {
		_ = r.tail.throwAway(nil) // It goes with all the rest.
		r.tail = nil
	}
	// What is left of it is removed when the storage is opened.
	r.s.report(r.temp, os.RemoveAll(r.temp))
	r.giveBack()
}

func (r *restore) giveBack() {
	if r.taken {
		r.taken = false
		r.s.give(r.name + restoreSuffix)
	}
}
