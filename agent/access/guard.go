package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/listen"
)

// Options are what a Guard is made of.
type Options struct {
	// Rules are the first ones; nil: everybody who can connect may do everything.
	Rules  *Rules
	Shares Shares
	// Identify says who made a connection; nil is listen.PeerCred, the kernel's word.
	Identify func(net.Conn) (listen.Cred, error)
	// Refused is told of refusals, of each user once a minute at most; nil drops them. It must not block.
	Refused func(Refusal)
}

// Guard says what peers may do. Its methods may be called from any goroutine.
type Guard struct {
	own     uint32
	cgroups string // where the control groups are; "" if no unit can be learnt
	opens   bool   // processes are opened by their numbers when they connect
	who     func(net.Conn) (listen.Cred, error)
	rules   atomic.Pointer[Rules]
	users   *users
	watcher *watcher
	log     refusals
	tell    func(Refusal)
	counts  [operations]atomic.Uint64
}

// New returns a guard.
func New(o Options) *Guard {
	g := &Guard{own: uint32(os.Geteuid()), cgroups: cgroupRoot(), opens: !hasPeerPidfd(), tell: o.Refused}
	g.users, g.watcher = newUsers(o.Shares, g.own), newWatcher()
	if g.who = o.Identify; g.who == nil {
		g.who = listen.PeerCred
	}
	g.rules.Store(o.Rules)
	return g
}

// hasPeerPidfd reports whether the kernel knows SO_PEERPIDFD.
func hasPeerPidfd() bool {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	fd, err := unix.GetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// Reload replaces the rules. Calls that were let in go on; every later one goes by the new rules, on connections
// that are open as well.
func (g *Guard) Reload(r *Rules) { g.rules.Store(r) }

// Rules returns the present rules.
func (g *Guard) Rules() *Rules { return g.rules.Load() }

// KnowsUnits returns an error that says why rules by unit are about nobody; nil if they work.
func (g *Guard) KnowsUnits() error {
	switch {
	case g.opens:
		return errors.New("the kernel is older than 6.5, so the unit of a caller cannot be learnt")
	case g.cgroups == "":
		return errors.New("version 2 of control groups is not mounted, so the unit of a caller cannot be learnt")
	}
	return nil
}

// Watch tells end of the holders (see Hold) whose processes have ended, until ctx ends. It has to run in a goroutine
// of its own, once, for Hold to be of use; end must not block. It returns an error when processes cannot be watched.
func (g *Guard) Watch(ctx context.Context, end func(holders ...uint64)) error {
	return g.watcher.run(ctx, g.users, end)
}

// Holders returns how many processes are watched.
func (g *Guard) Holders() int { return g.watcher.count() }

// Greet meets whoever made a connection. An error says that its user has too many. The caller ends it with Leave.
func (g *Guard) Greet(conn net.Conn) (*Peer, error) {
	cred, err := g.who(conn)
	if err != nil {
		return nil, fmt.Errorf("nobody knows who is calling: %w", err)
	}
	user, err := g.users.connect(cred.UID)
	if err != nil {
		return nil, err
	}
	p := &Peer{Cred: cred, conn: conn, user: user, pidfd: -1}
	if g.opens && cred.PID > 0 {
		// At once, since the number may be another process's one day.
		if p.pidfd, err = unix.PidfdOpen(int(cred.PID), 0); err != nil {
			p.pidfd = -1
		}
	}
	return p, nil
}

// Leave ends what Greet began.
func (g *Guard) Leave(p *Peer) {
	if p == nil {
		return
	}
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd) // It was only looked at.
		p.pidfd = -1
	}
	g.users.disconnect(p.user)
}

// Decide says whether a peer may do something with a queue; "" is the agent as a whole. It is called from the
// goroutine of the peer's connection.
func (g *Guard) Decide(p *Peer, op Operation, queue string) Decision {
	r := g.rules.Load()
	if op == Open || r.IsEmpty() {
		d, _ := always(r, 0, 0, op)
		return d
	}
	if p == nil {
		return Decision{}
	}
	if d, ok := always(r, p.UID, g.own, op); ok {
		return d
	}
	p.learn(r, g.cgroups)
	return decide(p.fits, op, queue)
}

