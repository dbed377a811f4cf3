package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
)

// checkManifest compares the tables in dir with those that the MANIFEST names.
// Two differences are normal while the memtable that a table is made of is there,
// since it goes only when the table is done and named: the process ended before
// the table was named; or the power went when it was named, on a file system that
// puts a file that was synced on flash and its name only later.
func checkManifest(dir string, tables []string, haveMem bool) error {
	path := filepath.Join(dir, badger.ManifestFilename)
	named, err := readManifest(path)
	if err != nil {
		return err
	}
	have := make(map[string]bool, len(tables))
	for _, name := range tables {
		have[name] = true
	}
	for _, id := range slices.Sorted(maps.Keys(named)) {
		name := fmt.Sprintf("%06d.sst", id)
		if have[name] {
			delete(have, name)
			continue
		}
		if haveMem && len(named) == len(tables)+1 && memHasBeginning(dir) && forgetTable(path, id, named) == nil {
			continue
		}
		return corrupt(nil, "%s names the table %s, which is not there", path, name)
	}
	if len(have) > 0 && !haveMem {
		return corrupt(nil, "%s does not name %d of the tables that are there", path, len(have))
	}
	return removeUnfinished(dir, have)
}

// memHasBeginning reports whether the header is in a memtable's log: then that is
// what the first table was made of, and not one that was begun later.
func memHasBeginning(dir string) bool {
	names, err := listDir(dir)
	if err != nil {
		return false
	}
	found := false
	for _, name := range names {
		if filepath.Ext(name) != ".mem" {
			continue
		}
		_, err := scanLog(filepath.Join(dir, name), func(e *rawEntry) error {
			found = found || bytes.Equal(e.key, headerKey())
			return nil
		}, func() {})
		if err != nil {
			return false
		}
	}
	return found
}

// readManifest returns the numbers of the tables that a MANIFEST names.
func readManifest(path string) (map[uint64]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unavailable(err, "cannot open %s", path)
	}
	defer f.Close()
	// What the device gives late is in memory then.
	if _, _, err := readCard(path); err != nil {
		return nil, unavailable(err, "cannot read %s", path)
	}
	m, _, err := badger.ReplayManifestFile(f, 0, badgerOptions(filepath.Dir(path), nil))
	if saysInputError(err) {
		return nil, failedOpen(filepath.Dir(path), err)
	}
	if err != nil {
		return nil, corrupt(err, "%s is damaged", path)
	}
	named := make(map[uint64]bool, len(m.Tables))
	for id := range m.Tables {
		named[id] = true
	}
	return named, nil
}

// manifestTemp ends the name of a MANIFEST that is being written anew, as Badger calls
// it.
const manifestTemp = "-REWRITE"

// forgetTable takes the last change out of a MANIFEST, when it is the one that
// names a table. The file is a header of 8 bytes and changes: each its length and
// CRC-32C, 4 bytes big endian, then itself.
func forgetTable(path string, table uint64, named map[uint64]bool) error {
	data, _, err := readCard(path)
	if err != nil {
		return err
	}
	const head = 8
	last := 0
	for at := head; at+head <= len(data); {
		last = at
		at += head + int(min(binary.BigEndian.Uint32(data[at:]), uint32(len(data))))
	}
	if last == 0 {
		return corrupt(nil, "%s has no changes", path)
	}
	temp := path + manifestTemp
	if err := writeSynced(temp, data[:last]); err != nil {
		return err
	}
	left, err := readManifest(temp)
	if err != nil {
		return err
	}
	if left[table] || len(left) != len(named)-1 {
		return corrupt(nil, "the last change of %s does not name table %d", path, table)
	}
	return errors.Join(os.Rename(temp, path), syncDir(filepath.Dir(path)))
}

// removeUnfinished removes tables that the MANIFEST does not name and that
// cannot be read: the process ended while they were being written. The memtable
// that they are made of goes only when they are done and named.
func removeUnfinished(dir string, tables map[string]bool) error {
	for name := range tables {
		path := filepath.Join(dir, name)
		if checkTable(path) == nil {
			continue
		}
		if err := os.Remove(path); err != nil {
			return unavailable(err, "cannot remove the unfinished table %s", path)
		}
	}
	return nil
}
