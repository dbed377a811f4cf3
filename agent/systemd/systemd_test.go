package systemd_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/systemd"
)

// environment returns a getenv of what is given.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if value, ok := strings.CutPrefix(p, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// manager listens as the service manager does, and returns what comes.
func manager(t *testing.T) (address string, next func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address = filepath.Join(dir, "notify")
	return address, listen(t, address)
}

func listen(t *testing.T, address string) (next func() string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() string {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestNotes(t *testing.T) {
	address, next := manager(t)
	n := systemd.NewNotifier(environment("NOTIFY_SOCKET=" + address))
	for _, test := range []struct {
		err  error
		want string
	}{
		{n.Ready("2 queues"), "READY=1\nSTATUS=2 queues"},
		{n.Status("two\nlines\x00"), "STATUS=two lines "},
		{n.Alive(), "WATCHDOG=1"},
		{n.Stopping("ending", 90*time.Second), "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\nSTATUS=ending"},
		{n.Extend("opening", time.Minute), "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=opening"},
	} {
		if got := next(); test.err != nil || got != test.want {
			t.Errorf("got %q, %v; want %q", got, test.err, test.want)
		}
	}
}

// The manager compares the time of a reload with its own monotonic clock.
func TestReloadingHasTheTime(t *testing.T) {
	address, next := manager(t)
	n := systemd.NewNotifier(environment("NOTIFY_SOCKET=" + address))
	var last int64
	for range 2 {
		if err := n.Reloading("reading"); err != nil {
			t.Fatal(err)
		}
		var us int64
		text := next()
		if _, err := fmt.Sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=reading", &us); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var info syscall.Sysinfo_t
		if err := syscall.Sysinfo(&info); err != nil {
			t.Fatal(err)
		}
		// Uptime counts suspend too, so it is only a bound.
		if us <= last || us/1e6 > int64(info.Uptime)+1 {
			t.Errorf("MONOTONIC_USEC=%d after %d, %d seconds after boot", us, last, info.Uptime)
		}
		last = us
	}
}

func TestAbstractSocket(t *testing.T) {
	address := "@querator-test-" + strconv.Itoa(os.Getpid())
	next := listen(t, address)
	if err := systemd.NewNotifier(environment("NOTIFY_SOCKET=" + address)).Alive(); err != nil || next() != "WATCHDOG=1" {
		t.Error(err)
	}
}

func TestNoManager(t *testing.T) {
	for _, socket := range []string{"", "/", "@", "relative", "vsock:2:1"} {
		n := systemd.NewNotifier(environment("NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=1000000"))
		if n != nil {
			t.Errorf("NOTIFY_SOCKET=%q: there is a notifier", socket)
		}
		if err := n.Ready("x"); err != nil || n.Watchdog() != 0 {
			t.Errorf("nil notifier: %v, %v", err, n.Watchdog())
		}
	}
	n := systemd.NewNotifier(environment("NOTIFY_SOCKET=/nowhere/notify"))
	if err := n.Alive(); err == nil || !strings.Contains(err.Error(), "/nowhere/notify") {
		t.Errorf("a manager that is not there: %v", err)
	}
}

func TestWatchdog(t *testing.T) {
	own := "WATCHDOG_PID=" + strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		env  []string
		want time.Duration
	}{
		{[]string{"WATCHDOG_USEC=3000000"}, 3 * time.Second},
		{[]string{"WATCHDOG_USEC=3000000", own}, 3 * time.Second},
		{[]string{"WATCHDOG_USEC=3000000", "WATCHDOG_PID=1"}, 0},
		{[]string{"WATCHDOG_USEC=0"}, 0},
		{[]string{"WATCHDOG_USEC=-1"}, 0},
		{[]string{"WATCHDOG_USEC=soon"}, 0},
		{[]string{"WATCHDOG_USEC=9223372036854775807"}, 0},
		{nil, 0},
	} {
		n := systemd.NewNotifier(environment(append(test.env, "NOTIFY_SOCKET=/x")...))
		if n.Watchdog() != test.want {
			t.Errorf("%q: %v, want %v", test.env, n.Watchdog(), test.want)
		}
	}
}

func TestIsJournal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino):   true,
		fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false,
		"":                                     false,
		"8":                                    false,
	} {
		if got := systemd.IsJournal(environment("JOURNAL_STREAM="+stream), f); got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", stream, got)
		}
	}
	if got := systemd.Prefix(systemd.PriorityWarning) + "x"; got != "<4>x" {
		t.Errorf("a warning is %q", got)
	}
}
