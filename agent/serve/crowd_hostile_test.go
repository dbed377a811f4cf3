package serve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/poll"
	"github.com/kapetan-io/querator-edge/agent/serve"
)

// A request behind one that fills what is read at first is read, too.
func TestCrowdPipelinedBehindAFullBuffer(t *testing.T) {
	_, path := crowded(t, &serve.Server{})
	for _, size := range []int{4095, 4096, 4097} {
		c, r := member(t, path)
		body := strings.Repeat("b", size-len(post("/now", strings.Repeat("b", 4000)))+4000)
		first := post("/now", body)
		if len(first) != size {
			t.Fatalf("the request has %d bytes, want %d", len(first), size)
		}
		send(t, c, first+post("/now", "second"))
		for _, text := range []string{body, "second"} {
			if _, got := answer(t, r); !strings.HasSuffix(got, text) {
				t.Fatalf("size %d: answered %.100q", size, got)
			}
		}
	}
}

// One that is answered when it is begun has no time of its own, and does not end that of
// others.
func TestCrowdRefusalsLeaveTimesAlone(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	c, r := member(t, path)
	send(t, c, post("/wait", "200ms"))
	eventually(t, "it waits", func() bool { return look(e, func() int { return len(e.waiting) }) == 1 })
	other, r2 := member(t, path)
	send(t, other, post("/refused", "no"))
	want(t, r2, "no")
	want(t, r, "200ms")
}

// A client that has said that it asks for nothing more gets an answer that takes a moment;
// it is not taken for gone before.
func TestCrowdHalfClosed(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	for range 20 {
		c, r := member(t, path)
		send(t, c, post("/later", "half"))
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			continue // On a busy machine a moment may be over; hasty tells.
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != 200 {
			t.Errorf("answered %d, %v", resp.StatusCode, err)
		}
	}
	if n := look(e, func() int { return e.hasty }); n > 0 {
		t.Errorf("%d were taken for gone at once", n)
	}
}

// Shutdown returns with its context, also while the device has a reader.
func TestCrowdShutdownWithAHungDevice(t *testing.T) {
	s := &serve.Server{}
	e, path := crowded(t, s)
	c, _ := member(t, path)
	send(t, c, post("/stuck", "1"))
	eventually(t, "it is served", func() bool { return look(e, func() int { return len(e.batches) }) == 1 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	close(e.gate)
}

// lendsOnce is a connection whose descriptor can be had once, as if none were free later.
type lendsOnce struct {
	*poll.Conn
	n atomic.Int32
}

func (c *lendsOnce) Lend() (int, bool) {
	if c.n.Add(1) > 1 {
		return -1, false
	}
	return c.Conn.Lend()
}

type lendingOnce struct{ net.Listener }

func (l lendingOnce) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lendsOnce{Conn: poll.New(nc)}, nil
}

// Who cannot come back to the crowd is served by the goroutine of the connection.
func TestCrowdThatCannotBeJoinedAgain(t *testing.T) {
	e := &engine{gate: make(chan struct{})}
	path := serving(t, &serve.Server{Begin: e}, echo)
	l, err := net.Listen("unix", path+"2")
	if err != nil {
		t.Fatal(err)
	}
	s := &serve.Server{Begin: e, Handler: http.HandlerFunc(echo)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(lendingOnce{l}) }()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	c, r := dial(t, path+"2")
	send(t, c, post("/first", "1"))
	want(t, r, "1")
	send(t, c, post("/large", ""))
	want(t, r, large)
	for i := range 3 {
		send(t, c, post("/now", fmt.Sprint(i)))
		want(t, r, fmt.Sprint(i))
	}
	if n := e.begun.Load(); n != 1 {
		t.Errorf("%d requests were begun, want the one before", n)
	}
}

// A bug ends the connection that it shows on, and no other.
func TestCrowdBugs(t *testing.T) {
	var mu sync.Mutex
	var text bytes.Buffer
	s := &serve.Server{ErrorLog: log.New(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(p)
	}), "", 0)}
	_, path := crowded(t, s)
	other, r := member(t, path)
	for i, what := range []string{"/panic-begin", "/panic-reply", "/panic-heavy", "/panic-serve"} {
		c, r2 := member(t, path)
		send(t, c, post(what, "p"))
		if what == "/panic-serve" {
			want(t, r2, "p") // It was answered before.
		} else {
			ended(t, r2)
		}
		send(t, other, post("/now", "on"))
		want(t, r, "on")
		mu.Lock()
		if n := strings.Count(text.String(), "BUG: panic"); n != i+1 {
			t.Errorf("after %s %d panics are logged", what, n)
		}
		mu.Unlock()
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
