package serve

import (
	"bytes"
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/head"
)

const (
	// firstRead is how much of a request is read before its length is known, and holds its
	// head if it is begun; maxBody is the longest body then.
	firstRead = 4 << 10
	maxBody   = 64 << 10
	// partWait is how long the rest of a request is waited for, before the goroutine of
	// the connection does.
	partWait = 20 * time.Millisecond
	// maxEvents is how many connections are read at a time.
	maxEvents = 128
)

// reader is one that reads, serves and writes for the crowd. It belongs to its goroutine.
type reader struct {
	w      *crowd
	self   int
	batch  Batch
	buf    []byte
	events [maxEvents]unix.EpollEvent
	conns  []*conn
	lost   []*conn // whose clients have gone
	begun  int     // requests since the last were served
	asking *conn   // that the last of them came on
	only   *conn   // that one came on, when it was the only one, or nil
	out    []byte
	date   []byte // the Date line, of a second
	second int64
}

// read is the work of one reader, until another takes its place, or the end.
func (w *crowd) read(self int) {
	w.mu.Lock()
	var r *reader
	if n := len(w.resting); n > 0 {
		r, w.resting = w.resting[n-1], w.resting[:n-1]
	} else {
		r = &reader{w: w, buf: make([]byte, firstRead+maxBody)}
		r.batch = w.begins.NewBatch(r.flush)
	}
	w.mu.Unlock()
	r.self = self
	for r.turn() {
	}
	w.mu.Lock()
	w.resting = append(w.resting, r)
	w.mu.Unlock()
}

// turn reads what there is to read, serves it and writes what there is to write.
func (r *reader) turn() (more bool) {
	if !r.wait() {
		return false
	}
	for _, c := range r.conns {
		r.read(c)
	}
	for _, c := range r.lost {
		r.w.goes(c)
	}
	more = r.serve()
	r.flush()
	if !more {
		return false
	}
	late, idle := r.w.sweep(time.Now())
	for _, x := range late {
		cause := context.DeadlineExceeded
		if x.unwanted {
			cause = context.Canceled
		}
		x.pending.Abort(cause)
	}
	for _, c := range idle {
		r.end(c)
	}
	return more
}

// wait waits for something to do, and collects the connections to read. It returns false
// at the end.
func (r *reader) wait() bool {
	w := r.w
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return false
	}
	timeout := -1
	switch {
	case len(w.ready)+len(w.done) > 0:
		timeout = 0
	case !w.next.IsZero():
		wait := min(max(0, time.Until(w.next)), time.Hour)
		timeout = int((wait + time.Millisecond - 1) / time.Millisecond)
	}
	w.waiting, w.rung = timeout != 0, false
	w.mu.Unlock()
	n, err := unix.EpollWait(w.poller, r.events[:], timeout)
	if err != nil {
		n = 0
		if !errors.Is(err, unix.EINTR) {
			panic(err) // The descriptor is ours, and all else.
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	r.conns, r.lost = r.conns[:0], r.lost[:0]
	for _, c := range w.ready {
		if w.members[c.fd] == c && c.x == nil {
			r.conns = append(r.conns, c)
		}
	}
	clear(w.ready)
	w.ready = w.ready[:0]
	waited := len(r.conns)
	for i := range r.events[:n] {
		ev := &r.events[i]
		if int(ev.Fd) == w.bell {
			var b [8]byte
			_, _ = unix.Read(w.bell, b[:]) // It has rung.
			continue
		}
		c := w.members[int(ev.Fd)]
		if c == nil || c.joined != ev.Pad {
			continue // Of one that has left.
		}
		if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.gone = true
			r.lost = append(r.lost, c)
		}
		switch {
		case c.x != nil:
			c.again = true
		case !slices.Contains(r.conns[:waited], c):
			r.conns = append(r.conns, c)
		}
	}
	return true
}

