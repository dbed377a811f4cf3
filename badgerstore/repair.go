package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/queue"
)

// usedName is a file that a segment gets when it becomes the tail: then its
// header and checkpoint are on flash. Without it a segment that has neither was
// never used; with it, they were lost.
//
// It holds how many commits were on flash when it was written, 8 bytes little
// endian, and CRC-32C of those. It is written after each sync and is not synced
// itself, so that after a power cut it may be too low, but never too high; when
// the process was killed it is right. It tells a damaged last commit from one
// that was never acknowledged.
const usedName = "used"

// markUsed makes that file durable, and keeps it open for noteSynced.
func (t *tail) markUsed() error {
	f, err := os.OpenFile(filepath.Join(t.dir, usedName), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		t.used = f
		if t.resumed == 0 { // Else it has been there for long.
			t.syncs++
			err = syncDir(t.dir)
		}
	}
	if err != nil {
		return unavailable(err, "cannot write to %s", t.dir)
	}
	t.noteSynced()
	return nil
}

// mapUsed maps that file into memory, for a tail that takes many commits: writing it
// by a call takes as long as a tenth of all else that such a commit asks of the
// processor. Where it cannot be mapped it is written by calls.
func (t *tail) mapUsed() {
	if t.used == nil || t.usedMap != nil {
		return
	}
	// With blocks, so that writing to the mapping asks for none.
	if fdatasync(t.used) != nil {
		return
	}
	t.mapAgain()
}

// mapAgain is mapUsed for a file that has blocks.
func (t *tail) mapAgain() {
	if m, err := unix.Mmap(int(t.used.Fd()), 0, usedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.usedMap = m
	}
}

// usedSize is the size of that file.
const usedSize = 8 + sumSize

// noteSynced writes how many commits are on flash. A failure costs a bit of
// certainty after damage, no more.
func (t *tail) noteSynced() {
	if t.used == nil {
		return
	}
	b := appendSum(binary.LittleEndian.AppendUint64(make([]byte, 0, usedSize), t.synced), 0)
	if t.usedMap != nil && guard(func() error { copy(t.usedMap, b); return nil }) == nil {
		return
	}
	_, _ = t.used.WriteAt(b, 0)
}

// copyUsed copies the file, if it is there, to a directory that takes the place
// of dir.
func copyUsed(dir, to string) error {
	err := copyFile(filepath.Join(dir, usedName), filepath.Join(to, usedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isUsed reports whether the file is there. Where that cannot be told it is, since
// a segment that was never used is removed.
func isUsed(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, usedName))
	return !errors.Is(err, fs.ErrNotExist)
}

// syncedAtLeast returns how many commits of the segment were on flash for sure,
// by that file.
func syncedAtLeast(dir string) uint64 {
	b, _, err := readCard(filepath.Join(dir, usedName))
	if err != nil || len(b) != usedSize || checksum(b[:8]) != leUint32(b[8:]) {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
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
func (h *holding) rebuild(dir string) error {
	z := sizes{mem: 8 * minMemTable, values: 1 << 20, threshold: valueThreshold, step: leanStep}
	var total int64
	for _, l := range h.values {
		total += int64(l.size) + 64
	}
	z.values = max(z.values, total+recordSlack)
	if err := makeSpace(filepath.Dir(dir), total+3*z.mem+settleSpace, 0); err != nil {
		return err
	}
	t, err := createTail(dir, 0, z, nil, nil)
	if err != nil {
		return err
	}
	if err := h.copyTo(t); err != nil {
		_ = t.throwAway(nil) // The caller removes what is left.
		return err
	}
	if err := t.finish(); err != nil {
		return err
	}
	if err := copyUsed(h.dir, dir); err != nil {
		return unavailable(err, "cannot write to %s", dir)
	}
	if err := syncFiles(dir); err != nil {
		return unavailable(err, "cannot sync %s", dir)
	}
	return nil
}

// copyTo writes the values to t, one in a transaction; together they are on flash
// on return.
func (h *holding) copyTo(t *tail) error {
	for _, key := range slices.Sorted(maps.Keys(h.values)) {
		value, _, err := h.value([]byte(key))
		if err != nil {
			return err
		}
		e := entry{key: []byte(key), value: value}
		if n, _ := t.fitting([]entry{e}); n == 0 {
			if err := t.renew(); err != nil {
				return err
			}
		}
		if err := t.write([]entry{e}); err != nil {
			return err
		}
	}
	return t.sync()
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

// quarantineShare: copies in the quarantine of a partition take at most this part
// of the file system.
const quarantineShare = 8

// SetAside puts the segment of a span into the quarantine, for what is damaged
// of it to be looked into: the directory itself when nothing of it is alive any
// more, else a copy. Where there is no room for a copy the segment itself is what
// there is, until its last item is done; the event says so.
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
	if s.writer != nil {
		if err := s.writer.flush(); err != nil {
			return "", p.fail(err)
		}
	}
	if err := p.roomAside(s); err != nil {
		s.aside = s.dir
		p.storage.setAside(s.dir, s.dir, fmt.Sprintf("%s; the rest of it is in use; no copy was made: %v", reason, err))
		return s.dir, nil
	}
	to, err := copyAside(s.dir, s.writer == nil)
	if err != nil {
		return "", unavailable(err, "cannot set a copy of %s aside", s.dir)
	}
	s.aside = to
	p.storage.setAside(s.dir, to, fmt.Sprintf("%s; the rest of it is in use", reason))
	return to, nil
}

// roomAside returns an error when a copy of the segment would make the quarantine
// too large, or does not fit on the disk.
func (p *partition) roomAside(s *segment) error {
	st, err := statfs(p.dir)
	if err != nil {
		return err
	}
	size, dir := diskBytes(s.dir), filepath.Join(p.dir, quarantineName)
	limit := int64(st.Blocks) * int64(st.Bsize) / quarantineShare
	if held := diskBytes(dir); held+size > limit {
		return fmt.Errorf("%s holds %d bytes, a copy takes %d, and at most %d are kept; remove what is not wanted", dir, held, size, limit)
	}
	return needSpace(p.dir, size, p.storage.options.MinFree)
}
