package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendTimeout bounds a note: a manager that is busy must not hold up the agent.
const sendTimeout = 5 * time.Second

// Notifier sends notes to the service manager. A nil Notifier sends nothing and
// returns no error. Its methods may be called from any goroutine.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// NewNotifier returns the Notifier of the environment of this process
// (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID), nil if no manager listens.
func NewNotifier(getenv func(name string) string) *Notifier {
	socket := getenv("NOTIFY_SOCKET")
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") || len(socket) < 2 {
		return nil
	}
	n := &Notifier{socket: socket}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 && us <= int64(maxWatchdog/time.Microsecond) {
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n
}

// maxWatchdog is far beyond what anybody sets, and within what a Duration holds.
const maxWatchdog = 1000 * time.Hour

// Watchdog returns how often the manager wants to hear that all is well; 0: not
// at all.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Ready says that the agent serves, or that a reload is over.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", statusLine(status)) }

// Status says in words how things are.
func (n *Notifier) Status(status string) error { return n.send(statusLine(status)) }

// Alive feeds the watchdog.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

// Reloading says that the configuration is read again; Ready ends it.
func (n *Notifier) Reloading(status string) error {
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10), statusLine(status))
}

// Stopping says that the agent ends, which may take as long as limit.
func (n *Notifier) Stopping(status string, limit time.Duration) error {
	return n.send("STOPPING=1", extendLine(limit), statusLine(status))
}

// Extend asks for more time to start: limit from now.
func (n *Notifier) Extend(status string, limit time.Duration) error {
	return n.send(extendLine(limit), statusLine(status))
}

func extendLine(limit time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(limit.Microseconds(), 10)
}

// statusLine returns a status, which is one line whatever is in the text.
func statusLine(text string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

func (n *Notifier) send(lines ...string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("the service manager cannot be told: %w", err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("the service manager cannot be told: %w", err)
	}
	if _, err := c.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("the service manager cannot be told: %w", err)
	}
	return nil
}

// monotonic returns CLOCK_MONOTONIC, in which the manager counts; Go does not
// show its own reading of it.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
