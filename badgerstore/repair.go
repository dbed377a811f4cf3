package badgerstore

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/kapetan-io/querator-edge/queue"
)

// usedName is an empty file that a segment gets when it becomes the tail: then
// its header and checkpoint are on flash. Without it a segment that has neither
// was never used; with it, they were lost.
const usedName = "used"

// markUsed makes that file durable.
func markUsed(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, usedName), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), syncDir(dir))
	}
	if err != nil {
		return unavailable(err, "cannot write to %s", dir)
	}
	return nil
}

func isUsed(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, usedName))
	return err == nil
}

// examine looks into the files of a database, before Badger does, for what makes
// it lose data or end the process.
func examine(dir string, c contents, check valueCheck, mayEnd bool) error {
	if !c.data {
		return nil
	}
	names, err := listDir(dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", dir)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".sst" {
			if err := checkTable(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if c.mem == 0 {
		return nil
	}
	h, err := collect(dir, check)
	if err != nil {
		return err
	}
	return h.checkLogs(mayEnd)
}

// repair puts a database that holds all that can be read of the one in dir into
// its place, and sets that aside: Badger opens a directory as a whole or not at
// all, and deletes what it does not know. It returns where the old one is, and
// whether there is a new one.
func repair(dir string, check valueCheck) (aside string, again bool, err error) {
	h, err := collect(dir, check)
	if err != nil {
		return "", false, err
	}
	temp := dir + repairSuffix
	if err := os.RemoveAll(temp); err != nil {
		return "", false, unavailable(err, "cannot remove %s", temp)
	}
	if len(h.values) > 0 {
		if err := h.rebuild(temp); err != nil {
			_ = os.RemoveAll(temp) // It is removed at the next start if it is still there.
			return "", false, err
		}
		again = true
	}
	if aside, err = moveAside(dir); err != nil {
		return "", false, unavailable(err, "cannot set %s aside", dir)
	}
	if again {
		if err := errors.Join(os.Rename(temp, dir), syncDir(filepath.Dir(dir))); err != nil {
			return aside, false, unavailable(err, "cannot rename %s", temp)
		}
	}
	return aside, again, nil
}

// rebuild writes all values to a new database in dir, closed and on flash.
func (h *holding) rebuild(dir string) (err error) {
	z := sizes{mem: 4 * minMemTable, values: 1 << 20, threshold: valueThreshold}
	var total int64
	for _, l := range h.values {
		total += int64(l.size) + 64
	}
	z.values = max(z.values, total+recordSlack)
	if err := needSpace(filepath.Dir(dir), total+2*z.mem+settleSpace, 0); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return unavailable(err, "cannot create %s", dir)
	}
	d, err := openDatabase(dir, z, false)
	if err != nil {
		return err
	}
	err = h.copyTo(d)
	if err = errors.Join(err, d.close()); err != nil {
		return err
	}
	if isUsed(h.dir) {
		if err := markUsed(dir); err != nil {
			return err
		}
	}
	if err := syncFiles(dir); err != nil {
		return unavailable(err, "cannot sync %s", dir)
	}
	return nil
}

// copyTo writes the values to d in many transactions, which together are on
// flash when d is closed.
func (h *holding) copyTo(d *database) error {
	txn := d.db.NewTransaction(true)
	defer func() { txn.Discard() }()
	for _, key := range slices.Sorted(maps.Keys(h.values)) {
		value, _, err := h.value([]byte(key))
		if err != nil {
			return err
		}
		err = txn.SetEntry(badger.NewEntry([]byte(key), value))
		if errors.Is(err, badger.ErrTxnTooBig) {
			if err := txn.Commit(); err != nil {
				return unavailable(err, "cannot write to %s", d.dir)
			}
			txn = d.db.NewTransaction(true)
			err = txn.SetEntry(badger.NewEntry([]byte(key), value))
		}
		if err != nil {
			return unavailable(err, "cannot write to %s", d.dir)
		}
	}
	if err := txn.Commit(); err != nil {
		return unavailable(err, "cannot write to %s", d.dir)
	}
	return d.log.check()
}

// repair puts what can be read of a damaged segment in its place. It reports
// whether anything can be.
func (p *partition) repair(s *segment, why error) (again bool, err error) {
	p.storage.readers.drop(s)
	if s.sources != nil {
		_ = s.sources.close() // It was only read.
	}
	s.sources, s.verified, s.barren, s.boot = nil, false, false, ""
	s.aside, again, err = repair(s.dir, isOurs)
	if err != nil {
		return false, err
	}
	reason := why.Error()
	if again {
		reason += "; what can be read of it was copied, and is in use"
	}
	p.storage.setAside(s.dir, s.aside, reason)
	return again, nil
}

// acquire opens a sealed segment for reading, repaired if it is damaged.
func (p *partition) acquire(s *segment) (*database, error) {
	if s.gone {
		return nil, corrupt(nil, "the segment %s was set aside", s.dir)
	}
	d, err := p.storage.readers.acquire(s)
	if err == nil || !isCorrupt(err) || s.aside != "" {
		return d, err
	}
	again, fault := p.repair(s, err)
	switch {
	case fault != nil:
		return nil, fault
	case !again:
		s.gone = true
		return nil, err
	}
	return p.storage.readers.acquire(s)
}

// setAside reports that a directory, or a copy of it, was put aside.
func (s *Storage) setAside(from, to, reason string) {
	if s.options.Events.SetAside != nil {
		s.options.Events.SetAside(from, to, strings.TrimSpace(reason))
	}
}

// Damage returns what opening the partition found, once.
func (p *partition) Damage() []*queue.Damage {
	found := p.found
	p.found = nil
	return found
}

// SetAside puts the segment of a span into the quarantine, for what is damaged
// of it to be looked into: the directory itself when nothing of it is alive any
// more, else a copy.
func (p *partition) SetAside(span uint64, reason string) (string, error) {
	if p.err != nil {
		return "", p.err
	}
	s := p.segment(span)
	if s == nil {
		return "", nil
	}
	if s.aside != "" {
		return s.aside, nil
	}
	s.wait()
	to, err := copyAside(s.dir, s.writer == nil)
	if err != nil {
		return "", unavailable(err, "cannot set a copy of %s aside", s.dir)
	}
	s.aside = to
	p.storage.setAside(s.dir, to, fmt.Sprintf("%s; the rest of it is in use", reason))
	return to, nil
}
