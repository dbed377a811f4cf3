package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// settle turns the memtables of a database that was not closed into tables, so that
// it can be opened for reading, and cuts off what lies behind the end of its last
// value log. What its files hold was looked at before (examine).
func settle(dir string) error {
	names, err := listDir(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	slices.Sort(names)
	values, err := readValues(dir, lastValueLog(names))
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return filepath.Ext(name) != ".mem" })
	tables := make([][]byte, len(names))
	for i, name := range names {
		if tables[i], _, err = tableOf(filepath.Join(dir, name), values); err != nil {
			return err
		}
	}
	if err := values.cut(); err != nil {
		return err
	}
	for i, name := range names {
		if err := settleLog(filepath.Join(dir, name), tables[i]); err != nil {
			return err
		}
	}
	return nil
}

// valueLog is what was found in a value log. Nil is one of which nothing is known; its
// methods may be called.
type valueLog struct {
	path   string
	number uint32
	found  rawLog
	used   int64 // where the last value ends that is pointed to
}

// readValues reads a value log; without a name there is none.
func readValues(dir, name string) (*valueLog, error) {
	if name == "" {
		return nil, nil
	}
	v, err := newValueLog(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	v.found, err = scanLog(v.path, func(*rawEntry) error { return nil }, func() {})
	if err == nil && v.found.lost > 0 {
		err = corrupt(nil, "the device has lost parts of %s", v.path)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// newValueLog returns the value log at path, which is not read yet.
func newValueLog(path string) (*valueLog, error) {
	number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".vlog"), 10, 32)
	if err != nil {
		return nil, corrupt(err, "%s is no name of a value log", path)
	}
	return &valueLog{path: path, number: uint32(number)}, nil
}

// at returns where the value begins and ends that an entry of a memtable's log points to;
// ok is false if it points to none here.
func (v *valueLog) at(meta byte, value []byte) (begin, end int64, ok bool) {
	if v == nil || meta&metaPointer == 0 || len(value) != pointerSize {
		return 0, 0, false
	}
	number, size, at := parsePointer(value)
	return int64(at), int64(at) + int64(size), number == v.number
}

// lacks reports whether an entry of a memtable's log points to a value that is not there.
// One that lies behind something damaged is.
func (v *valueLog) lacks(meta byte, value []byte) bool {
	begin, end, ok := v.at(meta, value)
	return ok && (end > v.found.last ||
		slices.ContainsFunc(v.found.gaps, func(g gap) bool { return begin < g.end && end > g.from }))
}

// use notes that an entry will point there.
func (v *valueLog) use(meta byte, value []byte) {
	if _, end, ok := v.at(meta, value); ok {
		v.used = max(v.used, end)
	}
}

// cut cuts off what a power cut has left behind the end: that is where the entries end
// that follow each other, unless a value behind that is used.
func (v *valueLog) cut() error {
	if v == nil {
		return nil
	}
	end := max(v.found.end, v.used)
	if end >= v.found.size {
		return nil
	}
	if err := truncateSynced(v.path, end); err != nil {
		return unavailable(err, "cannot cut %s", v.path)
	}
	return nil
}

// settleLog puts a table in the place of a memtable's log, nil if nothing is in it.
func settleLog(path string, data []byte) error {
	dir := filepath.Dir(path)
	if data == nil {
		if err := removeLog(path); err != nil {
			return unavailable(err, "cannot remove %s", path)
		}
		return nil
	}
	need := int64(len(data))
	if err := makeSpace(dir, need+settleSpace, 0); err != nil {
		return err
	}
	n, err := newTable(dir, need)
	if err != nil {
		return err
	}
	if err := n.fill(data); err != nil {
		n.drop()
		return err
	}
	return n.adopt(path)
}

func truncateSynced(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}
