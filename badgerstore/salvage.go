package badgerstore

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// holding is everything in the directory of a database that can be read,
// without Badger: the values themselves stay where they are.
type holding struct {
	dir    string
	values map[string]location
	// kept are the keys that Badger would find if it opened the directory.
	kept map[string]bool
	// faults says what cannot be read.
	faults []Fault
	// pointed are keys whose values are in a value log.
	pointed map[string]bool
	// stranded counts the values that Badger would drop, since they, or what points to
	// them, lie behind something damaged or torn in a memtable's log; unfound those that
	// are pointed to and not there.
	stranded, unfound int
	torn              bool  // a memtable's log ends in something that cannot be read
	short             bool  // a log was cut off
	shared            bool  // there are tables and a memtable's log
	mem               int64 // bytes of memtables' logs
}

// valueCheck reports whether a value is as it was written, by its own checksum.
type valueCheck func(key, value []byte) bool

// location is where a value lies.
type location struct {
	path    string
	at      int64
	size    int
	version uint64
}

// Fault is a part of a store that cannot be read.
type Fault struct {
	Queue     string
	Partition int
	// First and Last are the sequence numbers of the items concerned, 0 if that
	// is not known.
	First, Last uint64
	Path        string // file or directory
	Reason      string
}

// collect reads all files of the database in dir. check decides which values
// count, by key.
func collect(dir string, check valueCheck) (*holding, error) {
	h := &holding{dir: dir, values: make(map[string]location), kept: make(map[string]bool), pointed: make(map[string]bool)}
	names, err := listDir(dir)
	if err != nil {
		return nil, unavailable(err, "cannot read the directory %s", dir)
	}
	slices.Sort(names)
	inline := make(map[string]bool) // keys of which Badger finds the value or the pointer
	logged := make(map[string]bool) // keys of which Badger finds the value in a value log
	tables := false
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch filepath.Ext(name) {
		case ".sst":
			tables = true
			if err := checkTable(path); err != nil {
				h.fault(path, err.Error())
			}
			err = scanTable(path, func(e *rawEntry) error { h.add(path, e, check, inline); return nil })
		case ".mem":
			err = h.addLog(path, check, inline, true)
		case ".vlog":
			err = h.addLog(path, check, logged, false)
		}
		if err != nil {
			return nil, err
		}
	}
	h.shared = tables && h.mem > 0
	told := len(h.faults) > 0
	for key := range inline {
		if !h.pointed[key] || logged[key] {
			h.kept[key] = true
			continue
		}
		h.unfound++
		if h.mem == 0 && !told { // All was on flash when the log was closed.
			h.fault(dir, fmt.Sprintf("the value of key %x is not there", key))
		}
	}
	for key := range h.values {
		if !h.kept[key] {
			h.stranded++
		}
	}
	return h, nil
}

func (h *holding) fault(path, reason string) {
	h.faults = append(h.faults, Fault{Path: path, Reason: reason})
}

// add takes note of an entry. One that only points to its value is found again
// in the value log.
func (h *holding) add(path string, e *rawEntry, check valueCheck, seen map[string]bool) {
	if e.meta&metaEndTxn != 0 || isCarried(e.key) {
		return
	}
	key := string(e.key)
	if e.meta&metaPointer != 0 {
		h.pointed[key] = true
		seen[key] = true
		return
	}
	if !check(e.key, e.value) {
		h.fault(path, fmt.Sprintf("the value of key %x at %d is damaged", e.key, e.at))
		return
	}
	seen[key] = true
	if old, ok := h.values[key]; !ok || e.version >= old.version {
		h.values[key] = location{path: path, at: e.at, size: len(e.value), version: e.version}
	}
}

// addLog adds the entries of a log. cut says that Badger drops what lies behind
// the first that it cannot read.
func (h *holding) addLog(path string, check valueCheck, seen map[string]bool, cut bool) error {
	tentative := make(map[string]bool)
	l, err := scanLog(path, func(e *rawEntry) error { h.add(path, e, check, tentative); return nil }, func() {
		maps.Copy(seen, tentative)
		clear(tentative)
	})
	if err != nil {
		return err
	}
	if !cut {
		maps.Copy(seen, tentative)
	}
	for _, g := range l.gaps {
		h.fault(path, fmt.Sprintf("bytes %d to %d cannot be read", g.from, g.end))
	}
	if filepath.Ext(path) == ".mem" {
		h.mem += l.size
		h.torn = h.torn || len(l.gaps) > 0
	}
	h.short = h.short || l.isShort() && l.size%minMemTable != 0
	return nil
}

// value reads a value.
func (h *holding) value(key []byte) ([]byte, bool, error) {
	p, ok := h.values[string(key)]
	if !ok {
		return nil, false, nil
	}
	f, err := os.Open(p.path)
	if err != nil {
		return nil, false, unavailable(err, "cannot open %s", p.path)
	}
	defer f.Close()
	value := make([]byte, p.size)
	if _, err := (&card{f: f}).ReadAt(value, p.at); err != nil {
		return nil, false, unavailable(err, "cannot read %s", p.path)
	}
	return value, true, nil
}

