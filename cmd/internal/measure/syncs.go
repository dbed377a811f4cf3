package measure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Syncs counts how often a process made its file system sync a file: by fsync, fdatasync or msync, or by writing to
// a file that was opened with O_SYNC. The kernel counts (perf_event_open on a trace point of the file system), which
// takes root and slows nothing down.
type Syncs struct {
	files []int // one event for each thread; those that come later count with the thread that made them
}

// syncPoints are the trace points by the number that statfs gives a file system.
var syncPoints = map[int64]string{
	unix.EXT4_SUPER_MAGIC:  "ext4/ext4_sync_file_enter",
	unix.XFS_SUPER_MAGIC:   "xfs/xfs_file_fsync",
	unix.BTRFS_SUPER_MAGIC: "btrfs/btrfs_sync_file",
	unix.F2FS_SUPER_MAGIC:  "f2fs/f2fs_sync_file_enter",
}

// CountSyncs begins to count the syncs of a process that has its files in dir. The caller ends it with Close.
func CountSyncs(pid int, dir string) (*Syncs, error) {
	point, err := syncPoint(dir)
	if err != nil {
		return nil, err
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	s := &Syncs{}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: point, Bits: unix.PerfBitInherit}
		attr.Size = uint32(unsafe.Sizeof(*attr))
		fd, err := unix.PerfEventOpen(attr, id, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) {
			continue // The thread has ended.
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("counting the syncs of process %d: %w", pid, err)
		}
		s.files = append(s.files, fd)
	}
	return s, nil
}

// syncPoint returns the number of the trace point of the file system of dir.
func syncPoint(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	point, ok := syncPoints[int64(st.Type)]
	if !ok {
		return 0, fmt.Errorf("no trace point is known for syncs of the file system (%#x) of %s", int64(st.Type), dir)
	}
	text, err := os.ReadFile(filepath.Join("/sys/kernel/tracing/events", point, "id"))
	if err != nil {
		return 0, fmt.Errorf("the trace point of syncs is not there: %w", err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
}

// Count returns how many syncs there were.
func (s *Syncs) Count() (int64, error) {
	var total int64
	for _, fd := range s.files {
		var b [8]byte
		if n, err := unix.Read(fd, b[:]); err != nil || n != len(b) {
			return 0, fmt.Errorf("reading a counter of syncs: %d bytes, %w", n, err)
		}
		total += int64(binary.NativeEndian.Uint64(b[:]))
	}
	return total, nil
}

// Close ends the counting.
func (s *Syncs) Close() {
	for _, fd := range s.files {
		_ = unix.Close(fd) // It was only read.
	}
	s.files = nil
}
