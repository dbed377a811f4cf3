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
// it is touched. A file that is missing or damaged is written anew.
const formatName = "FORMAT"

// checkFormat refuses a directory that a newer version has used. The error Is
// queue.ErrFormat.
func checkFormat(dir string) error {
	path := filepath.Join(dir, formatName)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(err, "cannot read %s", path)
	}
	var format, sum uint32
	number, _, _ := strings.Cut(string(text), " ")
	if n, _ := fmt.Sscanf(string(text), "%d %x", &format, &sum); n == 2 && checksum([]byte(number)) == sum {
		if format > storeFormat {
			return errNewer("store", "%s has format %d, known is %d", dir, format, storeFormat)
		}
		return nil
	}
	number = fmt.Sprint(storeFormat)
	temp := path + ".tmp"
	err = os.WriteFile(temp, fmt.Appendf(nil, "%s %08x\n", number, checksum([]byte(number))), 0o600)
	if err == nil {
		err = errors.Join(os.Rename(temp, path), syncDir(dir))
	}
	if err != nil {
		return unavailable(err, "cannot write %s", path)
	}
	return nil
}
