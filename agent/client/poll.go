package client

import (
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pollGroup is the connections of a transport that wait. It is safe for use by any goroutine.
type pollGroup struct {
	last atomic.Pointer[poller] // the one that waited last
}

// pollSkips is how often a connection waits like all others after it waited here for nothing.
const pollSkips = 16

// poller waits for what the agent says next on one connection. It belongs to the goroutine that reads from it.
//
// Go's scheduler parks a goroutine that waits for a socket, and its thread looks for other work until the kernel says
// that the socket is readable. For a program that makes one call after the other this takes a sixth of the time of a
// produce on two cores. Here the thread itself waits in the kernel, for a moment. A connection on which nothing is
// said for longer waits like all others, and so does every connection while there are several at work: they do better
// together, in the scheduler's one wait for all. (On the agent's side it makes no difference: its store wakes a second
// thread with every commit.)
type poller struct {
	raw  syscall.RawConn // nil where there is none
	skip int             // so many times it is not tried
}

// newPoller returns one for nc. It never waits for a connection of a kind that has no descriptor, nor where one thread
// has to do everything.
func newPoller(nc net.Conn) *poller {
	c := &poller{}
	if sc, ok := nc.(syscall.Conn); ok && runtime.GOMAXPROCS(0) > 1 {
		c.raw, _ = sc.SyscallConn() // Nil is an answer too.
	}
	return c
}

// wait waits for at most d, in whole milliseconds, and returns whether there is something to read now, if only the end.
// False means nothing: the caller waits on as if it had not called. It does not wait unless the connection is also the
// one of the group that waited last. A deadline of the connection does not end it, and closing the connection takes as
// long.
func (c *poller) wait(g *pollGroup, d time.Duration) bool {
	if g.last.Swap(c) != c || c.raw == nil {
		return false
	}
	if c.skip > 0 {
		c.skip--
		return false
	}
	ready := false
	// A closed connection shows itself to whoever reads.
	_ = c.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(d/time.Millisecond))
		if ready = err == nil && n > 0; err == nil && n == 0 {
			c.skip = pollSkips
		}
	})
	return ready
}
