package api

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/frame"
)

// A stream (package frame) has two goroutines, and none for a call:
//
//	the reader   reads frames, as many as have come, begins their calls, and serves them
//	             itself up to the end of their commit, as far as nobody else does
//	             (queue.Batch); then it writes the replies that there are
//	the keeper   has the connection, from the handler's beginning to its end. It writes the
//	             replies that come while the reader waits for frames, and keeps the time:
//	             request timeouts, and a reader that is held up by a slow device, whose
//	             place another one takes then
//
// So when many calls come at about the same time, nothing but the reads, the writes and
// the commit is between them and the device, and each of these is for all of them.
//
// What is answered while the reader is in the engine is written when the reader is back,
// or by the keeper within heldUpAfter, but for leases that need not wait for the sync of
// the commit that they are in: those the reader writes before the sync (queue.Batch.Early).
//
// A call is registered (calls) from its frame to its reply, and counted in the budget of
// bytes in flight. Whatever answers it puts it into done, without waiting; whoever writes
// takes it from there. One writes at a time.

const (
	// streamWidth is as how many more connections a stream counts: for the second
	// goroutine and the larger buffers.
	streamWidth = 3
	streamRead  = 16 << 10 // of the reader's buffer
	streamWrite = 8 << 10  // so much is written at a time, and twice of it kept for that
	// maxTurn is how many calls are begun at a time.
	maxTurn = 256
	// maxRefused is how many calls are refused at a time, for which no memory is reserved,
	// and maxUnread how many replies wait for others to be written before nothing more is
	// read.
	maxRefused = 64
	maxUnread  = 64
	// maxHeldUp is how many readers of a stream a slow device can hold up, heldUpAfter
	// after how long one is; it may be twice that.
	maxHeldUp   = 4
	heldUpAfter = 10 * time.Millisecond
	// byeWait is how long a client that was told of the end may take to close.
	byeWait = time.Second
)

// stream is one of them.
type stream struct {
	h       *Handler
	peer    *access.Peer
	nc      net.Conn
	in, out format
	leaving <-chan struct{} // closed when no new calls are wanted; nil is never
	setBusy func(busy bool) // says whether there are calls now; with mu held

	r          *bufio.Reader // the reader's
	wake       chan struct{} // holds a token when the keeper has something to do
	goroutines sync.WaitGroup

	// Of whoever writes.
	buf   []byte
	until time.Time // the deadline of the connection for writing
	fault error     // of writing
	// said is how many bytes were to be written, sent how many of them the kernel took.
	said, sent int64

	written *sync.Cond // signalled when somebody has written
	mu      sync.Mutex // guards what follows
	calls   map[uint32]*streamCall
	done    []*streamCall // answered, in order; their replies are to be written
	spare   []*streamCall // for done
	note    []byte        // a frame about the stream itself that is to be written
	last    []byte        // one that is to be written at the end
	writing bool          // somebody writes, up to the end of done
	reader  int           // which of the readers has r
	serving bool          // that one is in the hands of the engine
	turn    uint64        // changes when serving does
	watched bool          // the keeper looks whether it comes back
	heldUp  int           // readers that have lost r and are not back yet
	active  time.Time     // when the last frame came, or the last reply was written
	bye     time.Time     // when the client was told of the end; zero if it was not
	hungUp  bool          // it was not waited for the client to end it
	ended   bool          // nothing more is read
	cut     bool          // nothing more is written
	broken  bool          // by a bug; nobody knows what is under way
}

// stream answers GET /v1/agent.stream.
func (c *call) stream() {
	s, err := c.openStream()
	if err != nil {
		c.fail(err)
		return
	}
	defer c.h.guard.Narrow(c.peer, streamWidth)
	c.h.requests.Observe(frame.Path, http.StatusOK, 0, time.Now())
	c.observed = true // How long it lasts says nothing.
	s.keep()
}