// Denied is the error of a call that is refused.
type Denied struct {
	UID       uint32
	Known     bool // there is a UID
	Operation Operation
	Queue     string
}

// Error says what may not be done, and who may look into it.
func (d *Denied) Error() string {
	who := "somebody unknown"
	if d.Known {
		who = fmt.Sprintf("user %d", d.UID)
	}
	what := "the agent as a whole"
	if d.Queue != "" {
		what = "queue '" + d.Queue + "'"
	}
	verb := map[Operation]string{Produce: "produce to", Consume: "consume from", Read: "read"}[d.Operation]
	if verb == "" {
		verb = "administer"
	}
	return fmt.Sprintf("%s may not %s %s; the access rules of this agent do not allow it", who, verb, what)
}

// Check returns a *Denied when the peer may not do it, which is counted and logged.
func (g *Guard) Check(p *Peer, op Operation, queue string) error {
	if g.Decide(p, op, queue).Allowed {
		return nil
	}
	g.counts[op].Add(1)
	d := &Denied{Operation: op, Queue: cut(queue)}
	r := Refusal{UID: noID, Operation: op, Queue: d.Queue}
	if p != nil {
		d.UID, d.Known = p.UID, true
		r.UID, r.PID = p.UID, p.PID
	}
	var due bool
	if r.Count, r.Others, due = g.log.add(r.UID); due && g.tell != nil {
		g.tell(r)
	}
	return d
}

// cut bounds the length of a name that may be no queue's.
func cut(queue string) string {
	const most = 512
	if len(queue) <= most {
		return queue
	}
	return queue[:most] + "..."
}

// Refusals returns how many calls of an operation were refused.
func (g *Guard) Refusals(op Operation) uint64 { return g.counts[op].Load() }

// Caller returns what is known of a peer. The unit is looked for only where a rule names one. As Decide.
func (g *Guard) Caller(p *Peer) Caller {
	if p == nil {
		return Caller{UID: noID, GID: noID}
	}
	r := g.rules.Load()
	if r == nil {
		r = &Rules{}
	}
	p.learn(r, g.cgroups)
	return p.known
}

// Explain decides as Decide does for a caller that is not there.
func (g *Guard) Explain(c Caller, op Operation, queue string) Decision {
	return g.rules.Load().Explain(c, g.own, op, queue)
}

// What follows bounds what a user may take. A nil Peer takes nothing, since it is nobody's: only tests and
// forwarders have one.

// Admit counts a request; the error is of kind queue.ErrOverloaded, as those below.
func (g *Guard) Admit(p *Peer) error {
	if p == nil {
		return nil
	}
	return g.users.admit(p.user)
}

// StartLease counts a lease request that may wait; EndLease ends it, unless it was refused.
func (g *Guard) StartLease(p *Peer) error {
	if p == nil {
		return nil
	}
	return g.users.startLease(p.user)
}

// EndLease ends StartLease.
func (g *Guard) EndLease(p *Peer) {
	if p != nil {
		g.users.endLease(p.user)
	}
}

// Widen makes the connection of a peer count as n more, for what it takes of memory; Narrow ends it, before Leave.
func (g *Guard) Widen(p *Peer, n int) error {
	if p == nil {
		return nil
	}
	return g.users.widen(p.user, n)
}

// Narrow ends Widen.
func (g *Guard) Narrow(p *Peer, n int) {
	if p != nil {
		g.users.narrow(p.user, n)
	}
}

// Reserve counts n bytes that the budget of all users has let in, of which so many were free before; small says that
// they are of a small request. ReleaseBytes gives them back, unless they were refused.
func (g *Guard) Reserve(p *Peer, n, free int64, small bool) error {
	if p == nil {
		return nil
	}
	return g.users.reserve(p.user, n, free, small)
}

// TakeBytes counts n bytes of a reply, whether the user may have them or not.
func (g *Guard) TakeBytes(p *Peer, n int64) {
	if p != nil {
		p.user.bytes.Add(n)
	}
}

// ReleaseBytes gives bytes back: those of small requests, and the rest.
func (g *Guard) ReleaseBytes(p *Peer, small, rest int64) {
	if p != nil {
		p.user.smallBytes.Add(-small)
		p.user.bytes.Add(-rest)
	}
}
