package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/agent/head"
	"github.com/kapetan-io/querator-edge/agent/poll"
)

// conn is a connection. It belongs to its goroutine (serve), but for busy and
// answered, which the server's lock guards.
type conn struct {
	s        *Server
	nc       net.Conn
	in       *limited
	r        *bufio.Reader
	deadline deadlines
	waits    waiter // nil if it cannot be waited for in the kernel
	watch    watch
	out      []byte // of replies; at most keepOut is kept between them
	busy     bool
	answered bool // a reply was given
	peer     any  // what Greet returned

	skip     int  // so many requests are not begun
	admitted bool // see Exchange

	// While the connection is in the crowd: of whoever reads it.
	back   chan struct{} // gets a token when the goroutine has the connection again
	fd     int
	joined int32     // tells it apart from others that had the descriptor
	taken  bool      // busy, with a request that is left to the goroutine
	rest   *rest     // is to be written
	over   bool      // it is to be ended
	part   []byte    // of a request that has not come whole
	x      *Exchange // that is under way
	again  bool      // something came while a request was under way
	gone   bool      // the client has closed its side, at least
	active time.Time // when it joined, or the last reply was written
}

// waiter is a connection that is a poll.Conn.
type waiter interface {
	Wait(g *poll.Group, d time.Duration) bool
	SetBusy(g *poll.Group, busy bool)
	WriteBuffers(bufs *net.Buffers) (int64, error)
	Lend() (fd int, ok bool)
	Return()
}

const (
	// keepOut bounds the buffer for replies that a connection keeps.
	keepOut = 16 << 10
	// leftOver is how much of a body is read that a handler did not want, to
	// keep the connection.
	leftOver = 64 << 10
	// refusalWait is how long a connection that was refused stays, at most.
	refusalWait = 50 * time.Millisecond
	// pollWait is how long a connection waits in the kernel for the next request of
	// a client that makes one after the other.
	pollWait = time.Millisecond
)

func newConn(s *Server, nc net.Conn) *conn {
	in := &limited{r: nc}
	c := &conn{s: s, nc: nc, in: in, r: bufio.NewReader(in), deadline: deadlines{nc: nc}}
	c.waits, _ = nc.(waiter)
	c.watch.c = c
	return c
}

// limited reads from a connection; the head of a request is bounded.
type limited struct {
	r      io.Reader
	before []byte // comes before what is read from r
	left   int    // bytes of a head that may still be read; below 0 is no bound
	err    error  // of the last read
}

var errLargeHead = errors.New("the head of the request is too large")

func (l *limited) Read(p []byte) (n int, err error) {
	switch {
	case l.left < 0:
		n, err = l.read(p)
	case l.left == 0:
		err = errLargeHead
	default:
		n, err = l.read(p[:min(len(p), l.left)])
		l.left -= n
	}
	l.err = err
	return n, err
}

func (l *limited) read(p []byte) (int, error) {
	if len(l.before) == 0 {
		return l.r.Read(p)
	}
	n := copy(p, l.before)
	if l.before = l.before[n:]; len(l.before) == 0 {
		l.before = nil
	}
	return n, nil
}

// serve handles one request after the other.
func (c *conn) serve() {
	defer c.watch.stop()
	if c.s.Greet != nil {
		peer, refusal := c.s.Greet(c.nc)
		if refusal != nil {
			c.sendLast(refusal, refusalWait)
			return
		}
		c.peer = peer
	}
	if c.s.Leave != nil {
		defer c.s.Leave(c.peer)
	}
	for {
		if !c.await() || !c.taken && !c.s.setBusy(c, true) {
			return
		}
		c.taken = false
		req, err := c.readHead()
		if err != nil {
			c.refuse(err)
			return
		}
		if c.waits != nil {
			c.waits.SetBusy(&c.s.polls, true)
		}
		keep := c.handle(req)
		c.admitted = false
		if c.waits != nil {
			c.waits.SetBusy(&c.s.polls, false)
		}
		if !keep || !c.s.setBusy(c, false) {
			return
		}
	}
}

// await waits for the first byte of a request.
func (c *conn) await() bool {
	c.in.left = -1
	if c.r.Buffered()+len(c.in.before) > 0 {
		return true
	}
	if joined, goOn := c.gather(); joined {
		return goOn
	}
	if c.answered && c.waits != nil && c.waits.Wait(&c.s.polls, pollWait) {
		_ = c.deadline.setRead(time.Time{})
	} else {
		_ = c.deadline.setRead(after(c.s.IdleTimeout))
	}
	_, err := c.r.Peek(1)
	return err == nil
}

