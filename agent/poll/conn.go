// Package poll waits for what the peer of a local connection says next.
//
// Go's scheduler parks a goroutine that waits for a socket, and its thread looks
// for other work until the kernel says that the socket is readable. Between two
// processes that wait for each other in turn this takes longer, on two cores,
// than all else that they do beside the disk. Here the thread itself waits in the
// kernel, for a moment. A connection on which nothing is said for longer than
// that waits like all others, and so does every connection while there are
// several at work: they do better together, in the scheduler's one wait for all.
//
// A socket that the scheduler knows of wakes a thread of its own each time that
// something comes or goes, whoever waits for it: on the processor that the peer
// is just about to use. So a connection that has been alone for a while is taken
// out of the scheduler's hands, and given back when it has to wait like others.
package poll

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the connections of a process that wait. Its zero value is ready for
// use, by any goroutine.
type Group struct {
	last atomic.Pointer[Conn] // the one that waited last
	busy atomic.Int32         // connections on which a request is under way
}

// Add says that so many more requests are under way (fewer, if n is below 0) on what is no
// connection of the group. It may be called by any goroutine.
func (g *Group) Add(n int) { g.busy.Add(int32(n)) }

const (
	// skips is how often a connection waits like all others after it waited here for
	// nothing.
	skips = 16
	// takeAfter is how many times in a row a connection waited here, and not for
	// nothing, before it is taken out of the scheduler's hands.
	takeAfter = 8
)

// Conn is a connection that can be waited for. It is a net.Conn: its methods may be
// called by any goroutine, but Wait and SetBusy by the one that reads only.
type Conn struct {
	alone int  // so many times in a row it waited, and not for nothing
	skip  int  // so many times it is not tried
	busy  bool // a request is under way
	never bool // one thread has to do everything

	mu          sync.Mutex // guards what follows
	nc          net.Conn   // nil while the scheduler does not know of it
	out         *os.File   // the socket meanwhile, of which nothing else knows
	read, write time.Time  // the deadlines
	closed      bool
	lent        bool // out is in somebody's hands, see Lend

	local, remote net.Addr
}

var _ net.Conn = (*Conn)(nil)

// New returns a Conn for nc, which belongs to it from now on.
func New(nc net.Conn) *Conn {
	return &Conn{nc: nc, local: nc.LocalAddr(), remote: nc.RemoteAddr(), never: runtime.GOMAXPROCS(0) < 2}
}

// SetBusy says whether a request is under way on the connection, for the others of
// the group. It is called by who calls Wait; a connection that is closed is not busy.
func (c *Conn) SetBusy(g *Group, busy bool) {
	if busy == c.busy {
		return
	}
	c.busy = busy
	if busy {
		g.busy.Add(1)
	} else {
		g.busy.Add(-1)
	}
}

// Wait waits for at most d, in whole milliseconds, and returns whether there is
// something to read now, if only the end. False means nothing: the caller waits
// on as if it had not called. It does not wait unless the connection is also the
// one of the group that waited last, and no other is busy: the thread that waits is
// missing to all others, which have to get along with one less. Nor does it wait where
// one thread has to do everything, nor for a connection without a descriptor. A
// deadline of the connection does not end it, and closing the connection may take as
// long.
func (c *Conn) Wait(g *Group, d time.Duration) bool {
	others := g.busy.Load()
	if c.busy {
		others--
	}
	if g.last.Swap(c) != c || others > 0 || c.skip > 0 {
		c.alone, c.skip = 0, max(0, c.skip-1)
		_, _ = c.giveBack() // Reading tells what is wrong with it.
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil || c.never {
		return false
	}
	ready := false
	// A closed connection shows itself to whoever reads.
	_ = raw.Control(func(fd uintptr) { ready = wait(int(fd), unix.POLLIN, d) })
	switch {
	case !ready:
		c.alone, c.skip = 0, skips
		_, _ = c.giveBack() // Reading tells what is wrong with it.
	case c.alone < takeAfter:
		c.alone++
	default:
		c.take()
	}
	return ready
}

// wait waits until a socket is ready, for at most d.
func wait(fd int, events int16, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(fds, int(d/time.Millisecond))
	return err == nil && n > 0
}

// take takes the connection out of the scheduler's hands: the socket gets another
// descriptor, which the scheduler is not told of, and the old one is closed. Where
// that cannot be, it stays.
func (c *Conn) take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	sc, ok := c.nc.(syscall.Conn)
	if !ok || c.closed {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	fd := -1
	_ = raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			fd = -1
		}
	})
	if fd < 0 {
		return
	}
	_ = c.nc.Close() // The socket stays open.
	// A file in this mode is none that the scheduler waits for.
	_ = unix.SetNonblock(fd, false)
	c.nc, c.out = nil, os.NewFile(uintptr(fd), "socket")
}

