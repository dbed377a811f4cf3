package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/serve"
)

// alone makes one short request after the other, so that the server takes the
// connection for one that is alone.
func alone(t *testing.T, c net.Conn, r *bufio.Reader) {
	t.Helper()
	for i := range 40 {
		text := fmt.Sprint(i)
		send(t, c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "+fmt.Sprint(len(text))+"\r\n\r\n"+text)
		if resp, got := answer(t, r); got != text || resp.code != 200 {
			t.Fatalf("request %d: got %d %q", i, resp.code, got)
		}
	}
}

// awaitWatch waits until somebody reads from a connection whose handler runs on.
func awaitWatch(t *testing.T) {
	t.Helper()
	awaitCall(t, "nobody looks for the client", "serve.(*watch).look(")
}

// awaitCall waits until a goroutine is in one of these calls.
func awaitCall(t *testing.T, otherwise string, calls ...string) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for begun := time.Now(); time.Since(begun) < 10*time.Second; runtime.Gosched() {
		n := runtime.Stack(buf, true)
		for _, call := range calls {
			if bytes.Contains(buf[:n], []byte(call)) {
				return
			}
		}
	}
	t.Fatal(otherwise)
}

// large is a reply that no socket takes at once.
var large = strings.Repeat("0123456789abcdef", 1<<19)

// A client that was alone for a while may do all that any client may.
func TestAloneAndThen(t *testing.T) {
	begun, proceed, gone := make(chan struct{}, 16), make(chan struct{}, 16), make(chan struct{}, 1)
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = io.WriteString(w, large)
		case "/slow":
			text, _ := io.ReadAll(r.Body) // Nobody looks for the client before it is read.
			begun <- struct{}{}
			select {
			case <-proceed:
				_, _ = w.Write(text)
			case <-r.Context().Done(): // The test has failed.
			}
		case "/stay":
			<-r.Context().Done()
			gone <- struct{}{}
		default:
			echo(w, r)
		}
	}
	wants := func(t *testing.T, r *bufio.Reader, texts ...string) {
		t.Helper()
		for _, want := range texts {
			if resp, got := answer(t, r); got != want || resp.code != 200 {
				t.Fatalf("got %d and %d bytes %.20q, want %.20q", resp.code, len(got), got, want)
			}
		}
	}
	const one = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
	const two = "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ntwo"
	const end = "POST /stay HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for name, then := range map[string]func(t *testing.T, s *serve.Server, c net.Conn, r *bufio.Reader){
		"many at once": func(t *testing.T, _ *serve.Server, c net.Conn, r *bufio.Reader) {
			proceed <- struct{}{}
			send(t, c, one+two+one+one)
			wants(t, r, "one", "two", "one", "one")
		},
		"byte by byte": func(t *testing.T, _ *serve.Server, c net.Conn, r *bufio.Reader) {
			for i := range one {
				send(t, c, one[i:i+1])
			}
			wants(t, r, "one")
		},
		"the next one while the handler runs": func(t *testing.T, _ *serve.Server, c net.Conn, r *bufio.Reader) {
			for range 3 {
				send(t, c, two)
				<-begun
				awaitWatch(t)
				send(t, c, one)
				proceed <- struct{}{}
				wants(t, r, "two", "one")
			}
		},
		"half closed": func(t *testing.T, _ *serve.Server, c net.Conn, r *bufio.Reader) {
			send(t, c, one)
			if err := c.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wants(t, r, "one")
			ended(t, r)
		},
		"large both ways": func(t *testing.T, _ *serve.Server, c net.Conn, r *bufio.Reader) {
			for range 3 {
				send(t, c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
				wants(t, r, large)
				done := make(chan error, 1)
				go func() {
					_, err := io.Copy(c, io.MultiReader(
						strings.NewReader("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "+fmt.Sprint(len(large))+"\r\n\r\n"),
						bytes.NewReader([]byte(large))))
					done <- err
				}()
				wants(t, r, large)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				alone(t, c, r)
			}
		},
		"gone": func(t *testing.T, _ *serve.Server, c net.Conn, _ *bufio.Reader) {
			send(t, c, end)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Fatal("the handler is not told")
			}
		},
		"silent": func(t *testing.T, _ *serve.Server, _ net.Conn, r *bufio.Reader) {
			ended(t, r) // After IdleTimeout.
		},
		"silent in the middle": func(t *testing.T, _ *serve.Server, c net.Conn, r *bufio.Reader) {
			send(t, c, one[:20])
			ended(t, r) // After HeaderTimeout.
		},
		"shutdown": func(t *testing.T, s *serve.Server, c net.Conn, r *bufio.Reader) {
			send(t, c, two)
			<-begun
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			ending := make(chan error, 1)
			go func() { ending <- s.Shutdown(ctx) }()
			for { // It has begun when nobody can connect any more.
				other, err := net.Dial("unix", c.RemoteAddr().String())
				if err != nil {
					break
				}
				_ = other.Close() // It was only a try.
			}
			proceed <- struct{}{}
			if err := <-ending; err != nil {
				t.Fatal(err)
			}
			wants(t, r, "two")
			ended(t, r)
		},
		"shutdown while it waits": func(t *testing.T, s *serve.Server, _ net.Conn, r *bufio.Reader) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			ended(t, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for len(begun) > 0 { // Of the ones before.
				<-begun
			}
			s := &serve.Server{}
			if strings.HasPrefix(name, "silent") {
				s.IdleTimeout, s.HeaderTimeout = 300*time.Millisecond, 300*time.Millisecond
			}
			c, r := dial(t, serving(t, s, handler))
			alone(t, c, r)
			then(t, s, c, r)
		})
	}
}
