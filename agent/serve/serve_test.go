package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/poll"
	"github.com/kapetan-io/querator-edge/agent/serve"
)

// serving starts a server with the handler and returns the path of its socket.
func serving(t *testing.T, s *serve.Server, h http.HandlerFunc) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = h
	done := make(chan error, 1)
	go func() { done <- s.Serve(polled{l}) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}

// polled is a listener whose connections can be waited for, as those of agent/listen.
type polled struct{ net.Listener }

func (l polled) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return poll.New(nc), nil
}

// dial opens a connection on which nothing takes longer than ten seconds.
func dial(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// reply is what the tests look at of an answer.
type reply struct {
	code   int
	date   string
	length int64
	close  bool
}

// answer reads one reply.
func answer(t *testing.T, r *bufio.Reader) (reply, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header.Get("Date"), resp.ContentLength, resp.Close}, string(text)
}

// ended asserts that the server has closed the connection.
func ended(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if b, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		rest, _ := r.Peek(r.Buffered())
		t.Fatalf("the connection goes on with %q, %v", append([]byte{b}, rest...), err)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = w.Write(text)
}

func TestRequestsOneAfterTheOther(t *testing.T) {
	c, r := dial(t, serving(t, &serve.Server{}, echo))
	send(t, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"+
		"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n")
	for _, want := range []string{"one", "two"} {
		if resp, got := answer(t, r); got != want || resp.code != 200 || resp.date == "" {
			t.Fatalf("got %d %q, want %q", resp.code, got, want)
		}
	}
	send(t, c, "GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if resp, got := answer(t, r); got != "" || !resp.close {
		t.Fatalf("got %q, close %v", got, resp.close)
	}
	ended(t, r)
}

func TestLargeAndChunkedReplies(t *testing.T) {
	big := strings.Repeat("0123456789", 100_000)
	path := serving(t, &serve.Server{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
		}
		_, _ = io.WriteString(w, big[:500_000])
		_, _ = io.WriteString(w, big[500_000:])
	})
	c, r := dial(t, path)
	for _, p := range []string{"/sized", "/chunked", "/sized"} {
		send(t, c, "GET "+p+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, got := answer(t, r); got != big || (resp.length < 0) != (p == "/chunked") {
			t.Fatalf("%s: %d bytes, content length %d", p, len(got), resp.length)
		}
	}
	send(t, c, "HEAD /sized HTTP/1.1\r\nHost: x\r\n\r\nGET /sized HTTP/1.0\r\n\r\n")
	head, err := http.ReadResponse(r, &http.Request{Method: http.MethodHead})
	if err == nil {
		err = head.Body.Close()
	}
	if err != nil || head.ContentLength != int64(len(big)) {
		t.Fatalf("HEAD: %+v, %v", head, err)
	}
	if _, got := answer(t, r); got != big {
		t.Fatalf("behind the HEAD: %d bytes", len(got))
	}
	ended(t, r)
}

func TestExpectContinue(t *testing.T) {
	c, r := dial(t, serving(t, &serve.Server{}, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		echo(w, req)
	}))
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	send(t, c, "ok")
	if _, got := answer(t, r); got != "ok" {
		t.Fatalf("got %q", got)
	}
	send(t, c, "POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if resp, _ := answer(t, r); resp.code != http.StatusForbidden {
		t.Fatalf("got %d", resp.code)
	}
	ended(t, r) // Whether the body comes cannot be known.
}

func TestBodyThatNobodyReads(t *testing.T) {
	path := serving(t, &serve.Server{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	c, r := dial(t, path)
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"+strings.Repeat("x", 1000)+
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer(t, r)
	answer(t, r) // The next request is found behind the body.
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"+strings.Repeat("x", 10_000))
	answer(t, r)
	ended(t, r)
}

func TestWhatIsNoRequest(t *testing.T) {
	path := serving(t, &serve.Server{MaxHeaderBytes: 1000}, echo)
	for text, want := range map[string]int{
		"bla\r\n\r\n":                       400,
		"GET / HTTP/1.1\r\n\r\n":            400,
		"GET / HTTP/2.0\r\nHost: x\r\n\r\n": 400,
		"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", 8000) + "\r\n\r\n": 431,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n":                  400,
	} {
		c, r := dial(t, path)
		send(t, c, text)
		if resp, _ := answer(t, r); resp.code != want {
			t.Errorf("%.40q: got %d, want %d", text, resp.code, want)
		}
	}
}

func TestTimeouts(t *testing.T) {
	path := serving(t, &serve.Server{IdleTimeout: 50 * time.Millisecond, HeaderTimeout: 50 * time.Millisecond}, echo)
	_, idle := dial(t, path)
	ended(t, idle)
	c, half := dial(t, path)
	send(t, c, "GET / HTTP/1.1\r\nHo")
	ended(t, half)
}

func TestClientThatGoesEndsTheContext(t *testing.T) {
	gone, begun := make(chan error, 1), make(chan struct{})
	path := serving(t, &serve.Server{}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(begun)
		select {
		case <-r.Context().Done():
			gone <- nil
		case <-time.After(10 * time.Second):
			gone <- errors.New("the context goes on")
		}
	})
	c, _ := dial(t, path)
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
	time.AfterFunc(30*time.Millisecond, func() { _, _ = io.WriteString(c, "x") }) // A body that takes its time.
	<-begun
	c.Close()
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
}

