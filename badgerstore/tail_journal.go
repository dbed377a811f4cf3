package badgerstore

import (
	"bytes"
	"errors"
	"strconv"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
)

// What a tail does with a journal (journal.go). Without one it writes to Badger
// and syncs Badger's logs. With one, a small commit that is to be on flash goes to
// the journal, and to behind, of which Badger gets it later: before anything is
// read or written past it, and when the ring is full. So does a small commit that
// need not be on flash at once, such as leases, while commits are small; the kernel
// has it then, in Badger's log, in case that the process is killed.
//
// Everything that is written meanwhile, also what Badger gets at once, is in the
// next record of the journal, so that what is on flash has no holes. What does not
// fit into a record makes the next sync one of Badger's logs.
//
// Badger writes to its log what is there already, maybe with the entries of a
// transaction in another order, and zeros behind each for a moment. Should the
// process end in that moment, the journal puts it right: so what is behind is in
// the journal before Badger gets it.

const (
	// journalAfter is after how many small commits a tail gets a journal. A queue
	// that is seldom used does not, since making one costs as much as it saves in
	// them.
	journalAfter = 16
	// journalAgain is how many small commits later it is tried again, when there
	// was no room for one.
	journalAgain = 4096
	// calmAfter is after how many small commits in a row those that need not be on
	// flash at once are left for later, too. Large ones in between would have them
	// written to the journal as well.
	calmAfter = 16
)

// madeJournal is a journal that a goroutine makes.
type madeJournal struct {
	ready   chan struct{} // closed when the others are set
	journal *journal
	err     error
}

// behind is what the journal has and Badger has not: transactions as journal.go
// describes them, each with the next version. Its size is bounded by the ring's.
type behind struct {
	data  []byte
	count int
	first uint64 // version of the first
}

// put writes a commit, and puts it on flash if sync says so.
func (t *tail) put(entries []entry, sync bool) error {
	later := t.canWait(entries, sync)
	if !later {
		if err := t.flush(); err != nil {
			return err
		}
	}
	write := t.write
	if t.note(entries) && later {
		write = func(entries []entry) error { return t.postpone(entries, sync) }
	}
	if err := write(entries); err != nil {
		return err
	}
	t.commits++
	if !sync {
		return nil
	}
	return t.sync()
}

// canWait reports whether Badger need not have a commit yet.
func (t *tail) canWait(entries []entry, sync bool) bool {
	if !t.isSmall(entries) {
		t.calm = 0
		return false
	}
	t.small++
	t.calm++
	if t.journal == nil || t.unnoted {
		return false
	}
	return sync && t.journal.hasRoom() || !sync && t.calm > calmAfter
}

// postpone leaves a commit for later. It is in the journal's next record; the kernel
// is given it unless that is written at once.
func (t *tail) postpone(entries []entry, sync bool) error {
	if err := t.fits(entries); err != nil {
		return err
	}
	t.version++
	if !sync {
		if _, err := t.memFile.WriteAt(appendRawTxn(nil, t.version, entries), t.memEnd); err != nil {
			return unavailable(err, "cannot write the log of %s", t.dir)
		}
	}
	t.behind.add(t.version, entries)
	t.book(entries)
	return nil
}

func (b *behind) add(version uint64, entries []entry) {
	if b.count == 0 {
		b.first = version
	}
	b.data = appendTransaction(b.data, entries)
	b.count++
}

// note adds a commit that is going to be written to the journal's next record. It
// reports false when that cannot be; then only a sync of Badger's logs puts it on
// flash.
func (t *tail) note(entries []entry) bool {
	if t.journal == nil {
		return false
	}
	if !t.unnoted && t.isSmall(entries) && t.journal.add(t.memEnd, t.version+1, entries) {
		return true
	}
	t.unnoted = true
	return false
}

// isSmall reports whether the entries suit a journal: one transaction, no value in
// the value log.
func (t *tail) isSmall(entries []entry) bool {
	size := 0
	for _, e := range entries {
		if len(e.value) >= t.threshold {
			return false
		}
		size += len(e.key) + len(e.value)
	}
	return size <= maxJournaled && t.batch(entries) == len(entries)
}

