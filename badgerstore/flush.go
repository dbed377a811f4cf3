package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/kapetan-io/querator-edge/queue"
	"google.golang.org/protobuf/proto"
)

// When a segment is written no more the log of its memtable becomes a table, which
// Badger finds keys in without reading all of it. Badger itself would make one when it
// opens the directory, and write it through the mapping of a new file without blocks,
// in a goroutine of its own: somebody else who fills the disk at that moment makes
// that a SIGBUS, which ends the process. So tables are made here, of the log, and
// written by calls that return an error. Badger only reads them.
//
// The steps, each on flash before the next: the table; its name in the MANIFEST; the
// log goes. What an interruption leaves is what one of Badger's own would leave, so
// that checkManifest knows it.

// tableFile is a table that is being made: a file that has blocks, or nothing.
type tableFile struct {
	f   *os.File
	dir string
	id  uint64
	// building takes a token while it is built; nil is no bound.
	building chan struct{}
}

// newTable makes a file for the next table of the database in dir and reserves
// size bytes of the device for it. The error is of kind queue.ErrFull when there is
// no room; nothing is left then.
func newTable(dir string, size int64) (*tableFile, error) {
	named, err := readManifest(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	n := &tableFile{dir: dir, id: 1}
	for id := range named {
		n.id = max(n.id, id+1)
	}
	// One that is there was not named: the process ended before.
	n.f, err = os.OpenFile(table.NewFilename(n.id, dir), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if isFull(err) {
		return nil, &queue.Error{Kind: queue.ErrFull, Err: err, Msg: fmt.Sprintf("the disk is full: %s takes no table", dir)}
	}
	if err != nil {
		return nil, unavailable(err, "cannot make a table in %s", dir)
	}
	if size == 0 {
		return n, nil
	}
	if err := allocate(n.f, 0, size); err != nil {
		n.drop()
		return nil, err
	}
	return n, nil
}

// tableSpace bounds what a table takes whose entries take used bytes of a memtable:
// its filter and its index come on top of them.
func tableSpace(used int64) int64 { return used + used/4 + 4*pageSize }

// drop gives the file up; nil is none.
func (n *tableFile) drop() {
	if n == nil {
		return
	}
	_ = n.f.Close()
	_ = os.Remove(n.f.Name()) // Else it is removed when the directory is looked at again.
}

// fill writes a table, which is on flash on return.
func (n *tableFile) fill(data []byte) error {
	_, err := n.f.WriteAt(data, 0)
	if err == nil {
		err = n.f.Truncate(int64(len(data))) // Blocks beyond are given back.
	}
	if err == nil {
		err = fdatasync(n.f)
	}
	if err != nil {
		return unavailable(err, "cannot write %s", n.f.Name())
	}
	return nil
}

// adopt makes the table part of the database, which is closed, in place of the log
// at path.
func (n *tableFile) adopt(path string) error {
	if err := n.f.Close(); err != nil {
		return unavailable(err, "cannot write %s", n.f.Name())
	}
	err := errors.Join(syncDir(n.dir), nameTable(filepath.Join(n.dir, badger.ManifestFilename), n.id))
	if err == nil {
		err = removeLog(path)
	}
	if err != nil {
		return unavailable(err, "cannot add a table to %s", n.dir)
	}
	return nil
}

// removeLog removes a memtable's log. Its blocks go at once, also while a reader has
// it open.
func removeLog(path string) error { return errors.Join(os.Truncate(path, 0), os.Remove(path)) }

// tableOf returns the table of what Badger would keep of a memtable's log, nil if
// that is nothing, and where that ends in the log: at the latest with the first
// transaction of which a value is not in values, since that and those behind it were
// never acknowledged. Nil has all values. The error Is queue.ErrCorrupt when the device
// has lost a part of the log.
func tableOf(path string, values *valueLog) (data []byte, end int64, err error) {
	type keyValue struct {
		key   []byte // with the version
		value y.ValueStruct
	}
	var kept, open []keyValue
	torn := false
	l, err := scanLog(path, func(e *rawEntry) error {
		torn = torn || values.lacks(e.meta, e.value)
		if e.meta&metaEndTxn == 0 {
			open = append(open, keyValue{
				key: y.KeyWithTs(e.key, e.version), value: y.ValueStruct{Meta: e.meta, Value: bytes.Clone(e.value)},
			})
		}
		return nil
	}, func() {
		if !torn {
			for i := range open {
				values.use(open[i].value.Meta, open[i].value.Value)
			}
			kept = append(kept, open...)
		}
		open = nil
	})
	if err == nil && l.lost > 0 {
		err = corrupt(nil, "the device has lost parts of %s", path)
	}
	if err != nil || len(kept) == 0 {
		return nil, l.end, err
	}
	slices.SortStableFunc(kept, func(a, b keyValue) int { return y.CompareKeys(a.key, b.key) })
	size := 0
	for i := range kept {
		size += len(kept[i].key) + len(kept[i].value.Value)
	}
	w := newTableWriter(len(kept), size)
	for i := range kept {
		w.add(kept[i].key, &kept[i].value)
	}
	return w.finish(), l.end, nil
}

// nameTable adds a table to a MANIFEST; it is on flash on return. The file is
// written anew, since what was written in place, and then could not be synced, may
// be there in part after a power cut.
func nameTable(path string, id uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	// What was torn off behind the last change goes, as Badger does it.
	_, end, err := badger.ReplayManifestFile(f, 0, badgerOptions(filepath.Dir(path), nil))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	data, _, err := readCard(path)
	if err != nil {
		return err
	}
	change, err := proto.Marshal(&pb.ManifestChangeSet{Changes: []*pb.ManifestChange{{
		Id: id, Op: pb.ManifestChange_CREATE, EncryptionAlgo: pb.EncryptionAlgo_aes, Compression: uint32(options.None),
	}}})
	if err != nil {
		return err
	}
	data = binary.BigEndian.AppendUint32(data[:end], uint32(len(change)))
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(change, crc32.MakeTable(crc32.Castagnoli)))
	data = append(data, change...)
	temp := path + manifestTemp
	err = writeSynced(temp, data)
	switch {
	case isFull(err):
		// In place it takes no room.
		_ = os.Remove(temp)
		return writeInPlace(path, data[end:], end)
	case err != nil:
		return errors.Join(err, os.Remove(temp))
	}
	return errors.Join(os.Rename(temp, path), syncDir(filepath.Dir(path)))
}

// writeInPlace writes to a file at off; it is on flash on return.
func writeInPlace(path string, data []byte, off int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, off); err != nil {
		err = errors.Join(err, f.Truncate(off))
	} else {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// hasLog reports whether a memtable's log is in the directory of a database, whose
// table is not made.
func hasLog(dir string) bool {
	names, err := listDir(dir)
	return err != nil || slices.ContainsFunc(names, func(name string) bool { return filepath.Ext(name) == ".mem" })
}

// isBlank reports whether nothing was written to the logs, so that closing makes no
// table.
func (t *tail) isBlank() bool { return t.memEnd == logHeader && t.valueEnd == logHeader }

// newTable makes room for the table of the memtable; nil if that is empty.
func (t *tail) newTable() (*tableFile, error) {
	if t.isBlank() {
		return nil, nil
	}
	return newTable(t.dir, tableSpace(t.memUsed()))
}

// finish closes a tail; its memtable's log becomes a table. Where there is no room for
// that it is closed all the same, and its files stay as after a crash.
func (t *tail) finish() error {
	n, err := t.newTable()
	if errors.Is(err, queue.ErrFull) {
		err = nil
	}
	return errors.Join(err, t.shut(n))
}

// renew goes on with the tail in new files; what is in the old ones is not read any
// more. On an error nothing can be written to it any more.
func (t *tail) renew() error {
	if err := t.sync(); err != nil {
		return err
	}
	n, err := t.newTable()
	if err == nil {
		err = t.shut(n)
	}
	if err != nil {
		return err
	}
	return t.resume(false)
}

// shut closes a tail for good, or for a while: its memtable's log becomes the table n.
// When n is nil or that fails, the files stay as after a crash, and are settled when
// they are read. The error Is errStuck when they must not be looked at before the
// process has ended.
func (t *tail) shut(n *tableFile) error {
	if n == nil || t.isBlank() {
		n.drop()
		return t.close()
	}
	data, err := t.table(n)
	if err != nil {
		n.drop()
		return t.leave(err)
	}
	path := t.memFile.Name()
	if err := n.fill(data); err != nil {
		n.drop()
		return errors.Join(err, t.close())
	}
	if err := t.close(); err != nil {
		n.drop()
		return err
	}
	return n.adopt(path)
}

// table returns the table of the memtable's log, when its turn has come. All that was
// written is in it: after a write that failed the log may lack something that the
// journal has.
func (t *tail) table(n *tableFile) ([]byte, error) {
	if t.failed {
		return nil, unavailable(nil, "the files of %s stay as they are, since writing them failed", t.dir)
	}
	if err := t.flush(); err != nil {
		return nil, err
	}
	if n.building != nil {
		n.building <- struct{}{}
		defer func() { <-n.building }()
	}
	data, end, err := tableOf(t.memFile.Name(), nil)
	if err == nil && end != t.memEnd {
		err = unavailable(nil, "the log of %s can be read up to %d, not up to %d", t.dir, end, t.memEnd)
	}
	return data, err
}

// errStuck: what became of a segment is not known before the process has ended.
var errStuck = errors.New("it cannot be closed")

// leave closes the files and leaves them as after a crash, with the journal. The error
// that it returns Is errStuck.
func (t *tail) leave(why error) error {
	t.letGo()
	return errors.Join(errStuck, why)
}

// throwAway closes a tail and removes its directory: what it holds is not wanted. Its
// value log goes to spent, if that is not nil. It needs no room on the device.
func (t *tail) throwAway(spent *spentLog) error {
	name, written := valueLogName(t.valueNumber), max(t.valueEnd, t.spent)
	gone, err := hideDir(t.dir)
	failed := t.failed
	t.letGo()
	if err != nil {
		return err
	}
	if spent != nil && !failed {
		err = spent.keep(filepath.Join(gone, name), written)
	}
	return errors.Join(err, os.RemoveAll(gone))
}

// forgetJournal lets go of the journal, which stays where it is.
func (t *tail) forgetJournal() {
	if m := t.making; m != nil {
		<-m.ready
		t.making, t.journal = nil, m.journal
	}
	if t.journal != nil {
		_ = t.journal.f.Close() // It goes with the directory, or is read again at the next start.
	}
	t.journal = nil
}
