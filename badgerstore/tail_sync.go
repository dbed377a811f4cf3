package badgerstore

// sync puts everything that was written on flash: the values first, so that no pointer
// is there without its value, unless the journal's record goes with them; the rest in the
// journal, or else in the memtable's log.
func (t *tail) sync() error {
	if err := t.syncAll(); err != nil {
		t.failed = true
		return err
	}
	if t.synced != t.commits {
		t.synced = t.commits
		t.noteSynced()
	}
	return nil
}

// syncAll asks the device only for what has changed.
func (t *tail) syncAll() error {
	if t.valueEnd > t.valueSynced {
		if err := t.syncValues(); err != nil {
			return err
		}
	}
	switch {
	case t.memEnd == t.flashed:
		return nil
	case t.isNoted() && t.journal.hasRoom():
		return t.syncJournal()
	}
	return t.syncLog()
}

// isNoted reports whether all that is not on flash is in the journal's record, and it is
// not time for the log.
func (t *tail) isNoted() bool {
	return t.journal != nil && !t.unnoted && len(t.pending) <= journalBytes && t.valueEnd-t.logged <= maxCarried
}

// syncValues puts the values on flash, and with them the journal's record, if that is
// possible.
func (t *tail) syncValues() (err error) {
	carried := false
	if t.memEnd != t.flashed && t.isNoted() {
		if carried, err = t.carry(); err != nil {
			return err
		}
	}
	if err := fdatasync(t.valueFile); err != nil {
		return unavailable(err, "cannot sync %s", t.dir)
	}
	t.written += pages(t.valueSynced, t.valueEnd)
	t.syncs++
	t.valueSynced = t.valueEnd
	if carried {
		t.flashed = t.memEnd
	}
	return nil
}

// syncJournal writes the journal's record. Where the file system writes everything
// to a new place and has none left, the log will do.
func (t *tail) syncJournal() error {
	n, err := t.journal.write()
	if isFull(err) {
		t.journal.reset()
		return t.syncLog()
	}
	if err != nil {
		return unavailable(err, "cannot write the journal of %s", t.dir)
	}
	t.written += n
	t.syncs++
	t.flashed = t.memEnd
	return nil
}

// syncLog puts the memtable's log on flash, and begins the ring anew. The values are
// there.
func (t *tail) syncLog() error {
	if err := t.flush(); err != nil {
		return err
	}
	if t.memEnd > t.memSynced {
		if err := fdatasync(t.memFile); err != nil {
			return unavailable(err, "cannot sync %s", t.dir)
		}
		t.written += pages(t.memSynced, t.memEnd)
		t.syncs++
		t.memSynced = t.memEnd
	}
	t.flashed, t.unnoted, t.logged = t.memEnd, false, t.valueEnd
	if t.journal != nil {
		t.journal.reset()
	}
	return nil
}

// isSynced reports whether everything that was written is on flash.
func (t *tail) isSynced() bool { return t.synced == t.commits && t.memEnd == t.flashed }

// pages returns the bytes of the pages that hold the bytes from from to end.
func pages(from, end int64) int64 {
	return (end+pageSize-1)/pageSize*pageSize - from/pageSize*pageSize
}
