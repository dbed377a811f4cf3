package client

// What an agent sends is made up here, between the calls of a stream, which the exported calls hide.

import (
	"bytes"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/frame"
)

// recorded is a connection to an agent that says what it says whatever it is told.
type recorded struct {
	net.Conn // nil: nothing else is called
	first    *strings.Reader
	come     chan struct{} // closed when the rest may come
	rest     *bytes.Reader
	closed   chan struct{}
	once     sync.Once
}

func (c *recorded) Read(p []byte) (int, error) {
	if c.first.Len() > 0 {
		return c.first.Read(p)
	}
	select {
	case <-c.come:
		return c.rest.Read(p)
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *recorded) Write(p []byte) (int, error) { return len(p), nil }
func (c *recorded) Close() error                { c.once.Do(func() { close(c.closed) }); return nil }

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + frame.Protocol + "\r\n\r\n"

// FuzzStreamReplies takes any bytes for what the agent sends: behind the heads of a stream, or instead of them.
func FuzzStreamReplies(f *testing.F) {
	reply := func(id uint32, code uint16, body string) string {
		return string(frame.AppendReply(nil, frame.Reply{ID: id, Code: code, Body: uint32(len(body))})) + body
	}
	for _, s := range []string{
		"",
		reply(1, 200, "one") + reply(3, 400, "") + reply(2, 200, "two"),
		reply(1, 200, "") + reply(1, 200, ""),
		reply(4, 200, ""),
		reply(0, frame.Bye, "") + reply(2, 200, "two"),
		reply(0, 400, "broken") + reply(1, 200, ""),
		reply(0, 400, "\x08\xf4\x03\x12\x00\x1a\x02no"),
		"\x00\x00\x00\x05" + strings.Repeat("\x00", 12),
		"\x0f\xff\xff\xff\x00\x00\x00\x01\x00\xc8 less than it says",
		"\xff\xff\xff\xff\x00\x00\x00\x01\x00\xc8",
		reply(1, 200, strings.Repeat("x", 40_000))[:39_000],
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(switched+s), false)
	}
	for _, s := range []string{
		"HTTP/1.1 501 Not Implemented\r\nContent-Length: 4\r\n\r\nnone",
		"HTTP/1.1 454 Retry Request\r\nContent-Length: 400\r\n\r\nbreaks off",
		"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + switched,
		"HTTP/1.1 101\r\nContent-Length: 10\r\n\r\n",
		"SSH-2.0-agent\r\n",
	} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, heads bool) {
		c := &recorded{first: strings.NewReader(""), come: make(chan struct{}), rest: bytes.NewReader(data), closed: make(chan struct{})}
		if heads {
			c.first = strings.NewReader(switched)
		} else {
			close(c.come)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, code, err := openStream(t.Context(), c)
		if s == nil && err == nil && code == http.StatusSwitchingProtocols || s != nil && err != nil {
			t.Fatalf("opened %v, %d, %v", s, code, err)
		}
		if s != nil {
			checkCalls(t, s, c, heads)
		}
		select {
		case <-c.closed:
		default:
			t.Error("the connection is open")
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > maxReply+1<<20+100*uint64(len(data)) {
			t.Errorf("%d bytes of memory for %d of the agent", n, len(data))
		}
	})
}

// checkCalls has three calls under way when the data comes, and checks that each ends, with an answer or an error.
func checkCalls(t *testing.T, s *stream, c *recorded, heads bool) {
	var calls []*streamCall
	for range 3 {
		sc := &streamCall{done: make(chan struct{})}
		if _, ok := s.begin(sc, frame.Lease, []byte("body")); ok {
			calls = append(calls, sc)
		}
	}
	if heads {
		if len(calls) != 3 {
			t.Errorf("%d calls could be made before the agent said anything", len(calls))
		}
		close(c.come)
	}
	for _, sc := range calls {
		<-sc.done
		if (sc.a == nil) == (sc.err == nil) {
			t.Errorf("a call ended with %v, %v", sc.a, sc.err)
		}
	}
	s.close()
	s.goroutines.Wait()
	if _, ok := s.begin(&streamCall{}, frame.Lease, nil); ok {
		t.Error("a call was made after the end")
	}
}
