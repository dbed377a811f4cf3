package serve

import (
	"io"
	"net/http"
	"time"
)

// Beginner begins requests that need no goroutine of their own; see Server.Begin.
type Beginner interface {
	// NewBatch returns a batch, for one goroutine.
	NewBatch() Batch
}

// Batch begins requests. It belongs to one goroutine.
type Batch interface {
	// Begin begins what a request asks for, and returns what there is to know of it. Nil
	// leaves the request to Server.Handler. The body lies in a buffer that others use when Begin returns.
	Begin(x *Exchange, body []byte) Pending
	// Serve serves all that was begun since the last call, which may take as long as the
	// device does; with handOver it leaves that to others and returns at once.
	Serve(handOver bool)
}

// Pending is a request that was begun. Its methods are called by one goroutine at a time.
type Pending interface {
	// Expire is when the request is to be aborted if it is not answered.
	Expire() time.Time
	// Abort has the request answered for want of time, or of somebody who waits, as cause
	// says. It may be called at any time.
	Abort(cause error)
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

	c        *conn
	w        *crowd
	pending  Pending
	unwanted bool // lost when it was to be written

	// Guarded by crowd.mu.
	lost   bool      // nobody waits for the reply
	early  bool      // it was answered before it was begun, as it were
	expire time.Time // zero when it was aborted
}

// Peer returns what Server.Greet returned for the connection; nil without it.
func (x *Exchange) Peer() any { return x.c.peer }

// Answered says that there is a reply. It is called once for a request that was begun, by
// any goroutine, also before Begin returns. It does not block.
func (x *Exchange) Answered() { x.w.answered(x) }

// rest is a reply of which the kernel has not taken all.
type rest struct {
	x     *Exchange
	head  []byte
	reply Reply
	sent  int  // of the head and the body; below 0 if the connection is broken
	last  bool // the connection ends with it
}

// write writes what is left. It returns false when that cannot be.
func (t *rest) write(c *conn) (ok bool) {
	defer func() { t.x.pending.End(ok) }()
	if t.sent < 0 {
		return false
	}
	_ = c.deadline.setWrite(time.Now().Add(t.reply.Timeout)) // Writing tells what is wrong with it.
	if n := len(t.head); t.sent < n {
		if _, err := c.nc.Write(t.head[t.sent:]); err != nil {
			return false
		}
		t.sent = n
	}
	if t.reply.Large != nil {
		_, err := t.reply.Large.WriteTo(c.nc)
		return err == nil
	}
	_, err := c.nc.Write(t.reply.Body[t.sent-len(t.head):])
	return err == nil
}