// openStream takes the connection.
func (c *call) openStream() (*stream, error) {
	if !strings.EqualFold(c.r.Header.Get("Upgrade"), frame.Protocol) {
		return nil, badRequest("a stream has to be asked for with the header 'Upgrade: %s'", frame.Protocol)
	}
	raw := c.r.Header.Get("Content-Type")
	in, _, ok := parseFormat(raw)
	if !ok {
		return nil, contentError("Content-Type header '%s' is invalid format or unrecognized content type", raw)
	}
	out, err := c.replyFormat()
	if err != nil {
		return nil, err
	}
	if err := c.h.guard.Widen(c.peer, streamWidth); err != nil {
		return nil, err
	}
	nc, rw, err := c.rc.Hijack()
	if err != nil {
		c.h.guard.Narrow(c.peer, streamWidth)
		return nil, &wireError{code: http.StatusNotImplemented, msg: "no streams on this connection"}
	}
	s := &stream{
		h: c.h, peer: c.peer, nc: nc, in: in, out: out, active: time.Now(),
		r: bufio.NewReaderSize(rw.Reader, streamRead), wake: make(chan struct{}, 1), calls: make(map[uint32]*streamCall),
	}
	s.written = sync.NewCond(&s.mu)
	if l, ok := c.w.(interface{ Leaving() <-chan struct{} }); ok {
		s.leaving = l.Leaving()
	}
	s.setBusy = func(bool) {}
	if b, ok := c.w.(interface{ SetBusy(busy bool) }); ok {
		s.setBusy = b.SetBusy
	}
	s.note = []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + frame.Protocol + "\r\n\r\n")
	return s, nil
}

// keep is the keeper's work.
func (s *stream) keep() {
	s.goroutines.Go(func() { s.read(0) })
	leaving := s.leaving
	timer := time.NewTimer(0)
	defer timer.Stop()
	for seen := uint64(0); ; {
		s.flush(false)
		nap, over := s.look(time.Now(), &seen)
		if over {
			break
		}
		timer.Reset(nap)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-leaving:
			leaving = nil
			s.sayBye()
		}
	}
	_ = s.nc.Close() // All was said.
	s.goroutines.Wait()
	s.setBusy(false)
}

// poke wakes the keeper.
func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// look ends what has taken too long, and returns when to look again, or that the stream
// is over. seen is the turn that it saw the last time.
func (s *stream) look(now time.Time, seen *uint64) (nap time.Duration, over bool) {
	late, nap, over := s.lookLocked(now, seen)
	for _, sc := range late {
		sc.wait.Abort(context.DeadlineExceeded)
	}
	return nap, over
}

func (s *stream) lookLocked(now time.Time, seen *uint64) (late []*streamCall, nap time.Duration, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	none := len(s.calls) == 0 && len(s.done)+len(s.note)+len(s.last) == 0 && !s.writing
	if s.broken || s.ended && none {
		return nil, 0, true
	}
	nap = s.h.idleTimeout
	if !s.bye.IsZero() && !s.ended {
		nap = min(nap, byeWait)
		if now.Sub(s.bye) >= byeWait {
			s.hungUp = true
			_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // The reader notices.
		}
	}
	at := func(t time.Time) { nap = min(nap, max(0, t.Sub(now))) }
	for _, sc := range s.calls {
		switch {
		case sc.expire.IsZero():
		case s.cut, !now.Before(sc.expire):
			late = append(late, sc)
			sc.expire = time.Time{}
		default:
			at(sc.expire)
		}
	}
	if s.watched {
		s.lookAtReader(seen)
		nap = min(nap, heldUpAfter)
	}
	switch idleEnd := s.active.Add(s.h.idleTimeout); {
	case !none:
	case !now.Before(idleEnd):
		s.cutLocked()
	default:
		at(idleEnd)
	}
	return late, nap, false
}

// lookAtReader has another reader take the place of one that has been in the hands of
// the engine since the last look.
func (s *stream) lookAtReader(seen *uint64) {
	same := *seen == s.turn
	*seen = s.turn
	switch {
	case !same:
	case !s.serving:
		s.watched = false
		s.setBusy(false)
	case s.ended: // There is nothing to read.
	case s.heldUp < maxHeldUp:
		s.heldUp++
		s.reader++
		s.serving = false
		self := s.reader
		s.goroutines.Go(func() { s.read(self) })
		s.poke() // What was answered was left to the one before.
	}
}

// sayBye tells the client to make no more calls.
func (s *stream) sayBye() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bye = time.Now()
	s.note = frame.AppendReply(s.note, frame.Reply{Code: frame.Bye})
}

// cutLocked ends the connection. Nothing more is read or written.
func (s *stream) cutLocked() {
	s.cut = true
	_ = s.nc.Close() // Everybody notices by it.
	s.poke()
}

// answered takes a call that has an answer.
func (s *stream) answered(sc *streamCall) {
	s.mu.Lock()
	sc.over = true
	s.done = append(s.done, sc)
	wake := !s.serving && !s.writing
	s.mu.Unlock()
	if wake {
		s.poke()
	}
}
