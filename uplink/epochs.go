package uplink

import (
	"cmp"
	"encoding/json"
	"fmt"
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
// They are on flash before the first event of an epoch is sent. It is safe for use by any goroutine.
type epochs struct {
	path string // empty: memory only

	mu    sync.Mutex
	parts []partEpochs // the one that had a new epoch last is at the end
	dirty bool         // there is something to write
}

// partEpochs are the epochs of one subject, the latest at the end.
type partEpochs struct {
	Queue     string   `json:"queue"`
	Partition int      `json:"partition"`
	Epochs    []string `json:"epochs"` // in hexadecimal, as in identities
}

// Bounds: what is older is forgotten, and costs an alarm at most.
const (
	maxEpochs     = 16   // of one partition
	maxEpochParts = 1024 // partitions, about 100 bytes each
	maxEpochFile  = 1 << 20
)

// recallEpochs reads the file. One that is damaged counts as absent.
func recallEpochs(path string) *epochs {
	e := &epochs{path: path}
	if text := readSmall(path, maxEpochFile); text == nil || json.Unmarshal(text, &e.parts) != nil {
		e.parts = nil
	}
	return e
}

// has reports whether the device has published with the epoch.
func (e *epochs) has(key partKey, epoch uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.find(key)
	return i >= 0 && slices.Contains(e.parts[i].Epochs, epochText(epoch))
}

// add takes note of an epoch; save writes it.
func (e *epochs) add(key partKey, epoch uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := partEpochs{Queue: key.queue, Partition: key.partition}
	if i := e.find(key); i >= 0 {
		p = e.parts[i]
		if slices.Contains(p.Epochs, epochText(epoch)) {
			return
		}
		e.parts = slices.Delete(e.parts, i, i+1)
	}
	p.Epochs = append(p.Epochs, epochText(epoch))
	p.Epochs = slices.Delete(p.Epochs, 0, max(0, len(p.Epochs)-maxEpochs))
	e.parts = append(e.parts, p)
	e.parts = slices.Delete(e.parts, 0, max(0, len(e.parts)-maxEpochParts))
	e.dirty = true
}

// save writes what add has changed, if anything. After an error it is tried again at the next call.
func (e *epochs) save() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dirty || e.path == "" {
		return nil
	}
	text, err := json.Marshal(e.parts)
	if err == nil {
		err = writeSmall(e.path, text)
	}
	if err != nil {
		return fmt.Errorf("uplink epochs: %w", err)
	}
	e.dirty = false
	return nil
}

func (e *epochs) find(key partKey) int {
	return slices.IndexFunc(e.parts, func(p partEpochs) bool {
		return cmp.Or(cmp.Compare(p.Partition, key.partition), cmp.Compare(p.Queue, key.queue)) == 0
	})
}

func epochText(epoch uint64) string { return strconv.FormatUint(epoch, 16) }
