package queue

import (
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// SystemClock returns the machine's clock. trusted decides whether the wall
// clock can be believed; nil believes it always.
func SystemClock(trusted func() bool) Clock {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.TrimSpace(string(boot))
	if err != nil || id == "" {
		// Without a boot id every start counts as a boot of its own: leases are
		// then over after a restart, which is safe.
		id = "unknown-" + time.Now().UTC().Format(time.RFC3339Nano)
	}
	return &systemClock{boot: id, trusted: trusted, start: time.Now()}
}

type systemClock struct {
	boot    string
	trusted func() bool
	start   time.Time
}

func (c *systemClock) Now() time.Time { return time.Now().UTC() }

func (c *systemClock) Boot() string { return c.boot }

func (c *systemClock) Trusted() bool { return c.trusted == nil || c.trusted() }

// clockBoottime is CLOCK_BOOTTIME of clock_gettime(2): the time since boot, with
// the time spent suspended, which Go's own monotonic clock leaves out.
const clockBoottime = 7

func (c *systemClock) Mono() time.Duration {
	var ts syscall.Timespec
	// The call does not block, so that the scheduler need not know of it.
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return time.Since(c.start)
	}
	return time.Duration(ts.Nano())
}