// read reads a request and begins it, or gives the connection back.
func (r *reader) read(c *conn) {
	n := copy(r.buf, c.part)
	if n == 0 {
		var err error
		n, err = recv(c.fd, r.buf[:firstRead])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return // Somebody has read it.
		case err != nil || n == 0:
			r.end(c)
			return
		}
	}
	req, length := head.Request(r.buf[:n])
	if req == nil || length > r.w.s.maxHead() || req.Host == "" || req.ContentLength > maxBody {
		r.leave(c, r.buf[:n], false)
		return
	}
	whole := int64(length) + req.ContentLength
	switch ok, later := r.readBody(c, &n, whole); {
	case later:
		r.await(c, r.buf[:n])
		return
	case !ok:
		r.leave(c, r.buf[:n], false)
		return
	}
	c.part = nil
	if !r.w.s.setBusy(c, true) {
		r.end(c)
		return
	}
	c.taken = true
	x := &Exchange{Request: req, Begun: time.Now(), c: c, w: r.w}
	if x.pending = r.begin(x, r.buf[length:n]); x.pending == nil {
		r.leave(c, r.buf[:n], x.Admitted)
		return
	}
	c.taken = false
	r.begun, r.asking = r.begun+1, c
	r.w.begun(c, x, n == firstRead)
}

// readBody reads the rest of a request, of which the buffer has n bytes, if it is all
// here, and nothing else: what is kept of one that is not is no more than a connection
// outside the crowd has in its buffer. later says that it may come in a moment.
func (r *reader) readBody(c *conn, n *int, whole int64) (ok, later bool) {
	if int64(*n) >= whole || whole > int64(len(r.buf)) {
		return int64(*n) == whole, false
	}
	there, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ)
	switch missing := whole - int64(*n) - int64(there); {
	case err != nil || missing < 0:
		return false, false
	case missing > 0:
		return false, !c.gone && (c.part == nil || time.Since(c.active) < partWait)
	}
	for *n < int(whole) {
		m, err := recv(c.fd, r.buf[*n:whole])
		if err != nil || m == 0 {
			return false, false // It is what the goroutine of the connection finds, too.
		}
		*n += m
	}
	return true, false
}

// await waits for the rest of a request: the client may be in the middle of writing it.
func (r *reader) await(c *conn, read []byte) {
	if c.part != nil {
		return
	}
	c.part = bytes.Clone(read)
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	c.active = time.Now()
	r.w.endsAt(c.active.Add(partWait), true)
}

// begin begins a request. A panic is the end of the connection.
func (r *reader) begin(x *Exchange, body []byte) (p Pending) {
	defer func() {
		if v := recover(); v != nil {
			x.c.over = true
			r.w.s.panicked(x.Request, v)
		}
	}()
	return r.batch.Begin(x, body)
}

// recv reads what is there.
func recv(fd int, p []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// leave leaves a connection to its goroutine, with what was read of it.
func (r *reader) leave(c *conn, read []byte, admitted bool) {
	c.part, c.in.before = nil, bytes.Clone(read)
	c.admitted, c.skip = admitted, skips
	r.w.leave(c)
}

// end has the goroutine of a connection end it.
func (r *reader) end(c *conn) {
	c.over = true
	r.w.leave(c)
}

// serve has the requests served that were begun. It returns false when another reader has
// taken over in the meantime.
func (r *reader) serve() bool {
	w := r.w
	w.mu.Lock()
	w.serving = true
	w.turn++
	if !w.armed {
		w.armed = true
		w.timer.Reset(heldUpAfter)
	}
	how := r.serving()
	if w.heldUp >= maxHeldUp {
		how = HandOver
	}
	w.mu.Unlock()
	r.serveBatch(how)
	return r.back()
}

// serving returns how the batch is to be served: alone if it is one request of a client
// that was the only one the last time, too.
func (r *reader) serving() Serving {
	if r.begun == 0 {
		return Together
	}
	how := Together
	if r.begun > 1 {
		r.asking = nil
	} else if r.asking == r.only {
		how = Alone
	}
	r.begun, r.only = 0, r.asking
	return how
}

func (r *reader) serveBatch(how Serving) {
	defer func() {
		if v := recover(); v != nil {
			r.w.s.logf("BUG: panic in a batch of requests: %v\n%s", v, debug.Stack())
		}
	}()
	r.batch.Serve(how)
}

// back says that the engine is done, and reports whether this is the reader still.
func (r *reader) back() bool {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reader != r.self {
		w.heldUp--
		return false
	}
	w.serving = false
	w.turn++
	return true
}