// flush gives Badger what is behind: what was written can be read then.
func (t *tail) flush() error {
	if t.behind.count == 0 {
		return nil
	}
	if len(t.journal.record) > 0 {
		if err := t.syncJournal(); err != nil {
			t.failed = true
			return err
		}
	}
	if err := t.behind.commitTo(t.database); err != nil {
		return err
	}
	if err := t.log.check(); err != nil {
		return err
	}
	if err := t.checkEnd(); err != nil {
		return err
	}
	if t.journal.hasRoom() {
		return nil
	}
	return t.syncLogs()
}

// commitTo commits the transactions, in order, and forgets them. Badger gets all of
// them before the first is waited for.
func (b *behind) commitTo(d *database) error {
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex // guards failed
		failed error
		r      = reader{b: b.data}
	)
	done := func(err error) {
		defer wait.Done()
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	for i := range b.count {
		txn := d.writeTxn()
		var err error
		for _, e := range r.transaction() {
			err = errors.Join(err, txn.SetEntry(badger.NewEntry(e.key, e.value)))
		}
		wait.Add(1)
		if err != nil {
			txn.Discard()
			done(err)
			break
		}
		if err := txn.CommitAt(b.first+uint64(i), done); err != nil {
			done(err)
			break
		}
	}
	wait.Wait()
	if failed != nil {
		return unavailable(failed, "cannot write to %s", d.dir)
	}
	b.data, b.count = b.data[:0], 0
	return nil
}

// checkEnd sees whether Badger's log ends where the books say, since that is where
// the journal would have its transactions written.
func (t *tail) checkEnd() error {
	want := appendRaw(nil, metaEndTxn, []byte(endKey), t.version, strconv.AppendUint(nil, t.version, 10))
	got := make([]byte, len(want))
	if _, err := t.memFile.ReadAt(got, t.memEnd-int64(len(want))); err != nil {
		return unavailable(err, "cannot read the log of %s", t.dir)
	}
	if !bytes.Equal(got, want) {
		return unavailable(nil, "BUG: transaction %d does not end at %d of the log of %s", t.version, t.memEnd, t.dir)
	}
	return nil
}

// wantsJournal reports whether the tail has taken enough small commits to have a
// journal made for it.
func (t *tail) wantsJournal() bool {
	return t.small >= journalAfter && t.journal == nil && t.making == nil
}

// takeJournal takes the journal that was made, if it is ready. The next sync is one
// of Badger's logs; what comes after it is in the journal.
func (t *tail) takeJournal() error {
	select {
	case <-t.making.ready:
	default:
		return nil
	}
	m := t.making
	t.making = nil
	err := m.err
	if err == nil {
		if err = t.checkEnd(); err != nil {
			err = errors.Join(err, m.journal.remove())
		}
	}
	if err != nil {
		t.postponeJournal()
		if isFull(err) {
			return nil // It is a state like any other, and costs some speed.
		}
		return err
	}
	t.journal, t.unnoted = m.journal, true
	t.charge(journalMemory)
	return nil
}

// postponeJournal has a journal wanted again after many more small commits.
func (t *tail) postponeJournal() { t.small = journalAfter - journalAgain }

// settle has all that was written in Badger's log, and that on flash, and does away
// with the journal.
func (t *tail) settle() error {
	if m := t.making; m != nil {
		<-m.ready
		t.making = nil
		if m.err == nil {
			t.journal = m.journal
		}
	}
	if t.journal == nil {
		return nil
	}
	if t.failed {
		return unavailable(nil, "the journal of %s stays, since a sync failed", t.dir)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := fdatasync(t.memFile); err != nil {
		return unavailable(err, "cannot sync %s", t.dir)
	}
	j := t.journal
	t.journal, t.behind = nil, behind{}
	if err := j.remove(); err != nil {
		return unavailable(err, "cannot remove the journal of %s", t.dir)
	}
	return nil
}
