package api

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/serve"
	"github.com/kapetan-io/querator-edge/queue"
)

// NewBatch is serve.Beginner: the four calls by which items go through a queue are begun
// without a goroutine for each, as far as they are small.
func (h *Handler) NewBatch(early func()) serve.Batch {
	return &batch{h: h, b: queue.Batch{Early: early}}
}

// batch is calls that were begun together.
type batch struct {
	h *Handler
	b queue.Batch
}

// Serve is serve.Batch.
func (b *batch) Serve(how serve.Serving) {
	switch how {
	case serve.HandOver:
		b.b.HandOver()
	case serve.Alone:
		b.b.ServeAlone()
	default:
		b.b.Serve()
	}
}

// Begin is serve.Batch.
func (b *batch) Begin(x *serve.Exchange, body []byte) serve.Pending {
	r := x.Request
	kind := frame.CallOf(r.URL.Path)
	if kind == frame.Cancel || r.Method != http.MethodPost || int64(len(body)) > min(smallBody, b.h.routes[kind.Path()].limit) {
		return nil
	}
	in, _, known := parseFormat(r.Header.Get("Content-Type"))
	out, err := acceptedFormat(r.Header)
	if !known || err != nil || !isToken(r.Header.Get("Authorization")) {
		return nil // The handler knows what to say.
	}
	e := &exchange{begunCall: begunCall{call: call{h: b.h, hasty: true}, kind: kind, begun: x.Begun}, x: x, out: out}
	e.peer, _ = x.Peer().(*access.Peer)
	e.wait.Answered = x.Answered
	switch e.err = e.begin(&b.b, in, body); {
	case errors.Is(e.err, errWaits):
		e.release()
		x.Admitted = true
		return nil
	case e.err != nil:
		x.Answered()
	}
	return e
}

// errWaits: the call would have to wait for room.
var errWaits = errors.New("no room at once")

// exchange is a call over HTTP that was begun.
type exchange struct {
	begunCall
	x      *serve.Exchange
	out    format
	expire time.Time
}

// begin begins the call. An error is the answer, or errWaits.
func (e *exchange) begin(b *queue.Batch, in format, body []byte) error {
	e.op = e.h.routes[e.kind.Path()].op
	if err := e.h.guard.Admit(e.peer); err != nil {
		return err
	}
	n := int64(len(body))
	if err := e.reserve(n, n); err != nil {
		return err
	}
	expire, err := e.start(b, in, bytes.Clone(body), 0)
	if err == nil {
		e.expire = expire
	}
	return err
}

// Expire is serve.Pending.
func (e *exchange) Expire() time.Time { return e.expire }

// Abort is serve.Pending.
func (e *exchange) Abort(cause error) {
	if !e.expire.IsZero() { // Else it was not begun, and is answered.
		e.wait.Abort(cause)
	}
}

// heavyLease is from what size on making the reply to a lease is heavy, in bytes.
const heavyLease = 128 << 10

// Heavy is serve.Pending.
func (e *exchange) Heavy() bool { return e.lease != nil && e.wait.LeasedBytes() > heavyLease }

// Heads of replies.
const (
	headJSON     = "X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n"
	headProtobuf = "X-Content-Type-Options: nosniff\r\nContent-Type: application/protobuf\r\n"
)

// Reply is serve.Pending.
func (e *exchange) Reply() serve.Reply {
	code, text, lease := e.result(e.out, false)
	r := serve.Reply{Code: code, Header: headJSON, Body: text, Timeout: e.h.bodyTimeout}
	if e.out == formatProtobuf {
		r.Header = headProtobuf
	}
	switch {
	case lease == nil:
		e.take(int64(len(text)))
	case len(lease.cuts) == 0:
		r.Body = lease.b
	default:
		r.Large, r.Size = lease, lease.size()
	}
	return r
}

// End is serve.Pending.
func (e *exchange) End(delivered bool) { e.end(delivered, time.Now()) }
