package badgerstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxEscapedName bounds the escaped queue name in a directory name, so that
	// the whole stays below the 255 bytes that file systems allow.
	maxEscapedName = 200

	partitionSuffix = "-partition"
	removedSuffix   = ".removed"
	stalePart       = ".stale-"
	quarantineName  = "quarantine"
)

// partitionDirName returns the directory name of a partition: readable for an
// operator, never a path, and different for different keys.
func partitionDirName(queueName string, partition int) string {
	return fmt.Sprintf("%s-%06d%s", escapeName(queueName), partition, partitionSuffix)
}

// escapeName percent-escapes whatever is not a letter, digit, dot, underscore or
// hyphen of ASCII, and a leading dot. A result that would be too long is cut and
// ends in a hash of the whole name, behind a '%' that no escape begins with.
func escapeName(name string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '_' || c == '-' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
	}
	s := b.String()
	if len(s) <= maxEscapedName {
		return s
	}
	sum := sha256.Sum256([]byte(name))
	tail := "%~" + hex.EncodeToString(sum[:16])
	return s[:maxEscapedName-len(tail)] + tail
}

// makeDir creates dir for the owner only, durably, unless it is there.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// discardDir removes dir with all that is in it, so that a power cut leaves it
// as it was or marked as removed, never half empty under its own name.
func discardDir(dir string) error {
	gone := dir + removedSuffix
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	err := os.Rename(dir, gone)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// removeLeftovers removes what discardDir left in dir when it was interrupted.
func removeLeftovers(dir string, names []string) error {
	for _, name := range names {
		if !strings.HasSuffix(name, removedSuffix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// renameAside renames dir to the first free name of the form dir.stale-N and
// returns that name.
func renameAside(dir string) (string, error) {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s%s%d", dir, stalePart, n)
		if _, err := os.Lstat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := os.Rename(dir, to); err != nil {
			return "", err
		}
		return to, syncDir(filepath.Dir(dir))
	}
}

// listDir returns the names in dir.
func listDir(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