// A handler that takes its time and a client that sends the next request
// meanwhile: nothing of it is lost.
func TestSlowHandlerKeepsTheNextRequest(t *testing.T) {
	release := make(chan struct{})
	path := serving(t, &serve.Server{}, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/slow" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = w.Write(text)
	})
	c, r := dial(t, path)
	send(t, c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nslow")
	time.AfterFunc(40*time.Millisecond, func() { close(release) })
	if _, got := answer(t, r); got != "slow" {
		t.Fatalf("got %q", got)
	}
	send(t, c, "POST /fast HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfast")
	if _, got := answer(t, r); got != "fast" {
		t.Fatalf("after a slow one: %q", got)
	}
}

func TestPanicEndsTheConnectionOnly(t *testing.T) {
	path := serving(t, &serve.Server{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("on purpose")
		}
		echo(w, r)
	})
	c, r := dial(t, path)
	send(t, c, "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")
	ended(t, r)
	c, r = dial(t, path)
	send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer(t, r)
}

func TestShutdownLetsRepliesFinish(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := &serve.Server{}
	path := serving(t, s, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		w.WriteHeader(200)
	})
	_, idle := dial(t, path)
	c, r := dial(t, path)
	send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("shutdown with a request under way: %v", err)
	}
	ended(t, idle)
	close(release)
	answer(t, r)
	ended(t, r)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// While the server drains nobody who is there loses a request: what is under way is answered, and so is the first
// request of a connection that had none. What comes after the reply goes to the next server.
func TestDrain(t *testing.T) {
	begun, release := make(chan struct{}, 2), make(chan struct{})
	s := &serve.Server{}
	path := serving(t, s, func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-release
		w.WriteHeader(200)
	})
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	fresh, freshReader := dial(t, path)
	busy, busyReader := dial(t, path)
	send(t, busy, request)
	<-begun
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	for c, err := net.Dial("unix", path); err == nil; c, err = net.Dial("unix", path) {
		c.Close() // Until the listener is closed.
	}
	send(t, fresh, request)
	<-begun
	close(release)
	for _, r := range []*bufio.Reader{busyReader, freshReader} {
		if got, _ := answer(t, r); got.code != 200 || !got.close {
			t.Errorf("got %+v, want 200 and the end of the connection", got)
		}
		ended(t, r)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestDrainEndsIdleConnections(t *testing.T) {
	s := &serve.Server{}
	path := serving(t, s, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	_, silent := dial(t, path) // Accepted before the next one is.
	c, r := dial(t, path)
	send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	// The one that never asked is waited for; whoever shuts down then ends it.
	if err := s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain: %v", err)
	}
	ended(t, r)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ended(t, silent)
}

// Whoever connects is met before anything is read, and is known to every reply of the connection.
func TestGreet(t *testing.T) {
	var mu sync.Mutex
	greeted, left := 0, []any{}
	s := &serve.Server{
		Greet: func(nc net.Conn) (any, []byte) {
			mu.Lock()
			defer mu.Unlock()
			if greeted++; greeted == 2 {
				return nil, []byte("HTTP/1.1 454 Retry Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			}
			return fmt.Sprint("peer ", greeted), nil
		},
		Leave: func(peer any) {
			mu.Lock()
			defer mu.Unlock()
			left = append(left, peer)
		},
	}
	path := serving(t, s, func(w http.ResponseWriter, _ *http.Request) {
		peer := w.(interface{ Peer() any }).Peer()
		_, _ = fmt.Fprint(w, peer)
	})
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	c, r := dial(t, path)
	send(t, c, request+request)
	for range 2 {
		if _, got := answer(t, r); got != "peer 1" {
			t.Errorf("the peer is %q", got)
		}
	}
	_, r2 := dial(t, path)
	if resp, got := answer(t, r2); resp.code != 454 || got != "no" {
		t.Errorf("refused with %d %q", resp.code, got)
	}
	ended(t, r2)
	c3, r3 := dial(t, path)
	send(t, c3, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if _, got := answer(t, r3); got != "peer 3" {
		t.Errorf("the peer is %q", got)
	}
	ended(t, r3)
	c.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(left) != 2 || left[0] == left[1] {
		t.Errorf("those who left: %v", left)
	}
}
