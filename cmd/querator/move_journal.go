package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// moveJournal remembers which items are on their way to the other server, so that
// a move that was interrupted, by a power cut at worst, goes on where it was: an
// item that the server has is only completed here, and one that it may have is
// sent with the same source id again.
//
// It is a file of lines of JSON, each a moveNote, that is only added to; a line
// that ends in the middle counts for nothing. A note that items are leaving is on
// flash before they are sent, one that they arrived before they are completed. It
// is emptied when nothing is on its way and it has grown.
type moveJournal struct {
	file *os.File
	size int64
	// pending is what was on its way when the journal was opened; nil if nothing
	// was.
	pending *moveNote
}

// moveNote is a line of the journal. Each stands for the state after it.
type moveNote struct {
	Partition int `json:"partition"`
	// IDs are the items on their way, under the ids of their leases, and SourceIDs
	// what they are called at the target. Without them nothing is on its way.
	IDs       []string `json:"ids,omitempty"`
	SourceIDs []string `json:"source_ids,omitempty"`
	// Arrived: the target has them.
	Arrived bool `json:"arrived,omitempty"`
}

// maxMoveJournal is the size from which on a journal is emptied.
const maxMoveJournal = 1 << 20

// openMoveJournal opens or makes the journal. Only one process can have it.
func openMoveJournal(path string) (*moveJournal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // It was only opened.
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another move uses the journal %s; end it, or name another with --journal", path)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	j := &moveJournal{file: f}
	err = j.read()
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = f.Close() // It was only read.
		return nil, fmt.Errorf("the journal %s cannot be read: %w", path, err)
	}
	return j, nil
}

// syncDir puts the entries of a directory on flash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// read finds out what was on its way.
func (j *moveJournal) read() error {
	lines := bufio.NewReader(j.file)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // The end, or a line that was never finished.
		}
		var n moveNote
		if err := json.Unmarshal(line, &n); err != nil || len(n.IDs) != len(n.SourceIDs) {
			return fmt.Errorf("byte %d: it is no journal of a move", j.size)
		}
		j.size += int64(len(line))
		j.pending = &n
	}
	if j.pending != nil && len(j.pending.IDs) == 0 {
		j.pending = nil
	}
	return j.file.Truncate(j.size)
}

// note adds a line and puts it on flash.
func (j *moveJournal) note(n *moveNote) error {
	line, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if len(n.IDs) == 0 && j.size > maxMoveJournal {
		if err := j.file.Truncate(0); err != nil {
			return err
		}
		j.size = 0
	}
	if _, err := j.file.WriteAt(append(line, '\n'), j.size); err != nil {
		return fmt.Errorf("the journal cannot be written: %w", err)
	}
	j.size += int64(len(line)) + 1
	if len(n.IDs) == 0 {
		return nil // If it is lost, completing again does no harm.
	}
	if err := unix.Fdatasync(int(j.file.Fd())); err != nil {
		return fmt.Errorf("the journal cannot be written: %w", err)
	}
	return nil
}

// close closes the journal, and removes it when nothing is on its way.
func (j *moveJournal) close(done bool) error {
	var err error
	if done {
		err = os.Remove(j.file.Name())
	}
	return errors.Join(err, j.file.Close())
}