// numbers returns the numbers of the keys with that letter, ascending.
func (h *holding) numbers(letter byte) []uint64 {
	var list []uint64
	for key := range h.values {
		if n, ok := keyNumber(letter, []byte(key)); ok {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// isTold reports whether the files say of a value that it is theirs: what lies in a value
// log and nothing points to may be part of an item, which may hold anything.
func (h *holding) isTold(key []byte) bool {
	return filepath.Ext(h.values[string(key)].path) != ".vlog" || h.pointed[string(key)]
}

// isOurs checks a value of a segment by its own checksum, which covers it
// whatever its version is.
func isOurs(key, value []byte) bool {
	n := len(value) - sumSize
	if n < 1 || len(key) == 0 {
		return false
	}
	if kind := kindOf(key[0]); kind == 0 || value[0]&0xf0 != kind || checksum(value[:n]) != leUint32(value[n:]) {
		return false
	}
	switch key[0] {
	case letterBlock:
		first, ok := keyNumber(letterBlock, key)
		h, err := readBlockHeader(value)
		return ok && (err != nil && !isCorrupt(err) || err == nil && h.First == first)
	case letterRecord:
		number, ok := keyNumber(letterRecord, key)
		rec, err := decodeRecord(value)
		return ok && (err != nil && !isCorrupt(err) || err == nil && rec.N == number)
	}
	return len(key) == 1
}

// kindOf returns the kind of the values of keys with that letter.
func kindOf(letter byte) byte {
	switch letter {
	case letterHeader:
		return kindHeader
	case letterCheckpoint:
		return kindCheckpoint
	case letterBlock:
		return kindBlock
	case letterRecord:
		return kindRecord
	}
	return 0
}

// last returns the version of the last transaction of which anything is there.
func (h *holding) last() (version uint64) {
	for _, l := range h.values {
		version = max(version, l.version)
	}
	return version
}

// checkLogs sees whether Badger, which drops what lies behind the first damage
// of a log, would drop something that was on flash for sure. A newest segment may
// end in what was torn by a power cut: mayEnd. In any other all is on flash.
func (h *holding) checkLogs(mayEnd bool) error {
	if h.mem == 0 {
		return nil
	}
	if h.short || !mayEnd && (h.torn || h.stranded > 0 || h.unfound > 0) {
		return corrupt(nil, "%s", h.says("a log is damaged"))
	}
	if h.stranded == 0 && h.unfound == 0 && len(h.faults) == 0 {
		return nil
	}
	last := h.last()
	for key, l := range h.values {
		// Each is synced before the next is written, so that only the last can be torn.
		if key[0] == letterDefinition && !h.kept[key] && !(h.kept[string(headerKey())] && l.version == last) {
			return corrupt(nil, "%s", h.says("a definition is damaged"))
		}
	}
	synced := syncedAtLeast(h.dir)
	added := make(map[uint64]queue.Added)
	for _, n := range h.numbers(letterRecord) {
		if !h.isTold(recordKey(n)) {
			continue
		}
		value, _, err := h.value(recordKey(n))
		if err != nil {
			return err
		}
		rec, err := decodeRecord(value)
		if err != nil {
			return err
		}
		synced = max(synced, rec.Synced)
		added[n] = rec.Commit.Added
	}
	// The file of that name is made when both are on flash.
	if (synced > 0 || isUsed(h.dir)) && !(h.kept[string(headerKey())] && h.kept[string(checkpointKey())]) {
		return corrupt(nil, "%s", h.says("the beginning is damaged"))
	}
	for n := range synced {
		if !h.kept[string(recordKey(n))] {
			return corrupt(nil, "%s", h.says(fmt.Sprintf("commit %d of %d is damaged", n, synced)))
		}
		a := added[n]
		for first, end := a.First, a.First+uint64(a.Count); first < end; {
			size := h.count(first)
			if !h.kept[string(blockKey(first))] || size == 0 {
				return corrupt(nil, "%s", h.says(fmt.Sprintf("the block of items from %d on is damaged", first)))
			}
			first += uint64(size)
		}
	}
	return nil
}

// count returns the number of items of the block that begins at first; 0 if it
// is not there.
func (h *holding) count(first uint64) uint32 {
	value, ok, err := h.value(blockKey(first))
	if !ok || err != nil {
		return 0
	}
	head, err := readBlockHeader(value)
	if err != nil {
		return 0
	}
	return head.Count
}

// says names the first fault behind a text.
func (h *holding) says(text string) string {
	if len(h.faults) == 0 {
		return fmt.Sprintf("%s: %s", h.dir, text)
	}
	return fmt.Sprintf("%s: %s: %s: %s", h.dir, text, filepath.Base(h.faults[0].Path), h.faults[0].Reason)
}

// Salvage reads the items in the directory of a segment, such as one that was
// set aside, without regard to what became of them, and hands them to fn in
// order. Nothing is written. It returns what could not be read.
func Salvage(dir string, fn func(queueName string, partition int, it *queue.Item) error) ([]Fault, error) {
	h, err := collect(dir, isOurs)
	if err != nil {
		return nil, err
	}
	var head segmentHeader
	if value, ok, err := h.value(headerKey()); err != nil {
		return nil, err
	} else if ok {
		if head, err = decodeHeader(value); errors.Is(err, queue.ErrFormat) {
			return nil, err
		}
	}
	for _, first := range h.numbers(letterBlock) {
		value, _, err := h.value(blockKey(first))
		if err != nil {
			return nil, err
		}
		items, err := decodeBlock(value, head.Tag, false)
		if errors.Is(err, queue.ErrFormat) {
			return nil, err
		}
		if err != nil {
			h.faults = append(h.faults, Fault{First: first, Path: dir, Reason: err.Error()})
			continue
		}
		for i := range items {
			if err := fn(head.Queue, head.Partition, &items[i]); err != nil {
				return nil, err
			}
		}
	}
	for i := range h.faults {
		h.faults[i].Queue, h.faults[i].Partition = head.Queue, head.Partition
	}
	return h.faults, nil
}
