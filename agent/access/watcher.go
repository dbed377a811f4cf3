package access

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watcher waits for the ends of all processes that hold leases, in one goroutine: an epoll of their descriptors,
// which the runtime polls as it does any other file. Its methods may be called from any goroutine.
type watcher struct {
	mu     sync.Mutex
	epoll  *os.File // nil when run has returned
	fd     int      // of the epoll; epoll.Fd would make it block
	err    error    // why there is no epoll
	last   uint64   // name given to a process
	byKey  map[processKey]*Process
	byFile map[int32]*Process // by descriptor
}

// maxEnds is how many ends are told at a time.
const maxEnds = 128

// newWatcher prepares for processes; run closes it.
func newWatcher() *watcher {
	w := &watcher{byKey: make(map[processKey]*Process), byFile: make(map[int32]*Process)}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		// So that package os lets the runtime wait for it.
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		w.err = fmt.Errorf("processes cannot be watched: %w", err)
		return w
	}
	w.epoll, w.fd = os.NewFile(uintptr(fd), "epoll"), fd
	return w
}

// add watches a process, whose descriptor belongs to the watcher from now on.
func (w *watcher) add(pidfd int, key processKey, uid uint32, u *users) (*Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoll == nil {
		return nil, errors.Join(w.err, errNotWatching(), unix.Close(pidfd))
	}
	// A process of that number that has not ended is the same one, since this one has not ended either.
	if p := w.byKey[key]; p != nil && !hasEnded(p.pidfd) && !hasEnded(pidfd) {
		_ = unix.Close(pidfd)
		return p, nil
	}
	if key == (processKey{}) || hasEnded(pidfd) {
		return nil, errors.Join(ErrNoProcess, unix.Close(pidfd))
	}
	user, err := u.hold(uid)
	if err != nil {
		return nil, errors.Join(err, unix.Close(pidfd))
	}
	w.last++
	p := &Process{id: w.last, key: key, user: user, pidfd: pidfd}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pidfd)}
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, pidfd, &event); err != nil {
		u.unhold(user)
		if isShort(err) {
			return nil, errors.Join(busy("no more processes can be watched at the moment: %v; try again", err), unix.Close(pidfd))
		}
		return nil, errors.Join(ErrNoProcess, err, unix.Close(pidfd))
	}
	w.byKey[key], w.byFile[event.Fd] = p, p
	return p, nil
}

// run tells end of the holders that have ended, until ctx ends. end must not block.
func (w *watcher) run(ctx context.Context, u *users, end func(holders ...uint64)) error {
	if w.err != nil {
		return w.err
	}
	epoll := w.epoll
	raw, err := epoll.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = epoll.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer w.close(u)
	events := make([]unix.EpollEvent, maxEnds)
	for {
		n := 0
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events, 0)
			return n > 0 || failed != nil && !errors.Is(failed, unix.EINTR)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil || failed != nil:
			return errors.Join(err, failed)
		}
		end(w.takeEnded(events[:n], u)...)
	}
}

// takeEnded forgets processes that have ended and returns their names.
func (w *watcher) takeEnded(events []unix.EpollEvent, u *users) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var holders []uint64
	for i := range events {
		if p := w.byFile[events[i].Fd]; p != nil {
			w.drop(p, u)
			holders = append(holders, p.id)
		}
	}
	return holders
}

// drop forgets a process.
func (w *watcher) drop(p *Process, u *users) {
	p.ended.Store(true)
	delete(w.byFile, int32(p.pidfd))
	if w.byKey[p.key] == p {
		delete(w.byKey, p.key)
	}
	// The descriptor may be a copy, so that closing it would not take it out.
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, p.pidfd, nil)
	_ = unix.Close(p.pidfd)
	u.unhold(p.user)
}

func (w *watcher) close(u *users) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.byFile {
		w.drop(p, u)
	}
	_ = w.epoll.Close()
	w.epoll = nil
}

// count returns how many processes are watched.
func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byFile)
}
