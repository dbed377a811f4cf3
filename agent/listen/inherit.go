package listen

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Inherit takes over a socket that listens already, such as one of the service manager. Its path, mode and group
// are the business of whoever made it, and Close leaves it there. The error is ErrPath. The file is closed; the
// caller owns the Listener. Of the options the bounds count.
func Inherit(file *os.File, o Options) (*Listener, error) {
	inner, err := inherit(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	o.Path = inner.Addr().String()
	return newListener(inner, nil, o), nil
}

func inherit(file *os.File) (*net.UnixListener, error) {
	accepts, err := unix.GetsockoptInt(int(file.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || accepts == 0 {
		return nil, fmt.Errorf("%w: %s, which was inherited, does not listen; it must be a stream socket (ListenStream=, Accept=no)", ErrPath, file.Name())
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s, which was inherited: %w", ErrPath, file.Name(), err)
	}
	inner, ok := l.(*net.UnixListener)
	if !ok || l.Addr().Network() != "unix" {
		return nil, errors.Join(fmt.Errorf("%w: %s, which was inherited, is of the network %s; the agent serves a Unix stream socket",
			ErrPath, l.Addr(), l.Addr().Network()), l.Close())
	}
	inner.SetUnlinkOnClose(false)
	return inner, nil
}
