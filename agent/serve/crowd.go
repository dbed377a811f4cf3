package serve

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is the connections that wait for a request, or for the reply to one that was
// begun, without their goroutines. Its methods may be called from any goroutine.
type crowd struct {
	s       *Server
	begins  Beginner
	poller  int          // epoll
	bell    int          // an eventfd, by which whoever reads is woken
	release func() error // closes both, once
	readers sync.WaitGroup
	timer   *time.Timer // looks whether the reader is held up

	mu      sync.Mutex // guards what follows
	members map[int]*conn
	joins   int32       // what the last member is told apart by from others that had its descriptor
	ready   []*conn     // to be read, whatever the poller says
	done    []*Exchange // answered; their replies are to be written
	spare   []*Exchange // for done
	waiting bool        // the reader is in the poller, or is about to be
	rung    bool        // and was woken
	resting []*reader   // readers that do not read; at most maxHeldUp + 1
	reader  int         // which of the readers reads
	serving bool        // that one is in the hands of the engine
	turn    uint64      // changes when serving does
	seen    uint64      // the turn at the last look
	armed   bool        // the timer runs
	heldUp  int         // readers that are not the reader any more, and not back yet
	next    time.Time   // when a time is over, at the earliest; zero is never
	ended   bool
}

const (
	// maxHeldUp is how many readers a slow device can hold up, heldUpAfter after how long
	// one is; it may be twice that. When there are so many nobody serves what he reads:
	// it is left to the engine's own goroutines.
	maxHeldUp   = 4
	heldUpAfter = 10 * time.Millisecond
	// skips is how many requests the goroutine of a connection serves by itself after one
	// that could not be begun; others will be like it.
	skips = 16
)

// newCrowd returns a crowd with its first reader.
func newCrowd(s *Server, begins Beginner) (*crowd, error) {
	poller, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), unix.Close(poller))
	}
	ev := unix.EpollEvent{Fd: int32(bell), Events: unix.EPOLLIN}
	if err := unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, bell, &ev); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll_ctl: %w", err), unix.Close(bell), unix.Close(poller))
	}
	w := &crowd{s: s, begins: begins, poller: poller, bell: bell, members: make(map[int]*conn)}
	w.release = sync.OnceValue(func() error { return errors.Join(unix.Close(bell), unix.Close(poller)) })
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
	w.readers.Go(func() { w.read(0) })
	return w, nil
}

// close ends the crowd, which has no members any more. It waits for readers that the
// device holds up.
func (w *crowd) close() error {
	w.mu.Lock()
	w.ended = true
	w.ring()
	w.mu.Unlock()
	w.timer.Stop()
	w.readers.Wait()
	return w.release()
}

// ring wakes the reader if it waits. With mu held.
func (w *crowd) ring() {
	if !w.waiting || w.rung {
		return
	}
	w.rung = true
	_, _ = unix.Write(w.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // It rings already, else.
}

// join takes a connection without anything to read or write into the crowd, up to its
// goroutine's turn: when that comes, c.back gets a token. It returns false when it cannot
// be taken.
func (w *crowd) join(c *conn) bool {
	fd, ok := c.waits.Lend()
	if !ok {
		return false
	}
	if c.back == nil {
		c.back = make(chan struct{}, 1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		c.waits.Return()
		return false
	}
	w.joins++
	c.fd, c.joined, c.active = fd, w.joins, time.Now()
	c.again, c.gone, c.over, c.rest = false, false, false, nil
	w.members[fd] = c
	ev := unix.EpollEvent{Fd: int32(fd), Pad: c.joined, Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET}
	if err := unix.EpollCtl(w.poller, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		delete(w.members, fd)
		c.waits.Return()
		return false
	}
	w.endsAt(c.active.Add(w.s.IdleTimeout), w.s.IdleTimeout > 0)
	return true
}

// endsAt notes that some time is over then, if at all. With mu held.
func (w *crowd) endsAt(t time.Time, ever bool) {
	if ever && (w.next.IsZero() || t.Before(w.next)) {
		w.next = t
		w.ring() // It may wait for longer.
	}
}

// leave gives a connection back to its goroutine.
func (w *crowd) leave(c *conn) {
	w.mu.Lock()
	delete(w.members, c.fd)
	c.x = nil
	w.mu.Unlock()
	_ = unix.EpollCtl(w.poller, unix.EPOLL_CTL_DEL, c.fd, nil) // It is there.
	c.waits.Return()
	c.back <- struct{}{}
}

// begun notes that a request is under way. more says that there may be another behind it.
func (w *crowd) begun(c *conn, x *Exchange, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.again = more
	c.x, x.expire = x, x.pending.Expire()
	w.endsAt(x.expire, !x.expire.IsZero())
	if x.early {
		w.done = append(w.done, x)
	}
}

// answered takes an exchange of which there is a reply.
func (w *crowd) answered(x *Exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.c.x != x {
		x.early = true // Before anybody may look at it.
		return
	}
	w.done = append(w.done, x)
	w.ring()
}

// goOn has a connection wait for the next request, or read what has come.
func (w *crowd) goOn(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.x, c.active = nil, time.Now()
	w.endsAt(c.active.Add(w.s.IdleTimeout), w.s.IdleTimeout > 0)
	if c.again || c.gone {
		c.again = false
		w.ready = append(w.ready, c)
		w.ring()
	}
}

// look is called by the timer. It has another reader take the place of one that has been
// in the hands of the engine since the last look.
func (w *crowd) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := w.seen == w.turn
	w.seen = w.turn
	switch {
	case w.ended || same && !w.serving:
		w.armed = false
		return
	case same && w.heldUp < maxHeldUp:
		w.heldUp++
		w.reader++
		w.serving = false
		self := w.reader
		w.readers.Go(func() { w.read(self) })
	}
	w.timer.Reset(heldUpAfter)
}

// goneFor is how long a client that has closed its side is still answered: it may only
// have said that it asks for nothing more.
const goneFor = 10 * time.Millisecond

// goes notes that the client of a connection has closed its side.
func (w *crowd) goes(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := c.x; x != nil && !x.expire.IsZero() {
		x.lost, x.expire = true, time.Now().Add(goneFor)
		w.endsAt(x.expire, true)
	}
}

// sweep returns the exchanges that have taken too long, and the connections on which
// nothing was asked for too long. Those on which the rest of a request takes too long are
// ready, to be left.
func (w *crowd) sweep(now time.Time) (late []*Exchange, idle []*conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next.IsZero() || now.Before(w.next) {
		return nil, nil
	}
	w.next = time.Time{}
	at := func(t time.Time) {
		if w.next.IsZero() || t.Before(w.next) {
			w.next = t
		}
	}
	for _, c := range w.members {
		switch end := c.active.Add(w.s.IdleTimeout); {
		case c.x != nil && c.x.expire.IsZero():
		case c.x != nil && now.Before(c.x.expire):
			at(c.x.expire)
		case c.x != nil:
			c.x.expire, c.x.unwanted = time.Time{}, c.x.lost
			late = append(late, c.x)
		case c.part != nil && now.Before(c.active.Add(partWait)):
			at(c.active.Add(partWait))
		case c.part != nil:
			w.ready = append(w.ready, c)
		case w.s.IdleTimeout <= 0:
		case now.Before(end):
			at(end)
		default:
			idle = append(idle, c)
		}
	}
	return late, idle
}
