package serve

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Beginner begins requests that need no goroutine of their own; see Server.Begin.
type Beginner interface {
	// NewBatch returns a batch, for one goroutine. Its Serve may call early, which does not
	// block, when some of the requests were answered and others will take longer.
	NewBatch(early func()) Batch
}

// Batch begins requests. It belongs to one goroutine.
type Batch interface {
	// Begin begins what a request asks for, and returns what there is to know of it. Nil
	// leaves the request to Server.Handler. The body lies in a buffer that others use when Begin returns.
	Begin(x *Exchange, body []byte) Pending
	// Serve serves all that was begun since the last call.
	Serve(how Serving)
}

// Serving says how a batch is served.
type Serving int

const (
	// Together: by the caller, for as long as the device takes, unless some would wait for
	// others who have to do with another part of it.
	Together Serving = iota
	// Alone: by the caller, since one client asks and nobody else.
	Alone
	// HandOver: by others; the caller comes back at once.
	HandOver
)

// Pending is a request that was begun. Its methods are called by one goroutine at a time.
type Pending interface {
	// Expire is when the request is to be aborted if it is not answered.
	Expire() time.Time
	// Abort has the request answered for want of time, or of somebody who waits, as cause
	// says. It may be called at any time.
	Abort(cause error)
	// Heavy reports whether making the reply may take longer than others should wait; it is
	// called after Exchange.Answered was.
	Heavy() bool
	// Reply returns the reply; it is called once at most, after Exchange.Answered was.
	Reply() Reply
	// End follows, in any case, after Exchange.Answered was called. delivered says that the
	// kernel has all of the reply.
	End(delivered bool)
}

// Reply is the reply to a request that was begun.
type Reply struct {
	Code   int
	Header string // lines that all end with CR LF; Date and Content-Length are added
	Body   []byte
	// Large takes the place of Body, with its size in bytes, where the body is written
	// better in pieces.
	Large io.WriterTo
	Size  int
	// Timeout is how long the client may take to read it.
	Timeout time.Duration
}

// size returns the length of the body.
func (r *Reply) size() int {
	if r.Large != nil {
		return r.Size
	}
	return len(r.Body)
}

// Exchange is a request that may be begun, and its reply.
type Exchange struct {
	// Request is the head of the request, which has come whole. Its body is not to be read.
	Request *http.Request
	// Begun is when it was read.
	Begun time.Time
	// Admitted is what Begin has to tell the Handler to which it leaves the request, by the
	// method Admitted of the http.ResponseWriter.
	Admitted bool

	c       *conn
	w       *crowd
	pending Pending
	dropped bool // unwanted when the reply was to be written

	// Guarded by crowd.mu.
	lost     bool      // the client has closed its side
	unwanted bool      // aborted for that
	early    bool      // it was answered before it was begun, as it were
	expire   time.Time // zero when it was aborted
}

// Peer returns what Server.Greet returned for the connection; nil without it.
func (x *Exchange) Peer() any { return x.c.peer }

// Answered says that there is a reply. It is called once for a request that was begun, by
// any goroutine, also before Begin returns. It does not block.
func (x *Exchange) Answered() { x.w.answered(x) }

// rest is what is left of a reply for the goroutine of the connection.
type rest struct {
	x     *Exchange
	head  []byte // nil if it is all left, to make the reply as well
	reply Reply
	sent  int  // of the head and the body
	last  bool // the connection ends with it
}

// write writes what is left. It returns false when that cannot be.
func (t *rest) write(c *conn) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			ok = false
			c.s.panicked(t.x.Request, v)
		}
		t.x.pending.End(ok)
	}()
	if t.head == nil {
		t.reply = t.x.pending.Reply()
		t.head = t.reply.appendHead(nil, appendDate(nil, time.Now()), t.last)
	}
	_ = c.deadline.setWrite(time.Now().Add(t.reply.Timeout)) // Writing tells what is wrong with it.
	var bufs net.Buffers
	if n := len(t.head); t.sent < n {
		bufs, t.sent = append(bufs, t.head[t.sent:]), n
	}
	if t.reply.Large == nil {
		bufs = append(bufs, t.reply.Body[t.sent-len(t.head):])
	}
	if err := c.writeBuffers(&bufs); err != nil {
		return false
	}
	if t.reply.Large != nil {
		_, err := t.reply.Large.WriteTo(c.nc)
		return err == nil
	}
	return true
}

// appendHead appends the head of the reply to b; date is its line.
func (r *Reply) appendHead(b, date []byte, last bool) []byte {
	b = append(append(appendStatus(b, r.Code), date...), r.Header...)
	b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(r.size()), 10), "\r\n"...)
	if last {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

// appendStatus appends the first line of a reply.
func appendStatus(b []byte, code int) []byte {
	b = append(strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(code), 10), ' ')
	return append(append(b, http.StatusText(code)...), "\r\n"...)
}

// appendDate appends the line that says when the reply was made.
func appendDate(b []byte, now time.Time) []byte {
	return append(now.UTC().AppendFormat(append(b, "Date: "...), http.TimeFormat), "\r\n"...)
}
