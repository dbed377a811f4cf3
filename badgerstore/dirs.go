package badgerstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kapetan-io/querator-edge/queue"
	"golang.org/x/sys/unix"
)

const (
	// maxEscapedName bounds the escaped queue name in a directory name, so that
	// the whole stays below the 255 bytes that file systems allow.
	maxEscapedName = 200

	partitionSuffix = "-partition"
	removedSuffix   = ".removed"
	repairSuffix    = ".repair"
	stalePart       = ".stale-"
	quarantineName  = "quarantine"
)

// partitionDirName returns the directory name of a partition: readable for an
// operator, never a path, and different for different keys.
func partitionDirName(queueName string, partition int) string {
	return fmt.Sprintf("%s-%06d%s", escapeName(queueName), partition, partitionSuffix)
}

// parsePartitionDir returns the key that partitionDirName was called with, but
// for the tag. Names that were cut cannot be told.
func parsePartitionDir(name string) (key queue.PartitionKey, ok bool) {
	base, ok := strings.CutSuffix(name, partitionSuffix)
	at := strings.LastIndexByte(base, '-')
	if !ok || at < 0 {
		return key, false
	}
	n, err := strconv.Atoi(base[at+1:])
	if err != nil {
		return key, false
	}
	unescaped, err := url.PathUnescape(base[:at])
	key = queue.PartitionKey{Queue: unescaped, Partition: n}
	return key, err == nil && partitionDirName(key.Queue, n) == name
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

// makeDirs creates dir and what is missing above it, for the owner only, and puts
// its name on flash. The names of the directories above it are synced even when
// they were there: an earlier process may have been killed before it could.
func makeDirs(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for {
		up := filepath.Dir(dir)
		if up == dir || !sameDevice(up, dir) {
			return nil // The name of a mount point is not ours.
		}
		// What may not be read was not made by us.
		if err := syncDir(up); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		dir = up
	}
}

func sameDevice(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev
}

// discardDir removes dir with all that is in it, so that a power cut leaves it
// as it was or marked as removed, never half empty under its own name.
func discardDir(dir string) error { return discardSealed(dir, nil) }

// discardSealed is discardDir for the directory of a segment that is written no more.
// Its value log goes to spent, if that is not nil.
func discardSealed(dir string, spent *spentLog) error {
	gone, err := hideDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if spent != nil {
		err = spent.keepSealed(gone)
	}
	return errors.Join(err, os.RemoveAll(gone))
}

// hideDir gives the directory a name by which it is removed, at the next start at
// the latest. The error Is fs.ErrNotExist when it is not there.
func hideDir(dir string) (gone string, err error) {
	gone = dir + removedSuffix
	if err := os.RemoveAll(gone); err != nil {
		return gone, err
	}
	if err := os.Rename(dir, gone); err != nil {
		return gone, err
	}
	return gone, syncDir(filepath.Dir(dir))
}

// removeLeftovers removes what discardDir left in dir when it was interrupted,
// and ends repairs that were: what took the place of a damaged database is whole
// when that is gone from its place. A restore that was interrupted is gone, and so is
// a spent value log, since a process remembers its own.
func removeLeftovers(dir string, names []string) error {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if base, ok := strings.CutSuffix(path, repairSuffix); ok {
			if _, err := os.Lstat(base); errors.Is(err, fs.ErrNotExist) {
				if err := errors.Join(os.Rename(path, base), syncDir(dir)); err != nil {
					return err
				}
				continue
			}
		} else if !strings.HasSuffix(name, removedSuffix) && !strings.HasSuffix(name, restoreSuffix) && name != spentName {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// moveAside moves the directory of a segment to the quarantine beside it, under
// the first free name, and returns that name.
func moveAside(dir string) (string, error) {
	to, err := quarantinePath(dir)
	if err != nil {
		return "", err
	}
	if err := os.Rename(dir, to); err != nil {
		return "", err
	}
	return to, errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(dir)))
}

// quarantinePath returns a free name for dir in the quarantine beside it.
func quarantinePath(dir string) (string, error) {
	quarantine := filepath.Join(filepath.Dir(dir), quarantineName)
	if err := makeDir(quarantine); err != nil {
		return "", err
	}
	to := filepath.Join(quarantine, filepath.Base(dir))
	for n, path := 1, to; ; n++ {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
		path = fmt.Sprintf("%s.%d", to, n)
	}
}

// copyAside puts a copy of the directory of a segment into the quarantine. What
// is never written again is linked, which takes no space, where the file system
// knows links; sealed says that no file is written any more.
func copyAside(dir string, sealed bool) (string, error) {
	to, err := quarantinePath(dir)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	names, err := listDir(dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name == journalName {
			continue // The log has what is in it.
		}
		from, copied := filepath.Join(dir, name), filepath.Join(to, name)
		// Badger empties a log before it removes it.
		if sealed && filepath.Ext(name) != ".mem" && os.Link(from, copied) == nil {
			continue
		}
		if err := copyFile(from, copied); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return to, errors.Join(syncFiles(to), syncDir(filepath.Dir(to)))
}

// copyFile copies a file, but for the zeros at its end.
func copyFile(path, to string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	buf, from := make([]byte, windowSize), &card{f: in}
	for off := int64(0); err == nil; {
		var n int
		n, err = from.ReadAt(buf, off)
		if len(bytes.TrimLeft(buf[:n], "\x00")) > 0 {
			if _, err := out.WriteAt(buf[:n], off); err != nil {
				return errors.Join(err, out.Close())
			}
		}
		off += int64(n)
		if errors.Is(err, io.EOF) {
			return errors.Join(out.Truncate(off), out.Close())
		}
	}
	return errors.Join(err, out.Close())
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
