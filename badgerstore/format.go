package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// formatName is the file in a storage's directory that says which version of the
// store format is the newest in it: the number and, in hex, CRC-32C of the
// number, with a newline. So a newer store is refused as a whole, before any of
// it is touched. A file that is missing or damaged is written anew, with the
// oldest version; the version rises when something is to be written that needs
// it, and never falls.
const formatName = "FORMAT"

// checkFormat refuses a directory that a newer version has used, and returns the
// version that the file names. The error Is queue.ErrFormat.
func checkFormat(dir string) (uint32, error) {
	path := filepath.Join(dir, formatName)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, unavailable(err, "cannot read %s", path)
	}
	var format, sum uint32
	number, _, _ := strings.Cut(string(text), " ")
	if n, _ := fmt.Sscanf(string(text), "%d %x", &format, &sum); n == 2 && checksum([]byte(number)) == sum {
		if format > newestFormat {
			return 0, errNewer("store", "%s has format %d, known is %d", dir, format, newestFormat)
		}
		return format, nil
	}
	return oldestFormat, writeFormat(dir, oldestFormat)
}

// writeFormat has the file name that version; it is on flash on return.
func writeFormat(dir string, format uint32) error {
	path := filepath.Join(dir, formatName)
	number := fmt.Sprint(format)
	temp := path + ".tmp"
	err := writeSynced(temp, fmt.Appendf(nil, "%s %08x\n", number, checksum([]byte(number))))
	if err == nil {
		err = errors.Join(os.Rename(temp, path), syncDir(dir))
	}
	if err != nil {
		return unavailable(err, "cannot write %s", path)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// raiseFormat sees to it that the file names that version or a later one before
// anything is written that asks for it.
func (s *Storage) raiseFormat(format uint32) error {
	s.raising.Lock()
	defer s.raising.Unlock()
	if s.format >= format {
		return nil
	}
	if err := makeSpace(s.options.Dir, pageSize, 0); err != nil {
		return err
	}
	if err := writeFormat(s.options.Dir, format); err != nil {
		return err
	}
	s.format = format
	return nil
}
