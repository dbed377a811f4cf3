// Package poll waits for what the peer of a local connection says next.
//
// Go's scheduler parks a goroutine that waits for a socket, and its thread looks
// for other work until the kernel says that the socket is readable. Between two
// processes that wait for each other in turn this takes longer, on two cores,
// than all else that they do beside the disk. Here the thread itself waits in the
// kernel, for a moment. A connection on which nothing is said for longer than
// that waits like all others, and so does every connection while there are
// several at work: they do better together, in the scheduler's one wait for all.
package poll

import (
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the connections of a process that wait. Its zero value is ready for
// use, by any goroutine.
type Group struct {
	last atomic.Pointer[Conn] // the one that waited last
}

// skips is how often a connection waits like all others after it waited here for
// nothing.
const skips = 16

// Conn waits for one connection. It belongs to the goroutine that reads from it.
type Conn struct {
	raw  syscall.RawConn // nil where there is none
	skip int             // so many times it is not tried
}

// New returns a Conn for nc. It never waits for one of a kind that has no
// descriptor, nor where one thread has to do everything.
func New(nc net.Conn) *Conn {
	c := &Conn{}
	if sc, ok := nc.(syscall.Conn); ok && runtime.GOMAXPROCS(0) > 1 {
		c.raw, _ = sc.SyscallConn() // Nil is an answer too.
	}
	return c
}

// Wait waits for at most d, in whole milliseconds, and returns whether there is
// something to read now, if only the end. False means nothing: the caller waits
// on as if it had not called. It does not wait unless the connection is also the
// one of the group that waited last. A deadline of the connection does not end
// it, and closing the connection takes as long.
func (c *Conn) Wait(g *Group, d time.Duration) bool {
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
			c.skip = skips
		}
	})
	return ready
}
