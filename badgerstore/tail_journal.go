package badgerstore

// What a tail does with a journal (journal.go). Without one it syncs its logs. With
// one, a small commit that is to be on flash goes to the journal, and stays in memory
// (tail.pending); the log gets it later: before anything is written that need not be
// on flash at once, which the kernel has then, in case that the process is killed, and
// when the ring is full.
//
// Everything that is written meanwhile is in the next record of the journal, so that
// what is on flash has no holes. What does not fit into a record makes the next sync
// one of the logs.

const (
	// journalAfter is after how many small commits a tail gets a journal. A queue
	// that is seldom used does not, since making one costs as much as it saves in
	// them.
	journalAfter = 16
	// journalAgain is how many small commits later it is tried again, when there
	// was no room for one.
	journalAgain = 4096
)

// madeJournal is a journal that a goroutine makes.
type madeJournal struct {
	ready   chan struct{} // closed when the others are set
	journal *journal
	err     error
}

// make makes it.
func (m *madeJournal) make(dir string, log uint64) {
	defer close(m.ready)
	m.journal, m.err = makeJournal(dir, log)
}

// newJournal makes a journal at once.
func newJournal(dir string, log uint64) *madeJournal {
	m := &madeJournal{ready: make(chan struct{})}
	m.make(dir, log)
	return m
}

// wantsJournal reports whether the tail has taken enough small commits to have a
// journal made for it.
func (t *tail) wantsJournal() bool {
	return t.small >= journalAfter && t.journal == nil && t.making == nil
}

// takeJournal takes the journal that was made, if it is ready. The next sync is one
// of the logs; what comes after it is in the journal.
func (t *tail) takeJournal() error {
	select {
	case <-t.making.ready:
	default:
		return nil
	}
	m := t.making
	t.making = nil
	if m.err != nil {
		t.postponeJournal()
		if isFull(m.err) {
			return nil // It is a state like any other, and costs some speed.
		}
		return m.err
	}
	t.journal, t.unnoted = m.journal, true
	t.charge(journalMemory)
	t.mapUsed()
	return nil
}

// postponeJournal has a journal wanted again after many more small commits.
func (t *tail) postponeJournal() { t.small = journalAfter - journalAgain }

// settle has all that was written in the logs, and that of the journal on flash there,
// and does away with the journal.
func (t *tail) settle() error {
	if m := t.making; m != nil {
		<-m.ready
		t.making = nil
		if m.err == nil {
			t.journal = m.journal
		}
	}
	if t.journal == nil {
		if t.failed || t.memFile == nil {
			return nil
		}
		return t.flush()
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
	t.journal = nil
	if err := j.remove(); err != nil {
		return unavailable(err, "cannot remove the journal of %s", t.dir)
	}
	return nil
}