// giveBack gives the connection back to the scheduler, and returns it. When there is
// no descriptor free for that, the error says so, and it stays as it is.
func (c *Conn) giveBack() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return c.nc, nil
	}
	if c.closed {
		return nil, net.ErrClosed
	}
	nc, err := net.FileConn(c.out)
	if err != nil {
		return nil, err
	}
	_ = c.out.Close() // It has another descriptor.
	c.nc, c.out = nc, nil
	if !c.read.IsZero() {
		_ = nc.SetReadDeadline(c.read) // Reading tells what is wrong with it.
	}
	if !c.write.IsZero() {
		_ = nc.SetWriteDeadline(c.write) // As above.
	}
	return nc, nil
}

// Read is net.Conn.Read.
func (c *Conn) Read(p []byte) (int, error) {
	return c.transfer(p, unix.POLLIN, net.Conn.Read, func(fd int, p []byte) (int, error) {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_DONTWAIT)
		if n == 0 && err == nil && len(p) > 0 {
			return 0, io.EOF
		}
		return max(n, 0), err
	})
}

// Write is net.Conn.Write.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for {
		n, err := c.transfer(p[done:], unix.POLLOUT, net.Conn.Write, func(fd int, p []byte) (int, error) {
			n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			return max(n, 0), err
		})
		if done += n; err != nil || done == len(p) {
			return done, err
		}
	}
}

// transfer reads or writes: at once, while the scheduler does not know of the
// connection, or else after giving it back.
func (c *Conn) transfer(p []byte, event int16, through func(net.Conn, []byte) (int, error), atOnce func(int, []byte) (int, error)) (int, error) {
	for {
		n, err := c.try(p, atOnce)
		if !errors.Is(err, errGiveBack) {
			return n, err
		}
		nc, err := c.giveBack()
		if err == nil {
			return through(nc, p)
		}
		if errors.Is(err, net.ErrClosed) {
			return 0, err
		}
		if err := c.stall(event); err != nil {
			return 0, err
		}
	}
}

// errGiveBack: the scheduler has to wait for the connection, or has it.
var errGiveBack = errors.New("not at once")

// try reads or writes what can be at once.
func (c *Conn) try(p []byte, atOnce func(int, []byte) (int, error)) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.out == nil:
		return 0, errGiveBack
	}
	raw, err := c.out.SyscallConn()
	if err != nil {
		return 0, err
	}
	fault := raw.Control(func(fd uintptr) {
		for {
			if n, err = atOnce(int(fd), p); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	switch {
	case fault != nil:
		return 0, fault
	case errors.Is(err, unix.EAGAIN):
		return 0, errGiveBack
	}
	return n, err
}

// stallWait is how long a connection waits for an event while no descriptor is free.
const stallWait = 20 * time.Millisecond

// stall waits for a moment, where the scheduler cannot.
func (c *Conn) stall(event int16) error {
	c.mu.Lock()
	out, until := c.out, c.read
	if event == unix.POLLOUT {
		until = c.write
	}
	c.mu.Unlock()
	if !until.IsZero() && time.Until(until) <= 0 {
		return os.ErrDeadlineExceeded
	}
	if out == nil {
		return nil
	}
	raw, err := out.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { wait(int(fd), event, stallWait) })
}

// WriteBuffers writes the buffers, in one call of the system where that can be.
func (c *Conn) WriteBuffers(bufs *net.Buffers) (int64, error) {
	if nc, err := c.giveBack(); err == nil {
		return bufs.WriteTo(nc)
	}
	return bufs.WriteTo(struct{ io.Writer }{c})
}

// Quiet reports whether the connection is open and nothing can be read from it.
func (c *Conn) Quiet() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && quiet
}

// SyscallConn gives access to the socket. It is for Control: reading and writing by
// it would not wait.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		return c.out.SyscallConn()
	}
	if sc, ok := c.nc.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close closes the connection. Further calls return net.ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	if c.out == nil {
		return c.nc.Close()
	}
	c.shutDown()
	if c.lent {
		return nil
	}
	return c.out.Close()
}

// CloseWrite says that nothing more will be written.
func (c *Conn) CloseWrite() error {
	nc, err := c.giveBack()
	if err != nil {
		return err
	}
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// LocalAddr is net.Conn.LocalAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is net.Conn.RemoteAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline is net.Conn.SetDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline is net.Conn.SetReadDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = t
	if c.out != nil {
		return nil
	}
	return c.nc.SetReadDeadline(t)
}

// SetWriteDeadline is net.Conn.SetWriteDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write = t
	if c.out != nil {
		return nil
	}
	return c.nc.SetWriteDeadline(t)
}
