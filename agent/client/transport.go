package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/agent/poll"
)

// localTransport carries requests over local connections, one at a time on each, in the goroutine of the caller.
// The transport of net/http has two goroutines for each connection; handing a request from one to the next costs
// more than everything else on the way to an agent of the same machine. It is safe for use by any goroutine.
type localTransport struct {
	dial func(ctx context.Context) (net.Conn, error)

	polls   poll.Group
	under   atomic.Int32 // exchanges that are under way
	streams streams

	mu   sync.Mutex
	idle []*localConn // the one used last is at the end; at most idleConns
}

// localConn is one connection. It belongs to one request at a time, or to the idle ones.
type localConn struct {
	*poll.Conn
	r     *bufio.Reader
	head  []byte
	since time.Time // idle
}

// idleBeside is how many connections stay open beside a stream, on which most calls are made then.
const idleBeside = 4

// maxHead bounds the buffer of a connection that requests are written from; a larger body is written by itself.
const maxHead = 64 << 10

var _ http.RoundTripper = (*localTransport)(nil)

// RoundTrip sends a request and reads the head of the answer. The connection is free for the next request when
// the body of the answer has been read to its end.
func (t *localTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	ctx := req.Context()
	c, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	// What blocks ends when the context does.
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	}
	writeErr := c.send(req)
	if writeErr != nil {
		// The agent may have answered without reading everything.
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
	}
	resp, err := http.ReadResponse(c.r, req)
	if err != nil {
		stop()
		_ = c.Close() // It is of no use any more.
		return nil, t.failure(ctx, writeErr, err)
	}
	resp.Body = &localBody{ReadCloser: resp.Body, t: t, c: c, stop: stop, keep: writeErr == nil && !resp.Close}
	return resp, nil
}

// failure says why there is no answer.
func (t *localTransport) failure(ctx context.Context, writeErr, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case writeErr != nil:
		return writeErr
	}
	return err
}

// send writes the request, in one piece when it is not large.
func (c *localConn) send(req *http.Request) error {
	if req.ContentLength < 0 || len(req.TransferEncoding) > 0 {
		return req.Write(c.Conn)
	}
	b := fmt.Appendf(c.head[:0], "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n",
		req.Method, req.URL.RequestURI(), req.URL.Host, req.ContentLength)
	for name, values := range req.Header {
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	b = append(b, "\r\n"...)
	n := int(req.ContentLength)
	whole := n <= maxHead-len(b)
	if whole && n > 0 {
		begin := len(b)
		b = append(b, make([]byte, n)...)
		if _, err := io.ReadFull(req.Body, b[begin:]); err != nil {
			return err
		}
	}
	c.head = b
	if _, err := c.Write(b); err != nil || whole {
		return err
	}
	_, err := io.CopyN(c.Conn, req.Body, req.ContentLength)
	return err
}

// get returns an idle connection that is still open, or a new one.
func (t *localTransport) get(ctx context.Context) (*localConn, error) {
	for {
		c := t.pop()
		if c == nil {
			break
		}
		if time.Since(c.since) < idleTimeout && c.isOpen() {
			return c, nil
		}
		_ = c.Close() // Nothing is lost with it.
	}
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := poll.New(conn)
	return &localConn{Conn: c, r: bufio.NewReader(c)}, nil
}

func (t *localTransport) pop() *localConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.idle)
	if n == 0 {
		return nil
	}
	c := t.idle[n-1]
	t.idle[n-1] = nil
	t.idle = t.idle[:n-1]
	return c
}

// put keeps a connection for the next request.
func (t *localTransport) put(c *localConn) {
	c.since = time.Now()
	most := idleConns
	if t.streams.isOpen() {
		most = idleBeside
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle = append(t.idle, c)
	for len(t.idle) > most { // There are enough.
		_ = t.idle[0].Close()
		t.idle = slices.Delete(t.idle, 0, 1)
	}
}

// CloseIdleConnections closes the connections that are not in use.
func (t *localTransport) CloseIdleConnections() {
	t.streams.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		_ = c.Close() // Nothing is lost with it.
	}
	t.idle = nil
}

// isOpen looks whether the agent has closed an idle connection, or said something on it, without waiting: a request
// on such a connection would fail, and whether it was done could not be told.
func (c *localConn) isOpen() bool {
	return c.r.Buffered() == 0 && c.Quiet()
}

// localBody is the body of an answer. At its end the connection is free.
type localBody struct {
	io.ReadCloser
	t    *localTransport
	c    *localConn // nil when it has been given back
	stop func() bool
	keep bool
}

func (b *localBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.end(b.keep)
	}
	return n, err
}

func (b *localBody) Close() error {
	b.end(false)
	return nil
}

func (b *localBody) end(keep bool) {
	c := b.c
	if c == nil {
		return
	}
	b.c = nil
	// A context that has ended has spoilt the deadline of the connection, now or at any moment.
	if b.stop() && keep {
		b.t.put(c)
		return
	}
	_ = c.Close() // It is of no use any more.
}
