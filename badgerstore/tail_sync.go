package badgerstore

// sync puts everything that was written on flash: in the journal, or else in the
// logs.
func (t *tail) sync() error {
	if t.memEnd > t.flashed || t.valueEnd > t.valueSynced {
		sync := t.syncLogs
		if t.journal != nil && !t.unnoted && t.journal.hasRoom() {
			sync = t.syncJournal
		}
		if err := sync(); err != nil {
			t.failed = true
			return err
		}
	}
	if t.synced != t.commits {
		t.synced = t.commits
		t.noteSynced()
	}
	return nil
}

// syncJournal writes the journal's record. Where the file system writes everything
// to a new place and has none left, the logs will do.
func (t *tail) syncJournal() error {
	n, err := t.journal.write()
	if isFull(err) {
		t.journal.reset()
		return t.syncLogs()
	}
	if err != nil {
		return unavailable(err, "cannot write the journal of %s", t.dir)
	}
	t.written += n
	t.syncs++
	t.flashed = t.memEnd
	return nil
}

// syncLogs puts the logs on flash: the values first, so that no pointer is there
// without its value. It asks the device only for the files that have changed.
func (t *tail) syncLogs() error {
	if err := t.flush(); err != nil {
		return err
	}
	if t.valueEnd > t.valueSynced {
		if err := fdatasync(t.valueFile); err != nil {
			return unavailable(err, "cannot sync %s", t.dir)
		}
		t.written += pages(t.valueSynced, t.valueEnd)
		t.syncs++
		t.valueSynced = t.valueEnd
	}
	if t.memEnd > t.memSynced {
		if err := fdatasync(t.memFile); err != nil {
			return unavailable(err, "cannot sync %s", t.dir)
		}
		t.written += pages(t.memSynced, t.memEnd)
		t.syncs++
		t.memSynced = t.memEnd
	}
	t.flashed, t.unnoted = t.memEnd, false
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
