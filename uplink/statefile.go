package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// remembered is what the uplink knows over restarts: a JSON object in the state file, written whole beside it
// and renamed, at most once a minute. Nothing of it is needed for the events to be right.
type remembered struct {
	Paused bool  `json:"paused"`
	Used   usage `json:"used"`
}

// maxStateFile bounds what is read of it.
const maxStateFile = 4096

// recall reads the state file. One that is damaged counts as absent: it is written again soon.
func recall(path string) remembered {
	var r remembered
	if text := readSmall(path, maxStateFile); text == nil || json.Unmarshal(text, &r) != nil {
		return remembered{}
	}
	return r
}

// readSmall returns what is in a file, nil if it cannot be read or has more than most bytes.
func readSmall(path string, most int64) []byte {
	info, err := os.Stat(path)
	if err != nil || info.Size() > most {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return text
}

// remember writes the state file.
func remember(path string, r remembered) error {
	if path == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = writeSmall(path, text)
	}
	if err != nil {
		return fmt.Errorf("uplink state: %w", err)
	}
	return nil
}

// writeSmall puts a text into a file, whole or not at all: it is written beside it, synced and renamed.
func writeSmall(path string, text []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		if gone := os.Remove(tmp); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
