package systemd

// An internal test: the file descriptors of a test process are not its own, so that what is chosen can only be
// tested with others.

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestPick(t *testing.T) {
	for _, test := range []struct {
		count, names, want string // want "" is none, "!" and text an error
	}{
		{"0", "", ""},
		{"1", "api", "api"},
		{"1", "", "unknown"},
		{"1", "querator.socket", "querator.socket"},
		{"2", "api:admin", "api"},
		{"2", "admin:api", "api"},
		{"2", "admin", `!none of the 2 is called "api"; set FileDescriptorName=api`},
		{"3", "admin:api:api", "!several are called"},
		{"", "", "!LISTEN_FDS"},
		{"-1", "", "!LISTEN_FDS"},
		{"65", "", "!LISTEN_FDS"},
	} {
		var open []*os.File
		f, err := pick(test.count, test.names, "api", func(_ int, called string) *os.File {
			fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, os.NewFile(uintptr(fd), called))
			return open[len(open)-1]
		})
		if want, bad := strings.CutPrefix(test.want, "!"); bad {
			if !errors.Is(err, ErrSockets) || !strings.Contains(err.Error(), want) || f != nil {
				t.Errorf("%q %q: got %v, %v; want %s", test.count, test.names, f, err, want)
			}
		} else if err != nil || (f == nil) != (want == "") || f != nil && f.Name() != want {
			t.Errorf("%q %q: got %v, %v; want %s", test.count, test.names, f, err, want)
		}
		for _, o := range open {
			if err := o.Close(); (o == f) != (err == nil) {
				t.Errorf("%q %q: %s was left in the wrong state: %v", test.count, test.names, o.Name(), err)
			}
		}
	}
}

func TestSocketsOfAnotherProcess(t *testing.T) {
	for _, pid := range []string{"", "1", strconv.Itoa(os.Getppid())} {
		f, err := Socket(func(name string) string {
			return map[string]string{"LISTEN_PID": pid, "LISTEN_FDS": "1"}[name]
		}, "api")
		if f != nil || err != nil {
			t.Errorf("LISTEN_PID=%q: %v, %v", pid, f, err)
		}
	}
}
