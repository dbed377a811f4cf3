package crashtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Boot is a run of the kernel, as an agent sees it: with an id of its own, a time
// since boot that began when it did, and a /run of its own, in which nobody has
// synchronised the clock. It takes root, and the programs unshare, mount and sh.
type Boot struct {
	file   string        // holds the id
	synced string        // the directory in which systemd-timesyncd says that the clock is right
	offset time.Duration // from the time since the real boot
}

// NewBoot begins a run of the kernel: its id is in a file in dir, and it began so
// long ago.
func NewBoot(dir string, number int, ago time.Duration) (*Boot, error) {
	b := &Boot{file: filepath.Join(dir, "boot-id"), synced: filepath.Join(dir, "timesync")}
	if err := os.RemoveAll(b.synced); err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", number, number)
	if err := os.WriteFile(b.file, []byte(id+"\n"), 0o600); err != nil {
		return nil, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, err
	}
	b.offset = ago - time.Duration(now.Nano())
	return b, nil
}

// Later returns the same run of the kernel, so much later: an agent that is started
// in it finds that the machine was suspended in between.
func (b *Boot) Later(d time.Duration) *Boot {
	later := *b
	later.offset += d
	return &later
}

// Synchronise says that the wall clock was set by NTP in this run of the kernel, to
// an agent that may not ask the kernel.
func (b *Boot) Synchronise() error {
	if err := os.MkdirAll(b.synced, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.synced, "synchronized"), nil, 0o644)
}

// command returns the command that runs a program in the boot.
func (b *Boot) command(program string, args ...string) *exec.Cmd {
	const script = `mount --bind "$1" /proc/sys/kernel/random/boot_id && mount -t tmpfs run /run &&
		mkdir /run/systemd && ln -s "$2" /run/systemd/timesync && shift 2 && exec "$@"`
	seconds := strconv.FormatInt(int64(b.offset/time.Second), 10)
	wrapped := []string{"--mount", "--time", "--boottime", seconds, "sh", "-c", script, "sh", b.file, b.synced, program}
	return exec.Command("unshare", append(wrapped, args...)...)
}

// CheckBoot reports why no Boot can be made here, nil if it can.
func CheckBoot(dir string) error {
	b, err := NewBoot(dir, 1, time.Minute)
	if err != nil {
		return err
	}
	out, err := b.command("cat", "/proc/sys/kernel/random/boot_id", "/proc/uptime").CombinedOutput()
	if err != nil {
		return fmt.Errorf("a reboot cannot be feigned here; it takes root, a kernel with time namespaces, and the programs unshare and mount: %w: %s",
			err, out)
	}
	lines := strings.Fields(string(out))
	if up, err := strconv.ParseFloat(lines[1], 64); err != nil || up < 59 || up > 120 || !strings.HasPrefix(lines[0], "00000001-") {
		return fmt.Errorf("a reboot cannot be feigned here: the boot has the id %s and has lasted for %s s", lines[0], lines[1])
	}
	return nil
}
