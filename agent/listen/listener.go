package listen

import (
	"errors"
	"net"
	"os"
	"sync"

	"github.com/kapetan-io/querator-edge/agent/poll"
)

// Listener accepts connections on a Unix socket, at most so many at once, and owns the file of the socket.
// Its methods may be called from any goroutine.
type Listener struct {
	inner *net.UnixListener
	path  string
	own   os.FileInfo // The file of the socket, to remove that and no other; nil leaves it to its owner.

	slots     chan struct{} // One for each open connection.
	wide      chan struct{} // One for each of them with a large send buffer.
	buffer    int           // Of those, in bytes; 0 leaves all buffers as they are.
	done      chan struct{} // Closed by Close, for an Accept that waits for a slot.
	closeOnce sync.Once
	closeErr  error
}

// Accept returns the next connection. At the bound of connections it waits until one is closed; those that
// connect meanwhile wait in the kernel. After Close the error is net.ErrClosed. The connection has
// a *poll.Conn's methods, and PeerCred knows its other end.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "unix", Addr: l.Addr(), Err: net.ErrClosed}
	}
	inner, err := l.inner.AcceptUnix()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &conn{Conn: poll.New(inner), slots: l.slots, wide: l.setBuffer(inner)}, nil
}

// setBuffer bounds the send buffer of a connection. It returns where to give a large one back; nil if it is none.
func (l *Listener) setBuffer(c *net.UnixConn) chan struct{} {
	if l.buffer <= 0 {
		return nil
	}
	select {
	case l.wide <- struct{}{}:
		_ = c.SetWriteBuffer(l.buffer / 2) // The kernel doubles it. As it was will do, but for the memory.
		return l.wide
	default:
		_ = c.SetWriteBuffer(1) // The kernel has a least one.
		return nil
	}
}

// Addr returns the path of the socket as a *net.UnixAddr.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops accepting and removes the socket, unless something else is at its path by now, or it was inherited:
// then those who connect from now on wait for the next process. Connections that were accepted stay open. Further
// calls return the same error.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		close(l.done)
		if l.own == nil {
			l.closeErr = l.inner.Close()
			return
		}
		// Removed first: while the socket is open its inode cannot be given to another file.
		l.closeErr = errors.Join(removeSame(l.path, l.own), l.inner.Close())
	})
	return l.closeErr
}

// conn gives its slot back when it is closed.
type conn struct {
	*poll.Conn
	slots chan struct{}
	wide  chan struct{} // Nil if it has no large buffer.
	once  sync.Once
}

// Close closes the connection. Further calls return net.ErrClosed.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.wide != nil {
			<-c.wide
		}
		<-c.slots
	})
	return err
}
