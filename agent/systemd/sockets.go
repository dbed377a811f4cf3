package systemd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ErrSockets is returned when the sockets that the service manager handed over
// are not what the agent needs (exit code 78); the error says what to change.
var ErrSockets = errors.New("the sockets of the service manager cannot be used")

const (
	firstFD    = 3  // SD_LISTEN_FDS_START
	maxSockets = 64 // more than anybody configures
)

// Socket returns the socket of that name (FileDescriptorName= of the socket
// unit) that the service manager handed to this process, or the only one,
// whatever its name; nil if there is none. The others are closed. The caller
// closes the file. It is called once, before files are opened.
func Socket(getenv func(name string) string, name string) (*os.File, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	return pick(getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"), name, func(i int, called string) *os.File {
		fd := firstFD + i
		syscall.CloseOnExec(fd)
		return os.NewFile(uintptr(fd), called)
	})
}

// pick chooses among count sockets with names, which open makes files of.
func pick(count, names, name string, open func(i int, called string) *os.File) (*os.File, error) {
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("%w: LISTEN_FDS is %q", ErrSockets, count)
	}
	called := strings.Split(names, ":")
	var chosen *os.File
	var twice bool
	for i := range n {
		own := "unknown"
		if i < len(called) && called[i] != "" {
			own = called[i]
		}
		f := open(i, own)
		switch {
		case own != name && n > 1:
			err = errors.Join(err, f.Close())
		case chosen != nil:
			twice = true
			err = errors.Join(err, f.Close())
		default:
			chosen = f
		}
	}
	switch {
	case err != nil:
	case twice:
		err = fmt.Errorf("%w: several are called %q; the agent serves one", ErrSockets, name)
	case chosen == nil && n > 0:
		err = fmt.Errorf("%w: none of the %d is called %q; set FileDescriptorName=%s in its socket unit", ErrSockets, n, name, name)
	}
	if err != nil && chosen != nil {
		err = errors.Join(err, chosen.Close())
		chosen = nil
	}
	return chosen, err
}
