package access

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/listen"
)

// Peer is the process that made a connection. Guard.Greet makes it and Guard.Leave ends it; in between it is used
// by the goroutine of the connection alone. A nil Peer is somebody of whom nothing is known: where there are rules
// it may do nothing.
type Peer struct {
	listen.Cred

	conn net.Conn
	user *User
	// pidfd is the process, on kernels that do not give it out later; -1 if they do, or if there is none.
	pidfd int
	// process is the peer if it holds leases that end with it; else nil.
	process *Process

	// What the rules say of the peer, worked out when it is first needed.
	rules *Rules
	fits  []*rule
	known Caller
}

var errNobody = errors.New("nobody knows which process is calling")

// learn works out which rules are about the peer.
func (p *Peer) learn(r *Rules, cgroups string) {
	if p.rules == r {
		return
	}
	c := Caller{UID: p.UID, GID: p.GID}
	if groups, err := listen.PeerGroups(p.conn); err == nil {
		c.Groups, c.GroupsKnown = groups, true
	}
	c.UnitKnown = !r.units
	if r.units {
		if unit, err := p.unit(r, cgroups); err == nil {
			c.Unit, c.UnitKnown = unit, true
		}
	}
	p.known, p.fits, p.rules = c, r.fitting(&c), r
}

// unit returns the system unit of the peer, "" if it is none that a rule names. An error says that it is not known.
func (p *Peer) unit(r *Rules, cgroups string) (string, error) {
	// An older kernel gives no descriptor that is certainly of the process that connected.
	pidfd, err := listen.PeerPidfd(p.conn)
	if err != nil {
		return "", err
	}
	defer unix.Close(pidfd)
	unit, err := findUnit(cgroups, p.PID, r.wantsUnit)
	if err != nil {
		return "", err
	}
	// Still there: so the number was its own while it was looked for.
	if hasEnded(pidfd) {
		return "", errUnitUnknown
	}
	return unit, nil
}

// hasEnded reports whether the process of a descriptor has ended.
func hasEnded(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err != nil || n > 0
	}
}

// Pidfd returns a descriptor of the process that made the connection, to be closed by the caller. The error says
// that it has ended, or that the kernel cannot tell.
func (p *Peer) Pidfd() (int, error) {
	if p == nil {
		return -1, errNobody
	}
	if p.pidfd < 0 {
		return listen.PeerPidfd(p.conn)
	}
	return unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 0)
}
