package access

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/queue"
)

// Process is a process whose end is watched, since it holds leases that end with it. Its methods may be called from
// any goroutine.
type Process struct {
	id    uint64
	key   processKey
	user  *User
	pidfd int // the watcher's
	ended atomic.Bool
}

// processKey tells processes apart that run. The number alone does where the kernel gives no better one: two
// that run have two numbers.
type processKey struct {
	inode uint64 // of the descriptor; unique while the kernel runs
	pid   int32
}

// Holder returns the name of the process for queue.LeaseRequest; never 0, and never given twice.
func (p *Process) Holder() uint64 { return p.id }

// Ended reports whether the process has ended. Whoever gave it a lease afterwards, or at the same moment, takes it
// back: see queue.Service.ReleaseHolders.
func (p *Process) Ended() bool { return p.ended.Load() }

// ErrNoProcess says that it cannot be told which process a connection is of, or that this process has ended.
var ErrNoProcess = errors.New("no process to watch")

// Hold returns the process of a peer, whose end is watched from now on. The error Is ErrNoProcess, or of kind
// queue.ErrOverloaded when too many are watched, or queue.ErrClosed. As Decide.
func (g *Guard) Hold(p *Peer) (*Process, error) {
	if p == nil {
		return nil, ErrNoProcess
	}
	if p.process == nil {
		pidfd, err := p.Pidfd()
		if isShort(err) {
			return nil, busy("no more processes can be watched at the moment: %v; try again, or lease without release_on_exit", err)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoProcess, err)
		}
		process, err := g.watcher.add(pidfd, keyOf(pidfd, p.PID), p.UID, g.users)
		if err != nil {
			return nil, err
		}
		p.process = process
	}
	if p.process.Ended() {
		return nil, ErrNoProcess
	}
	return p.process, nil
}

// isShort reports whether there is nothing left of what the kernel gives: descriptors, memory.
func isShort(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOSPC)
}

// pidfsMagic is the file system of process descriptors, where each process has an inode of its own (Linux 6.9).
const pidfsMagic = 0x50494446

func keyOf(pidfd int, pid int32) processKey {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(pidfd, &fs) == nil && fs.Type == pidfsMagic && unix.Fstat(pidfd, &st) == nil {
		return processKey{inode: st.Ino}
	}
	return processKey{pid: pid}
}

func errNotWatching() error {
	return &queue.Error{Kind: queue.ErrClosed, Op: "hold", Msg: "service is shutting down"}
}
