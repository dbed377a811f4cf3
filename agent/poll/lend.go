package poll

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Lend takes the connection out of the scheduler's hands, and returns its descriptor.
// Until Return it belongs to the caller, who may read and write without blocking, and wait
// for it together with others. Nobody else may read, write or wait in that time, but the
// connection may be closed: the socket is shut down by that, which whoever waits for it
// notices, and the descriptor stays. It reports false where that cannot be. It is called
// by who calls Wait.
func (c *Conn) Lend() (fd int, ok bool) {
	c.mu.Lock()
	if c.out == nil && !c.closed {
		c.mu.Unlock()
		c.take()
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.out == nil || c.closed {
		return -1, false
	}
	raw, err := c.out.SyscallConn()
	if err != nil {
		return -1, false
	}
	fd = -1
	_ = raw.Control(func(own uintptr) { fd = int(own) })
	c.lent = fd >= 0
	return fd, c.lent
}

// Return ends Lend. A connection that was closed meanwhile is closed now.
func (c *Conn) Return() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lent = false; c.closed {
		_ = c.out.Close() // It was shut down.
	}
}

// shutDown makes whoever waits for the socket notice its end.
func (c *Conn) shutDown() {
	if raw, err := c.out.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}

// TryWrite writes as much of p as can be written at once, which may be nothing. The error
// is one of the connection. It is called by who writes.
func (c *Conn) TryWrite(p []byte) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, nil //nolint:nilerr // Writing tells.
	}
	fault := raw.Control(func(fd uintptr) {
		for {
			if n, err = unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	switch {
	case fault != nil: // It was closed, or goes back to the scheduler.
		return 0, nil
	case errors.Is(err, unix.EAGAIN):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return n, nil
}
