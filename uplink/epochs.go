package uplink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// epochs knows which epochs this device has published events with. The outbox of a partition knows those of its own
// events; when its queue was deleted and created again it knows nothing, and the last event on the subject would look
// like that of another device. An epoch is a random number that is new at every opening, so that one found here was
// published by this device, as this device remembers itself: neither another one of its name nor an earlier image of
// its card can know the epochs that the other has had since.
//
// They are on flash before the first event of an epoch is sent: a line of JSON for each, appended to a file, which is
// written anew when it is long. It is safe for use by any goroutine.
type epochs struct {
	path string // empty: memory only

	mu    sync.Mutex
	parts []partEpochs // the one that had a new epoch last is at the end
	size  int64        // of the file, as far as is known
	lines []epochLine  // to be written
}

// partEpochs are the epochs of one subject, the latest at the end.
type partEpochs struct {
	key    partKey
	epochs []uint64
}

// epochLine is a line of the file.
type epochLine struct {
	Queue     string `json:"queue"`
	Partition int    `json:"partition"`
	Epoch     string `json:"epoch"` // in hexadecimal, as in identities
}

// Bounds: what is older is forgotten, and costs an alarm at most.
const (
	maxEpochs     = 16       // of one partition
	maxEpochParts = 1024     // partitions
	maxEpochFile  = 64 << 10 // bytes; more only if that is what there is to know
)

// recallEpochs reads the file. Lines that are damaged count as absent.
func recallEpochs(path string) *epochs {
	e := &epochs{path: path}
	const most = maxEpochFile + maxEpochParts*maxEpochs*600 // With the longest names.
	text := readSmall(path, most)
	e.size = int64(len(text))
	for line := range bytes.Lines(text) {
		var l epochLine
		if json.Unmarshal(line, &l) != nil {
			continue
		}
		if epoch, err := strconv.ParseUint(l.Epoch, 16, 64); err == nil {
			e.enter(partKey{l.Queue, l.Partition}, epoch)
		}
	}
	return e
}

// has reports whether the device has published with the epoch.
func (e *epochs) has(key partKey, epoch uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.find(key)
	return i >= 0 && slices.Contains(e.parts[i].epochs, epoch)
}

// add takes note of an epoch; save writes it.
func (e *epochs) add(key partKey, epoch uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.enter(key, epoch) && e.path != "" {
		e.lines = append(e.lines, lineOf(key, epoch))
	}
}

// enter reports whether the epoch is new.
func (e *epochs) enter(key partKey, epoch uint64) bool {
	p := partEpochs{key: key}
	if i := e.find(key); i >= 0 {
		p = e.parts[i]
		if slices.Contains(p.epochs, epoch) {
			return false
		}
		e.parts = slices.Delete(e.parts, i, i+1)
	}
	p.epochs = append(p.epochs, epoch)
	p.epochs = slices.Delete(p.epochs, 0, max(0, len(p.epochs)-maxEpochs))
	e.parts = append(e.parts, p)
	e.parts = slices.Delete(e.parts, 0, max(0, len(e.parts)-maxEpochParts))
	return true
}

func (e *epochs) find(key partKey) int {
	return slices.IndexFunc(e.parts, func(p partEpochs) bool { return p.key == key })
}

func lineOf(key partKey, epoch uint64) epochLine {
	return epochLine{Queue: key.queue, Partition: key.partition, Epoch: strconv.FormatUint(epoch, 16)}
}

// save writes what add has changed, if anything. After an error it is tried again at the next call.
func (e *epochs) save() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.lines) == 0 {
		return nil
	}
	write := e.appendLines
	if e.size > maxEpochFile {
		write = e.writeAll
	}
	if err := write(); err != nil {
		return fmt.Errorf("uplink epochs: %w", err)
	}
	e.lines = nil
	return nil
}

// appendLines appends the lines that are not in the file. They begin with an empty one, since the one before may have
// been cut short.
func (e *epochs) appendLines() error {
	text := []byte{'\n'}
	for i := range e.lines {
		line, err := json.Marshal(&e.lines[i])
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	f, err := os.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	n, err := f.Write(text)
	created := e.size == 0
	e.size += int64(n)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil && created {
		err = syncDir(filepath.Dir(e.path))
	}
	return err
}

// writeAll writes the file anew, with what is known.
func (e *epochs) writeAll() error {
	var text []byte
	for _, p := range e.parts {
		for _, epoch := range p.epochs {
			line, err := json.Marshal(lineOf(p.key, epoch))
			if err != nil {
				return err
			}
			text = append(append(text, line...), '\n')
		}
	}
	if err := writeSmall(e.path, text); err != nil {
		return err
	}
	// At least half of the bound comes on top before it is written anew, however much there is.
	e.size = min(int64(len(text)), maxEpochFile/2)
	return nil
}
