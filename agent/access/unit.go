package access

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a search. A unit that divides its processes over more control groups has no known members.
const (
	maxUnitDirs  = 1024
	maxProcsText = 1 << 20 // bytes of a list of processes
)

var errUnitUnknown = errors.New("the unit cannot be learnt")

// cgroupRoot returns where version 2 of the control groups is mounted, "" if it is not.
func cgroupRoot() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	return ""
}

// unitSearch looks for the unit of a process. It is used once.
type unitSearch struct {
	pid   string
	wants func(unit string) bool
	left  int // directories that may still be looked at
}

// findUnit returns which of the units that are wanted the process is in, "" if in none. An error says that it
// cannot be told. The number has to be that of the process while it runs (see Peer.unit).
func findUnit(root string, pid int32, wants func(unit string) bool) (string, error) {
	if root == "" || pid <= 0 {
		return "", errUnitUnknown
	}
	s := &unitSearch{pid: strconv.Itoa(int(pid)), wants: wants, left: maxUnitDirs}
	return s.slice(root)
}

// slice looks at the units of a slice, and of the slices in it. What is below a unit that is not wanted is
// nobody's unit of that name: a manager of a user's own units is there, or a container.
func (s *unitSearch) slice(dir string) (string, error) {
	names, err := s.children(dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, ".slice") {
			if unit, err := s.slice(path); unit != "" || err != nil {
				return unit, err
			}
			continue
		}
		unit := strings.TrimPrefix(name, "_") // As systemd escapes what looks like a file of the kernel.
		if !strings.Contains(unit, ".") || !s.wants(unit) {
			continue
		}
		switch found, err := s.holds(path); {
		case err != nil:
			return "", err
		case found:
			return unit, nil
		}
	}
	return "", nil
}

// holds reports whether the process is in a control group or below it.
func (s *unitSearch) holds(dir string) (bool, error) {
	found, err := s.listed(filepath.Join(dir, "cgroup.procs"))
	if found || err != nil {
		return found, err
	}
	names, err := s.children(dir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if found, err := s.holds(filepath.Join(dir, name)); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// children returns the names of the control groups in one. One that has gone meanwhile has none.
func (s *unitSearch) children(dir string) ([]string, error) {
	if s.left--; s.left < 0 {
		return nil, errUnitUnknown
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !isGone(err) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// listed reports whether a list of processes has the process.
func (s *unitSearch) listed(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		if isGone(err) {
			err = nil
		}
		return false, err
	}
	defer f.Close()
	text := &io.LimitedReader{R: f, N: maxProcsText}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		if lines.Text() == s.pid {
			return true, nil
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, unix.EOPNOTSUPP): // Of threads: their processes are listed further up.
		return false, nil
	case err != nil && !isGone(err):
		return false, err
	case text.N <= 0:
		return false, errUnitUnknown
	}
	return false, nil
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }
