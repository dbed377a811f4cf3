package systemd

import (
	"fmt"
	"os"
	"syscall"
)

// Priorities of syslog, which the journal takes from the beginning of a line:
// "<4>text" is a warning that says "text".
const (
	PriorityError   = 3
	PriorityWarning = 4
	PriorityInfo    = 6
	PriorityDebug   = 7
)

// Prefix returns what a line of that priority begins with.
func Prefix(priority int) string { return fmt.Sprintf("<%d>", priority) }

// IsJournal reports whether f leads to the journal: JOURNAL_STREAM names the
// device and inode of what the service manager has connected.
func IsJournal(getenv func(name string) string, f *os.File) bool {
	var device, inode uint64
	if n, err := fmt.Sscanf(getenv("JOURNAL_STREAM"), "%d:%d", &device, &inode); n != 2 || err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Dev == device && st.Ino == inode
}
