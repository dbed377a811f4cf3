package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/head"
)

// answer is a whole answer to a request.
type answer struct {
	code      int
	status    string // as "200 OK"; empty on a stream
	mediaType string
	body      []byte
}

// pollWait is how long the thread of a call waits for the answer by itself; most
// syncs are done by then.
const pollWait = 5 * time.Millisecond

// maxStreamed is the size of the largest request that is made on a stream: larger ones
// would keep others from being read, and gain little.
const maxStreamed = 8 << 10

// exchange sends a call and reads the whole answer. The call that is the kind's, if it
// is not 0, goes on a stream when others are under way.
func (t *localTransport) exchange(ctx context.Context, path string, kind frame.Call, body []byte) (*answer, error) {
	others := t.under.Add(1) > 1
	defer t.under.Add(-1)
	if kind != 0 && len(body) <= maxStreamed && t.streams.wanted(others) {
		if s := t.streams.get(ctx, t.dial); s != nil {
			t.polls.Add(1)
			a, err := s.call(ctx, kind, body)
			t.polls.Add(-1)
			if !errors.Is(err, errNotSent) {
				return a, err
			}
		}
	}
	return t.exchangeAlone(ctx, path, body)
}

// exchangeAlone sends a call on a connection of its own and reads the whole answer,
// without the requests and replies of net/http between where the answer is as the agent
// writes it.
func (t *localTransport) exchangeAlone(ctx context.Context, path string, body []byte) (*answer, error) {
	c, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	c.SetBusy(&t.polls, true)
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	}
	writeErr := c.sendCall(path, body)
	if writeErr != nil {
		// The agent may have answered without reading everything.
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
	} else {
		c.Wait(&t.polls, pollWait)
	}
	a, keep, err := c.readAnswer()
	c.SetBusy(&t.polls, false)
	// A context that has ended has spoilt the deadline of the connection, now or at any moment.
	if stop() && err == nil && keep && writeErr == nil {
		t.put(c)
	} else {
		_ = c.Close() // It is of no use any more.
	}
	if err != nil {
		return nil, t.failure(ctx, writeErr, err)
	}
	return a, nil
}

// sendCall writes a call, in one piece when it is not large.
func (c *localConn) sendCall(path string, body []byte) error {
	b := append(append(append(c.head[:0], "POST "...), path...), " HTTP/1.1\r\nHost: agent\r\n"+
		"Content-Type: "+contentType+"\r\nAccept: "+contentType+"\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	if len(b)+len(body) <= maxHead {
		b = append(b, body...)
		c.head = b
		_, err := c.Write(b)
		return err
	}
	c.head = b
	bufs := net.Buffers{b, body}
	_, err := c.WriteBuffers(&bufs)
	return err
}

// readAnswer reads an answer; keep is whether the connection can be used again.
func (c *localConn) readAnswer() (a *answer, keep bool, err error) {
	if _, err := c.r.Peek(1); err != nil {
		return nil, false, unexpected(err)
	}
	b, err := c.r.Peek(c.r.Buffered())
	if err != nil {
		return nil, false, err
	}
	h, n := head.Reply(b)
	if n == 0 {
		return c.readAnyAnswer()
	}
	if _, err := c.r.Discard(n); err != nil {
		return nil, false, err
	}
	if h.Length > maxReply {
		return nil, false, largeReply(h.Length)
	}
	a = &answer{code: h.Code, status: h.Status, mediaType: h.ContentType, body: make([]byte, h.Length)}
	_, err = io.ReadFull(c.r, a.body)
	return a, true, unexpected(err)
}

// readAnyAnswer reads an answer that is not as the agent writes most of them.
func (c *localConn) readAnyAnswer() (a *answer, keep bool, err error) {
	resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodPost})
	if err != nil {
		return nil, false, err
	}
	body, err := readReply(resp)
	return answerOf(resp, body), !resp.Close, err
}

func answerOf(resp *http.Response, body []byte) *answer {
	return &answer{code: resp.StatusCode, status: resp.Status, mediaType: resp.Header.Get("Content-Type"), body: body}
}

// unexpected makes an end between request and answer an error that says so.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // A reader of the standard library returns it as it is.
		return io.ErrUnexpectedEOF
	}
	return err
}

func largeReply(n int64) error {
	return fmt.Errorf("the reply has %d bytes, more than %d", n, maxReply)
}
