package badgerstore

import (
	"path/filepath"
	"slices"
)

// What a power cut and damage leave of a generation of definitions that was not closed.

// lacking returns the first version in the memtables' logs of which a value is not there,
// 0 if there is none, and the last version.
func lacking(dir string) (first, last uint64, err error) {
	names, err := listDir(dir)
	if err != nil {
		return 0, 0, unavailable(err, "cannot read the directory %s", dir)
	}
	values, err := readValues(dir, lastValueLog(names))
	if err != nil {
		return 0, 0, err
	}
	slices.Sort(names)
	for _, name := range names {
		if filepath.Ext(name) != ".mem" {
			continue
		}
		_, err := scanLog(filepath.Join(dir, name), func(e *rawEntry) error {
			if last = max(last, e.version); first == 0 && values.lacks(e.meta, e.value) {
				first = e.version
			}
			return nil
		}, func() {})
		if err != nil {
			return 0, 0, err
		}
	}
	return first, last, nil
}

// hasLost reports whether something acknowledged is missing where the value of the
// transaction of version first, if not 0, is not there: each is on flash before the next
// is written, and a generation before that of before goes.
func (h *holding) hasLost(first, last uint64, oldest bool) bool {
	return first > 0 && (first < last || oldest && h.begins(first))
}

// begins reports whether the generation begins with the transaction of that version.
func (h *holding) begins(version uint64) bool {
	return h.values[string(headerKey())].version == version
}

// isUnfinished reports whether there is nothing of a generation but what may be the torn
// beginning: its first transaction, of which Badger would find nothing. One that took a
// change since was finished before.
func (h *holding) isUnfinished() bool {
	last := h.last()
	for key, l := range h.values {
		if h.kept[key] || l.version != last {
			return false
		}
	}
	return true
}

// tornDefinitions returns the definitions that are whole in a log, in a transaction
// that is not: one that was being written when the power went, or whose end was
// damaged since. That they are there does no harm in the first case.
func (h *holding) tornDefinitions() (map[string][]byte, error) {
	torn := make(map[string][]byte)
	last := h.last()
	for key, l := range h.values {
		if key[0] != letterDefinition || h.kept[key] || l.version != last {
			continue
		}
		value, found, err := h.value([]byte(key))
		if err != nil {
			return nil, err
		}
		if found && len(value) > 0 {
			torn[key[1:]] = value
		}
	}
	return torn, nil
}
