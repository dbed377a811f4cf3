package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/kapetan-io/querator-edge/queue"
)

// Verified says what Verify has looked at.
type Verified struct {
	Partitions, Segments int
	Items                int64 // that can be read, done or not
}

// Verify looks for damage in the storages in dir or right below it, which nobody
// uses: all files, segments, blocks and records, and whether the sums of each
// partition agree with its items. It repairs nothing; it changes what opening a
// sound store does. Each fault is handed to report. The error Is queue.ErrLocked
// when another process uses a storage, queue.ErrNotFound when there is none.
func Verify(dir string, report func(Fault)) (Verified, error) {
	v := &verifier{report: report}
	dirs, err := storageDirs(dir)
	if err != nil {
		return v.sum, err
	}
	for _, d := range dirs {
		if err := v.storage(d); err != nil {
			return v.sum, err
		}
	}
	return v.sum, nil
}

// storageDirs returns those of dir and the directories in it that hold
// partitions or definitions.
func storageDirs(dir string) ([]string, error) {
	var found []string
	below, err := os.ReadDir(dir)
	if err != nil {
		return nil, unavailable(err, "cannot read the directory %s", dir)
	}
	candidates := []string{dir}
	for _, e := range below {
		if e.IsDir() {
			candidates = append(candidates, filepath.Join(dir, e.Name()))
		}
	}
	for _, c := range candidates {
		names, err := listDir(c)
		if err != nil {
			return nil, unavailable(err, "cannot read the directory %s", c)
		}
		if slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, partitionSuffix) || n == formatName }) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil, &queue.Error{Kind: queue.ErrNotFound, Msg: fmt.Sprintf("there is no store in %s", dir),
			Hint: "name the data directory of an agent, or a storage directory of its configuration"}
	}
	return found, nil
}

// verifier adds up what it has seen.
type verifier struct {
	report func(Fault)
	sum    Verified
	faults int // of the present partition
}

func (v *verifier) fault(f Fault) {
	v.faults++
	v.report(f)
}

