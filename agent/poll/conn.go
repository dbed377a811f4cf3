// Package poll waits for what the peer of a local connection says next.
//
// Go's scheduler parks a goroutine that waits for a socket, and its thread looks
// for other work until the kernel says that the socket is readable. Between two
// processes that wait for each other in turn this takes longer, on two cores,
// than all else that they do beside the disk. Here the thread itself waits in the
// kernel, for a moment. A connection on which nothing is said for longer than
// that waits like all others.
package poll

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limit bounds how many connections wait so at a time: each holds a thread. Its
// zero value is ready for use, by any goroutine.
type Limit struct{ waiting atomic.Int32 }

// most is how many connections of a Limit wait in the kernel at a time. More do
// better together, in the scheduler's one wait for all.
const most = 2

// skips is how often a connection waits like all others after it waited here for
// nothing.
const skips = 16

// Conn waits for one connection. It belongs to the goroutine that reads from it.
type Conn struct {
	raw  syscall.RawConn // nil where there is none
	skip int             // so many times it is not tried
}

// New returns a Conn for nc; one of a kind that has no descriptor never waits.
func New(nc net.Conn) *Conn {
	c := &Conn{}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // Nil is an answer too.
	}
	return c
}

// Wait waits for at most d, in whole milliseconds, and returns whether there is
// something to read now, if only the end. False means nothing: the caller waits
// on as if it had not called. A deadline of the connection does not end it.
func (c *Conn) Wait(l *Limit, d time.Duration) bool {
	if c.skip > 0 {
		c.skip--
		return false
	}
	if c.raw == nil {
		return false
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > most {
		return false
	}
	ready := false
	// A closed connection shows itself to whoever reads.
	_ = c.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(d/time.Millisecond))
		ready = err == nil && n > 0
	})
	if !ready {
		c.skip = skips
	}
	return ready
}
