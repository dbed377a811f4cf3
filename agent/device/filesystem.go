package device

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// FileSystem is what one directory lies on.
type FileSystem struct {
	// Kind is the file system's name, such as ext4; a number if it has no name
	// here.
	Kind string
	// Free is what an ordinary user can still write, Total the size, in bytes.
	Free, Total int64
	// FreeInodes is the number of files that can still be made. HasInodes says
	// that the file system counts them.
	FreeInodes int64
	HasInodes  bool
	ReadOnly   bool
}

// magics are the kinds of file systems by f_type of statfs(2).
var magics = map[uint32]string{
	0xEF53: "ext4", 0xF2F52010: "f2fs", 0x9123683E: "btrfs", 0x58465342: "xfs", 0x2FC12FC1: "zfs", 0xCA451A4E: "bcachefs",
	0x4d44: "vfat", 0x2011BAB0: "exfat", 0x7366746E: "ntfs", 0x5346544E: "ntfs", 0x24051905: "ubifs", 0x72b6: "jffs2",
	0x01021994: "tmpfs", 0x858458f6: "ramfs", 0x794c7630: "overlay", 0x73717368: "squashfs", 0xE0F5E1E2: "erofs",
	0x6969: "nfs", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x01021997: "9p", 0x65735546: "fuse", 0x00C36400: "ceph", 0x61636673: "acfs",
}

// FileSystemOf returns what the file system of dir is. The error Is that of the
// system, such as fs.ErrNotExist.
func FileSystemOf(dir string) (FileSystem, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return FileSystem{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	const readOnly = 1 // ST_RDONLY of statfs(2).
	kind, ok := magics[uint32(st.Type)]
	if !ok {
		kind = "0x" + strconv.FormatUint(uint64(uint32(st.Type)), 16)
	}
	return FileSystem{
		Kind: kind, Free: int64(st.Bavail) * int64(st.Bsize), Total: int64(st.Blocks) * int64(st.Bsize),
		FreeInodes: int64(st.Ffree), HasInodes: st.Files > 0, ReadOnly: int64(st.Flags)&readOnly != 0,
	}, nil
}

// Existing returns dir, or the nearest directory above it that is there: what
// dir will be on when it is made.
func Existing(dir string) string {
	for {
		above := filepath.Dir(dir)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || above == dir {
			return dir
		}
		dir = above
	}
}

// IsVolatile reports whether what is written may be gone when the power goes.
// Below an overlay there can be a disk, but on a device it is the memory that
// protects a read-only root.
func (f *FileSystem) IsVolatile() bool {
	return f.Kind == "tmpfs" || f.Kind == "ramfs" || f.Kind == "overlay"
}

// IsRemote reports whether another machine may keep the files, so that locks and
// syncs do not mean what they mean on a disk.
func (f *FileSystem) IsRemote() bool {
	switch f.Kind {
	case "nfs", "cifs", "smb2", "9p", "ceph":
		return true
	}
	return false
}

// HasNoOwners reports whether the file system cannot keep owners and
// permissions, nor rename a file safely.
func (f *FileSystem) HasNoOwners() bool {
	return f.Kind == "vfat" || f.Kind == "exfat" || f.Kind == "ntfs"
}

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	Point   string
	Kind    string
	Source  string
	Options []string // of the mount and of the file system
}

// Has reports whether one of the options is there.
func (m *Mount) Has(options ...string) bool {
	for _, have := range m.Options {
		for _, want := range options {
			if have == want {
				return true
			}
		}
	}
	return false
}

// MountOf returns the mount that dir is on; its zero value if that cannot be
// told.
func MountOf(dir string) Mount {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mount{}
	}
	real, err := filepath.EvalSymlinks(Existing(dir))
	if err != nil {
		return Mount{}
	}
	return mountIn(text, real)
}

// mountIn finds the last mount whose point is dir or above it.
func mountIn(mountinfo []byte, dir string) Mount {
	var best Mount
	for sc := bufio.NewScanner(bytes.NewReader(mountinfo)); sc.Scan(); {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 {
			continue
		}
		point := unescape(left[4])
		if len(point) < len(best.Point) || !isBelow(dir, point) {
			continue
		}
		best = Mount{Point: point, Kind: right[0], Source: unescape(right[1]),
			Options: append(strings.Split(left[5], ","), strings.Split(right[2], ",")...)}
	}
	return best
}

// isBelow reports whether dir is point or below it.
func isBelow(dir, point string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}

// unescape undoes what the kernel does to blanks in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