// storage verifies one storage directory.
func (v *verifier) storage(dir string) error {
	s, err := New(Options{Dir: dir, MinFree: -1})
	if err != nil {
		return err
	}
	defer s.Close()
	names, err := listDir(s.options.Dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(s.options.Dir, name)
		switch {
		case name == metaDirName:
			err = v.definitions(path)
		case strings.HasSuffix(name, partitionSuffix):
			err = v.partition(s, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// definitions verifies the definitions of queues.
func (v *verifier) definitions(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := listDir(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	for i, g := range segmentSpans(names) {
		path := filepath.Join(dir, segmentName(g))
		h, err := v.files(path, isDefinition, true, Fault{Path: path})
		if err != nil {
			return err
		}
		if h.mem > 0 {
			first, last, err := lacking(path)
			if err != nil && !isCorrupt(err) {
				return err
			}
			if err != nil || h.hasLost(first, last, i == 0) {
				v.fault(Fault{Path: path, Reason: "a definition is damaged"})
			}
		}
		for key := range h.values {
			value, _, err := h.value([]byte(key))
			if err != nil {
				return err
			}
			if key[0] != letterDefinition || len(value) == 0 {
				continue
			}
			if d, err := decodeDefinition(value); err != nil {
				v.fault(Fault{Queue: d.Name, Path: path, Reason: err.Error()})
			}
		}
	}
	return nil
}

// partition verifies one partition.
func (v *verifier) partition(s *Storage, dir string) error {
	v.faults = 0
	v.sum.Partitions++
	names, err := listDir(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	key, found, err := s.keyOf(dir)
	if err != nil {
		return err
	}
	if !found {
		key, _ = parsePartitionDir(filepath.Base(dir))
	}
	spans := segmentSpans(names)
	newest := len(spans) - 1
	for newest > 0 && !isUsed(filepath.Join(dir, segmentName(spans[newest]))) {
		newest-- // It was prepared, and not used.
	}
	for i, span := range spans {
		at := Fault{Queue: key.Queue, Partition: key.Partition, Path: filepath.Join(dir, segmentName(span))}
		if err := v.segment(at, i >= newest); err != nil {
			return err
		}
	}
	if v.faults > 0 || !found {
		return nil // The sums cannot agree.
	}
	if err := checkPartition(s, dir); err != nil {
		if !isCorrupt(err) {
			return err
		}
		v.fault(Fault{Queue: key.Queue, Partition: key.Partition, Path: dir, Reason: err.Error()})
	}
	return nil
}

// segment verifies the segment at at.Path.
func (v *verifier) segment(at Fault, newest bool) error {
	if err := redo(at.Path); isCorrupt(err) {
		at.Reason = err.Error()
		v.fault(at)
		return nil
	} else if err != nil {
		return err
	}
	h, err := v.files(at.Path, isOurs, newest, at)
	if err != nil {
		return err
	}
	v.sum.Segments++
	blocks, records := h.numbers(letterBlock), h.numbers(letterRecord)
	if len(blocks)+len(records) == 0 && !isUsed(at.Path) {
		return nil // It was prepared, and not used.
	}
	for _, key := range [][]byte{headerKey(), checkpointKey()} {
		if _, ok := h.values[string(key)]; !ok {
			at.Reason = map[byte]string{letterHeader: "the header", letterCheckpoint: "the checkpoint"}[key[0]] + " of the segment is missing"
			v.fault(at)
		}
	}
	for _, first := range blocks {
		value, _, err := h.value(blockKey(first))
		if err != nil {
			return err
		}
		items, err := decodeBlock(value, queue.Tag{}, false)
		if err != nil {
			bad := at
			bad.First, bad.Last, bad.Reason = first, first, err.Error()
			v.fault(bad)
		}
		v.sum.Items += int64(len(items))
	}
	return v.records(h, records, newest && h.mem > 0, at)
}

// records verifies that the records have no gaps and the items that they added
// are there. What was never acknowledged may be missing at the end, if mayEnd says so.
func (v *verifier) records(h *holding, records []uint64, mayEnd bool, at Fault) error {
	synced, next := syncedAtLeast(h.dir), uint64(0)
	// A large one to which nothing points is of a commit that was torn, or no record at all.
	records = slices.DeleteFunc(records, func(n uint64) bool { return !h.isTold(recordKey(n)) })
	added := make([]queue.Added, len(records))
	for i, n := range records {
		value, _, err := h.value(recordKey(n))
		if err != nil {
			return err
		}
		rec, err := decodeRecord(value)
		if err != nil {
			return err
		}
		synced, added[i] = max(synced, rec.Synced), rec.Commit.Added
	}
	for i, n := range records {
		if n != next && next < synced {
			bad := at
			bad.Reason = fmt.Sprintf("the records of commits %d to %d are missing", next, n-1)
			v.fault(bad)
		}
		next = n + 1
		for first, end := added[i].First, added[i].First+uint64(added[i].Count); first < end; {
			size := h.count(first)
			if size == 0 && mayEnd && n >= synced {
				break
			}
			if size == 0 {
				bad := at
				bad.First, bad.Last, bad.Reason = first, end-1, "the items are missing"
				v.fault(bad)
				break
			}
			first += uint64(size)
		}
	}
	if next < synced {
		bad := at
		bad.Reason = fmt.Sprintf("the records of commits %d to %d are missing", next, synced-1)
		v.fault(bad)
	}
	return nil
}

// files reads the files of a database and reports what cannot be read of them,
// unless that is the torn end which a power cut leaves.
func (v *verifier) files(dir string, check valueCheck, newest bool, at Fault) (*holding, error) {
	_, looked := inspect(dir) // What an interruption has left is gone then.
	if looked != nil && !isCorrupt(looked) {
		return nil, looked
	}
	h, err := collect(dir, check)
	if err != nil {
		return nil, err
	}
	if newest && h.mem > 0 && h.checkLogs(true) == nil {
		h.faults = slices.DeleteFunc(h.faults, func(f Fault) bool { return filepath.Ext(f.Path) != ".sst" })
	}
	if looked != nil {
		h.fault(dir, looked.Error())
	}
	registry := filepath.Join(dir, badger.KeyRegistryFileName)
	data, err := os.ReadFile(registry)
	switch {
	case errors.Is(err, fs.ErrNotExist): // Badger makes it again.
	case err != nil:
		return nil, unavailable(err, "cannot read %s", registry)
	case len(data) < 28 || !bytes.Equal(data[16:28], []byte("Hello Badger")):
		h.fault(registry, "it is damaged")
	}
	for _, f := range h.faults {
		at.Path, at.Reason = f.Path, f.Reason
		v.fault(at)
	}
	return h, nil
}
