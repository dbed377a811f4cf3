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
// What is answered while the reader is in the engine, such as a lease that need not wait
// for the sync of the commit that it is in, is written when the reader is back, or by the
// keeper within heldUpAfter: to wake the keeper for each lease made a lease a sixth
// quicker where a sync takes 0.2 ms, and took a tenth of the rate and twice the processor
// time of the agent.
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

// flush writes the replies of calls that are answered, unless somebody does: of all of
// them, or of those that are answered now.
func (s *stream) flush(all bool) {
	s.mu.Lock()
	if s.writing {
		s.mu.Unlock()
		return
	}
	s.writing = true
	for more := true; more && s.mustWrite(); more = all {
		batch, note := s.done, s.note
		if s.isLast() {
			note, s.last = append(note, s.last...), nil
		}
		s.done, s.spare, s.note = s.spare, nil, nil
		for _, sc := range batch {
			sc.unwanted = sc.dropped || s.cut
			if s.calls[sc.id] == sc {
				delete(s.calls, sc.id)
			}
		}
		s.mu.Unlock()
		s.write(batch, note)
		clear(batch)
		s.mu.Lock()
		s.spare, s.active = batch[:0], time.Now()
		s.written.Broadcast()
	}
	s.writing = false
	s.written.Broadcast()
	again := s.mustWrite() || s.ended && len(s.calls) == 0
	s.mu.Unlock()
	if again {
		s.poke()
	}
}

// mustWrite reports whether there is something to write.
func (s *stream) mustWrite() bool { return len(s.done) > 0 || len(s.note) > 0 || s.isLast() }

// isLast reports whether it is time for what is written at the end: nothing follows what
// is done.
func (s *stream) isLast() bool { return len(s.last) > 0 && len(s.calls) == 0 && len(s.done) == 0 }

// awaitWriter waits while somebody writes and there is much to be written: nothing is read
// from a client that does not read.
func (s *stream) awaitWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing && len(s.done) >= maxUnread {
		s.written.Wait()
	}
}

// write writes a note and the replies of calls, which end with that.
func (s *stream) write(batch []*streamCall, note []byte) {
	s.buf = append(s.buf, note...)
	for _, sc := range batch {
		code, text, lease := sc.result(s.out, sc.unwanted)
		if lease != nil {
			s.addLease(sc.id, lease)
		} else {
			sc.take(int64(len(text))) // It has the names of a request in it, and may be as long.
			s.buf = frame.AppendReply(s.buf, frame.Reply{ID: sc.id, Code: uint16(code), Body: uint32(len(text))})
			s.add(text)
		}
		sc.upTo = s.said + int64(len(s.buf))
		if len(s.buf) >= streamWrite {
			s.send()
		}
	}
	s.send()
	now := time.Now()
	for _, sc := range batch {
		// As over HTTP, what the kernel has was delivered.
		sc.end(s.sent >= sc.upTo && !sc.unwanted, now)
	}
}

func (s *stream) addLease(id uint32, lease *gathered) {
	s.buf = frame.AppendReply(s.buf, frame.Reply{ID: id, Code: http.StatusOK, Body: uint32(lease.size())})
	if len(lease.cuts) == 0 {
		s.add(lease.b)
		return
	}
	s.send()
	_, _ = lease.WriteTo(s) // See Write.
}

// add adds a reply's body to what is written, and writes it at once if it is long.
func (s *stream) add(body []byte) {
	if len(body) <= streamWrite {
		s.buf = append(s.buf, body...)
		return
	}
	s.send()
	_, _ = s.Write(body) // See Write.
}

// send writes the buffer.
func (s *stream) send() {
	_, _ = s.Write(s.buf) // See Write.
	if s.buf = s.buf[:0]; cap(s.buf) > 2*streamWrite {
		s.buf = nil
	}
}

// Write writes p to the connection, for whoever writes. The first error ends the
// connection; it is kept, and whoever looks at it has nobody to tell.
func (s *stream) Write(p []byte) (n int, err error) {
	s.said += int64(len(p))
	if s.fault != nil || len(p) == 0 {
		return 0, s.fault
	}
	// A deadline may be up to an eighth too early: to set one costs as much as a small write.
	if t := time.Now(); s.until.Sub(t) < s.h.bodyTimeout*7/8 {
		s.until = t.Add(s.h.bodyTimeout)
		_ = s.nc.SetWriteDeadline(s.until) // Writing tells what is wrong with it.
	}
	n, s.fault = s.nc.Write(p)
	if s.sent += int64(n); s.fault != nil {
		s.mu.Lock()
		s.cutLocked()
		s.mu.Unlock()
	}
	return n, s.fault
}
