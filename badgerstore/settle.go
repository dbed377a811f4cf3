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
	values, err := settleValues(dir, lastValueLog(names))
	if err != nil {
		return err
	}
	for _, name := range names {
		if filepath.Ext(name) != ".mem" {
			continue
		}
		if err := settleLog(filepath.Join(dir, name), values); err != nil {
			return err
		}
	}
	return nil
}

// settleValues cuts off what lies behind the end of a value log, and returns where
// that is; without a name there is none.
func settleValues(dir, name string) (valueEnd, error) {
	if name == "" {
		return valueEnd{}, nil
	}
	path := filepath.Join(dir, name)
	number, err := strconv.ParseUint(strings.TrimSuffix(name, ".vlog"), 10, 32)
	if err != nil {
		return valueEnd{}, corrupt(err, "%s is no name of a value log", path)
	}
	l, err := scanLog(path, func(*rawEntry) error { return nil }, func() {})
	if err == nil && l.lost > 0 {
		err = corrupt(nil, "the device has lost parts of %s", path)
	}
	if err != nil {
		return valueEnd{}, err
	}
	if l.end < l.size {
		if err := truncateSynced(path, l.end); err != nil {
			return valueEnd{}, unavailable(err, "cannot cut %s", path)
		}
	}
	return valueEnd{file: uint32(number), at: l.end}, nil
}

// settleLog turns one memtable's log into a table.
func settleLog(path string, values valueEnd) error {
	dir := filepath.Dir(path)
	data, _, err := tableOf(path, values)
	if err != nil {
		return err
	}
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