// gather waits in the crowd, if that can be, until this goroutine is needed. goOn says
// that there is something to read.
func (c *conn) gather() (joined, goOn bool) {
	if c.skip > 0 {
		c.skip--
		return false, false
	}
	for c.answered && c.s.crowd != nil && c.waits != nil && c.s.crowd.join(c) {
		<-c.back
		_ = c.deadline.setRead(time.Time{}) // It was not waited for.
		switch t := c.rest; {
		case t != nil:
			c.rest = nil
			if !t.write(c) || t.last || !c.s.setBusy(c, false) {
				return true, false
			}
		case c.over:
			return true, false
		default:
			_, err := c.r.Peek(1) // It was read already.
			return true, err == nil
		}
	}
	return false, false
}

func after(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// readHead reads a request up to its body.
func (c *conn) readHead() (*http.Request, error) {
	req, err := c.readPlain(), error(nil)
	if req == nil {
		req, err = c.readAny()
	}
	if err != nil {
		return nil, err
	}
	_ = c.deadline.setRead(time.Time{}) // The handler sets its own.
	switch {
	case req.ProtoMajor != 1:
		return nil, fmt.Errorf("%s is not spoken here", req.Proto)
	case req.ProtoMinor >= 1 && req.Host == "":
		return nil, errors.New("the Host header is missing")
	}
	return req, nil
}

// readPlain reads a head that is as most are, and has come whole; nil is another.
func (c *conn) readPlain() *http.Request {
	b, _ := c.r.Peek(c.r.Buffered()) // What is there can be had.
	req, n := head.Request(b)
	if req == nil || n > c.s.maxHead() {
		return nil
	}
	_, _ = c.r.Discard(n)
	if req.ContentLength > 0 {
		req.Body = &sized{r: c.r, left: req.ContentLength}
	}
	return req
}

// readAny reads any head.
func (c *conn) readAny() (*http.Request, error) {
	_ = c.deadline.setRead(after(c.s.HeaderTimeout))
	c.in.left = c.s.maxHead()
	defer func() { c.in.left = -1 }()
	return http.ReadRequest(c.r)
}

// refuse answers a request that could not be read, when somebody may listen.
func (c *conn) refuse(err error) {
	large := errors.Is(c.in.err, errLargeHead)
	if c.in.err != nil && !large {
		return // Nobody is there, or nothing came in time.
	}
	status := "400 Bad Request"
	if large {
		status = "431 Request Header Fields Too Large"
	}
	c.s.logf("a request was refused: %v", err)
	c.sendLast(fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s: %v",
		status, status, err), time.Second)
}

// sendLast writes the last reply of a connection, for which the client has so
// long.
func (c *conn) sendLast(reply []byte, wait time.Duration) {
	// The buffer of a new connection takes it at once: only a busy machine needs the time.
	_ = c.nc.SetWriteDeadline(time.Now().Add(max(wait, time.Second)))
	_, _ = c.nc.Write(reply)
	// What was sent and not read would make the kernel drop the answer.
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(wait))
		_, _ = io.CopyN(io.Discard, c.nc, leftOver)
	}
}

// handle runs the handler and completes the reply. It returns false when the
// connection cannot be used again.
func (c *conn) handle(req *http.Request) (keep bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b := &body{rc: req.Body}
	if req.Body == http.NoBody || req.ContentLength == 0 {
		b.ended.Store(true)
	}
	w := &response{c: c, req: req, body: b, header: make(http.Header, 4), cancel: cancel}
	if req.Header.Get("Expect") != "" && !b.ended.Load() {
		b.before = w.sendContinue
	}
	req = req.WithContext(ctx)
	req.Body = b
	c.watch.begin(b, cancel)
	ok := c.call(w, req)
	c.watch.end()
	if !ok {
		return false
	}
	return w.finish() && b.drain(c) && !req.Close
}

// call runs the handler. It returns false when that panicked.
func (c *conn) call(w *response, req *http.Request) (ok bool) {
	defer func() {
		if ok {
			return
		}
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // A panic value, not a returned error.
			c.s.panicked(req, v)
		}
	}()
	c.s.Handler.ServeHTTP(w, req)
	return true
}

// writeBuffers writes the buffers, in one call of the system where that can be.
func (c *conn) writeBuffers(bufs *net.Buffers) (err error) {
	if c.waits != nil {
		_, err = c.waits.WriteBuffers(bufs)
	} else {
		_, err = bufs.WriteTo(c.nc)
	}
	return err
}
