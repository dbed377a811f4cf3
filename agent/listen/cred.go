package listen

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cred is the kernel's word on the other end of a Unix socket.
type Cred struct {
	// PID is the process that connected (seen from the listener) or listens (seen from the client). It may have
	// ended since, and handed the connection on; 0 if it lives in another pid namespace.
	PID int32
	// UID and GID are its effective user and group at that moment.
	UID, GID uint32
}

// ErrManyGroups is returned for a peer with more than MaxGroups supplementary groups.
var ErrManyGroups = errors.New("peer credentials: too many groups")

// MaxGroups is how many supplementary groups of a peer are read; they are kept for each connection.
const MaxGroups = 1024

// PeerCred returns the credentials of the other end of a connection from Listener or net.Dial. It fails if
// conn is not a Unix socket or is closed. It may be called from any goroutine.
func PeerCred(conn net.Conn) (Cred, error) {
	var ucred *syscall.Ucred
	err := control(conn, func(fd int) (err error) {
		ucred, err = syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		return err
	})
	if err != nil {
		return Cred{}, err
	}
	return Cred{PID: ucred.Pid, UID: ucred.Uid, GID: ucred.Gid}, nil
}

// PeerGroups returns the supplementary groups that the other end had when it connected, as PeerCred; at most
// MaxGroups, else the error is ErrManyGroups. Linux 4.13 and later.
func PeerGroups(conn net.Conn) ([]uint32, error) {
	var groups []uint32
	err := control(conn, func(fd int) (err error) {
		groups, err = peerGroups(fd)
		return err
	})
	return groups, err
}

func peerGroups(fd int) ([]uint32, error) {
	for size := 32; ; {
		groups := make([]uint32, size)
		bytes := uint32(4 * size)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&bytes)), 0)
		n := int(bytes / 4)
		switch {
		case errno == 0:
			return groups[:n:n], nil
		case errno != unix.ERANGE || n <= size:
			return nil, errno
		case n > MaxGroups:
			return nil, ErrManyGroups
		}
		size = n
	}
}

// PeerPidfd returns a file descriptor of the process that connected, which stays that process whatever becomes of
// its number; the caller closes it. The error is ENOPROTOOPT before Linux 6.5, and another one when the process
// has ended. For the rest it is as PeerCred.
func PeerPidfd(conn net.Conn) (int, error) {
	pidfd := -1
	err := control(conn, func(fd int) (err error) {
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	if err != nil {
		return -1, err
	}
	return pidfd, nil
}

// control calls f with the descriptor of a Unix socket.
func control(conn net.Conn, f func(fd int) error) error {
	// Network names the kind of socket; the kernel would answer for a TCP socket too, with nobody.
	if conn == nil || conn.RemoteAddr() == nil || conn.RemoteAddr().Network() != "unix" {
		return errors.New("peer credentials: not a unix socket")
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return fmt.Errorf("peer credentials: a %T has no socket", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	return nil
}
