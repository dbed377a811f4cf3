package serve

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// response is the reply to one request. It implements http.ResponseWriter and
// what http.ResponseController asks for. It belongs to the goroutine of its
// connection.
type response struct {
	c      *conn
	req    *http.Request
	body   *body
	header http.Header
	begun  bool // the head is written, into the buffer at least
	chunks bool
	close  bool // the connection ends with the reply
	left   int64
	err    error // of the connection
	cancel func()
	lent   bool // the handler has the connection, and the reply is its own
}

// maxJoined is the greatest part of a reply that is copied behind the head, to
// be written with it; a larger one is written beside it.
const maxJoined = 8 << 10

// Header returns the header, which counts until the first write.
func (w *response) Header() http.Header { return w.header }

// Peer returns what Server.Greet returned for the connection; nil without it.
func (w *response) Peer() any { return w.c.peer }

// Admitted returns what a Batch said that left the request to the handler; see Exchange.
func (w *response) Admitted() bool { return w.c.admitted }

// Hijack lends the connection to the handler until that returns; then it is closed. The
// reader has what was read already. It is http.Hijacker but for that.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.begun || w.lent {
		return nil, nil, http.ErrHijacked
	}
	w.lent = true
	c := w.c
	c.watch.end() // Nobody else reads from it.
	if c.waits != nil {
		c.waits.SetBusy(&c.s.polls, false)
	}
	_ = c.deadline.setRead(time.Time{})  // Whoever has it sets its own.
	_ = c.deadline.setWrite(time.Time{}) // As above.
	return c.nc, bufio.NewReadWriter(c.r, bufio.NewWriter(c.nc)), nil
}

// SetBusy says whether the connection is at work while the handler has it; in the
// beginning it is not. Others wait in another way meanwhile (package poll). One goroutine
// at a time may call it.
func (w *response) SetBusy(busy bool) {
	if w.c.waits != nil {
		w.c.waits.SetBusy(&w.c.s.polls, busy)
	}
}

// Leaving is closed when the server drains: clients are to end what they have under way.
func (w *response) Leaving() <-chan struct{} { return w.c.s.leaving() }

// WriteHeader begins the reply. Only the first call counts.
func (w *response) WriteHeader(code int) {
	if w.begun || w.lent {
		return
	}
	w.begun = true
	w.close = w.req.Close || w.req.ProtoMinor == 0 || w.header.Get("Connection") == "close" || w.c.s.draining.Load()
	length := w.header.Get("Content-Length")
	n, err := strconv.ParseInt(length, 10, 64)
	switch {
	case length != "" && err == nil:
		w.left = n
	case w.req.ProtoMinor == 0:
		w.left = 1<<63 - 1 // Up to the end of the connection.
	default:
		w.chunks = true
	}
	b := appendDate(appendStatus(w.c.out[:0], code), time.Now())
	for name, values := range w.header {
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	if w.chunks {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.close && w.header.Get("Connection") == "" {
		b = append(b, "Connection: close\r\n"...)
	}
	w.c.out = append(b, "\r\n"...)
}

// Write writes a part of the body.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.lent:
		return 0, http.ErrHijacked
	case w.err != nil:
		return 0, w.err
	case len(p) == 0 || w.req.Method == http.MethodHead:
		return len(p), nil
	case w.chunks:
		w.c.out = fmt.Appendf(w.c.out, "%x\r\n", len(p))
		w.join(p)
		w.c.out = append(w.c.out, "\r\n"...)
	case int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	default:
		w.left -= int64(len(p))
		w.join(p)
	}
	return len(p), w.err
}

// join puts p behind what waits in the buffer, or writes both.
func (w *response) join(p []byte) {
	if len(w.c.out)+len(p) <= maxJoined {
		w.c.out = append(w.c.out, p...)
		return
	}
	bufs := net.Buffers{w.c.out, p}
	err := w.c.writeBuffers(&bufs)
	w.c.out = w.c.out[:0]
	w.fail(err)
}

// flush writes what waits in the buffer.
func (w *response) flush() {
	if w.err == nil && len(w.c.out) > 0 {
		_, err := w.c.nc.Write(w.c.out)
		w.fail(err)
	}
	w.c.out = w.c.out[:0]
	if cap(w.c.out) > keepOut {
		w.c.out = nil
	}
}

// fail notes an error of the connection, which ends the context of the request.
func (w *response) fail(err error) {
	if err != nil && w.err == nil {
		w.err = err
		w.cancel()
	}
}

// finish writes the end of the reply. It returns false when the connection
// cannot be used again.
func (w *response) finish() bool {
	if w.lent {
		return false
	}
	if !w.begun && w.header.Get("Content-Length") == "" {
		w.header.Set("Content-Length", "0")
	}
	w.WriteHeader(http.StatusOK)
	if w.chunks && w.req.Method != http.MethodHead {
		w.c.out = append(w.c.out, "0\r\n\r\n"...)
	}
	w.flush()
	short := !w.chunks && w.left > 0 && w.req.Method != http.MethodHead
	return w.err == nil && !short && !w.close
}

// sendContinue tells a client that waits for it to send the body.
func (w *response) sendContinue() error {
	if w.begun {
		return nil
	}
	_, err := w.c.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	w.fail(err)
	return err
}

// FlushError writes what is there of the reply.
func (w *response) FlushError() error {
	w.WriteHeader(http.StatusOK)
	w.flush()
	return w.err
}

// SetReadDeadline bounds the time for the body of the request.
func (w *response) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && !w.body.ended.Load() { // Else the watch may be reading.
		if b, ok := w.body.rc.(*sized); ok && b.left <= int64(w.c.r.Buffered()) {
			return nil // It is there.
		}
	}
	return w.c.deadline.setRead(t)
}

// SetWriteDeadline bounds the time for the reply; up to an eighth of it may be missing.
func (w *response) SetWriteDeadline(t time.Time) error { return w.c.deadline.setWrite(t) }
