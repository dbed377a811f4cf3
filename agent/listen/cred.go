package listen

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Cred is the kernel's word on the other end of a Unix socket.
type Cred struct {
	// PID is the process that connected (seen from the listener) or listens (seen from the client). It may have
	// ended since, and handed the connection on; 0 if it lives in another pid namespace.
	PID int32
	// UID and GID are its effective user and group at that moment.
	UID, GID uint32
}

// PeerCred returns the credentials of the other end of a connection from Listener or net.Dial. It fails if
// conn is not a Unix socket or is closed. It may be called from any goroutine.
func PeerCred(conn net.Conn) (Cred, error) {
	// Network names the kind of socket; the kernel would answer for a TCP socket too, with nobody.
	if conn.RemoteAddr() == nil || conn.RemoteAddr().Network() != "unix" {
		return Cred{}, errors.New("peer credentials: not a unix socket")
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return Cred{}, fmt.Errorf("peer credentials: a %T has no socket", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Cred{}, fmt.Errorf("peer credentials: %w", err)
	}
	var ucred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		ucred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return Cred{}, fmt.Errorf("peer credentials: %w", err)
	}
	return Cred{PID: ucred.Pid, UID: ucred.Uid, GID: ucred.Gid}, nil
}
