package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/serve"
)

// engine is a serve.Beginner that answers what its paths say:
//
//	/now      when the batch is served, with the body of the request
//	/early    before that, in the middle of it
//	/wait     when it is aborted, or by answer
//	/stuck    when the gate is opened, which the serving of its batch waits for
//	/large    with a body that no socket takes at once; /pieces the same as an io.WriterTo
//	/later    by somebody else, a moment later
//	/refused  when it is begun
//	/pass     not at all: it is left to the handler
//	/panic-begin, /panic-serve, /panic-reply, and /panic-heavy, which is a heavy one
type engine struct {
	gate chan struct{} // /stuck waits for it

	mu      sync.Mutex
	batches []int    // how many requests each batch had that had any
	handed  int      // batches that were to be handed over
	alone   int      // that were one client's alone
	waiting []*asked // of /wait
	ends    []bool   // delivered, in order
	causes  []error  // of aborts
	hasty   int      // aborts for want of the client, sooner than a moment after the request
	begun   atomic.Int64
}

// asked is a request.
type asked struct {
	e     *engine
	x     *serve.Exchange
	path  string
	body  string
	limit time.Duration
	once  sync.Once
}

type engineBatch struct {
	e     *engine
	early func()
	reqs  []*asked
}

func (e *engine) NewBatch(early func()) serve.Batch { return &engineBatch{e: e, early: early} }

func (b *engineBatch) Begin(x *serve.Exchange, body []byte) serve.Pending {
	path := x.Request.URL.Path
	switch path {
	case "/pass":
		x.Admitted = len(body) > 0
		return nil
	case "/panic-begin":
		panic("begin")
	}
	b.e.begun.Add(1)
	a := &asked{e: b.e, x: x, path: path, body: string(body), limit: time.Minute}
	if path == "/wait" && len(body) > 0 {
		a.limit, _ = time.ParseDuration(a.body)
	}
	if path == "/refused" {
		a.answer()
		return a
	}
	b.reqs = append(b.reqs, a)
	return a
}

func (b *engineBatch) Serve(how serve.Serving) {
	handOver := how == serve.HandOver
	reqs := slices.Clone(b.reqs)
	b.reqs = b.reqs[:0]
	if len(reqs) == 0 {
		return
	}
	e := b.e
	e.mu.Lock()
	e.batches = append(e.batches, len(reqs))
	switch how {
	case serve.HandOver:
		e.handed++
	case serve.Alone:
		e.alone++
	}
	e.mu.Unlock()
	for _, a := range reqs {
		if a.path == "/early" {
			a.answer()
		}
	}
	b.early()
	for _, a := range reqs {
		switch {
		case a.path == "/stuck" && handOver:
			go func() { <-e.gate; a.answer() }()
		case a.path == "/stuck":
			<-e.gate
			a.answer()
		case a.path == "/later":
			time.AfterFunc(time.Millisecond, a.answer)
		case a.path == "/panic-serve":
			a.answer()
			panic("serve")
		case a.path == "/wait":
			e.mu.Lock()
			e.waiting = append(e.waiting, a)
			e.mu.Unlock()
		default:
			a.answer()
		}
	}
}

func (a *asked) answer() { a.once.Do(a.x.Answered) }

func (a *asked) Expire() time.Time {
	if a.path == "/refused" {
		return time.Time{}
	}
	return a.x.Begun.Add(a.limit)
}

func (a *asked) Abort(cause error) {
	a.e.mu.Lock()
	a.e.causes = append(a.e.causes, cause)
	if errors.Is(cause, context.Canceled) && time.Since(a.x.Begun) < 10*time.Millisecond {
		a.e.hasty++
	}
	a.e.mu.Unlock()
	a.answer()
}

func (a *asked) Heavy() bool { return strings.HasSuffix(a.path, "heavy") }

func (a *asked) Reply() serve.Reply {
	r := serve.Reply{Code: 200, Header: "Content-Type: text/plain\r\n", Body: []byte(a.body), Timeout: 10 * time.Second}
	switch a.path {
	case "/panic-reply", "/panic-heavy":
		panic("reply")
	case "/large":
		r.Body = []byte(large)
	case "/pieces":
		r.Body, r.Large, r.Size = nil, strings.NewReader(large), len(large)
	}
	return r
}

func (a *asked) End(delivered bool) {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	a.e.ends = append(a.e.ends, delivered)
}

// look returns a part of what is known.
func look[T any](e *engine, what func() T) T {
	e.mu.Lock()
	defer e.mu.Unlock()
	return what()
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("%s: not within ten seconds", what)
		}
		<-time.After(time.Millisecond)
	}
}

// crowded starts a server with an engine. Its handler answers with "handler" and the body.
func crowded(t *testing.T, s *serve.Server) (*engine, string) {
	t.Helper()
	e := &engine{gate: make(chan struct{})}
	s.Begin = e
	path := serving(t, s, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		admitted := w.(interface{ Admitted() bool }).Admitted()
		text = fmt.Appendf(nil, "handler %v %s", admitted, text)
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = w.Write(text)
	})
	return e, path
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// member opens a connection that is in the crowd: its first request is the handler's.
func member(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, r := dial(t, path)
	send(t, c, post("/first", ""))
	if resp, text := answer(t, r); resp.code != 200 || text != "handler false " {
		t.Fatalf("the first request is answered %d %q", resp.code, text)
	}
	return c, r
}

// want reads an answer.
func want(t *testing.T, r *bufio.Reader, text string) reply {
	t.Helper()
	resp, got := answer(t, r)
	if resp.code != 200 || got != text || resp.length != int64(len(text)) || resp.date == "" {
		t.Fatalf("answered %+v %.100q, want %.100q", resp, got, text)
	}
	return resp
}

func TestCrowdAnswers(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	c, r := member(t, path)
	long := strings.Repeat("x", 60<<10)
	for i, body := range []string{"one", "", "two", long, "three"} {
		send(t, c, post("/now", body))
		if want(t, r, body); e.begun.Load() != int64(i+1) {
			t.Fatalf("%d requests were begun after %d", e.begun.Load(), i+1)
		}
	}
	eventually(t, "all were delivered", func() bool { return look(e, func() bool { return fmt.Sprint(e.ends) == "[true true true true true]" }) })
}

// What is not for it goes to the handler, whole, and the connection comes back later.
func TestCrowdLeavesToTheHandler(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	large := strings.Repeat("y", 200<<10)
	for name, text := range map[string]struct{ request, reply string }{
		"left":      {post("/pass", ""), "handler false "},
		"admitted":  {post("/pass", "a"), "handler true a"},
		"a query":   {post("/now?a", "b"), "handler false b"},
		"chunks":    {"POST /now HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n", "handler false c"},
		"too large": {post("/now", large), "handler false " + large},
	} {
		t.Run(name, func(t *testing.T) {
			c, r := member(t, path)
			before := e.begun.Load()
			send(t, c, text.request)
			if want(t, r, text.reply); e.begun.Load() != before {
				t.Error("it was begun")
			}
			// Others are like it, but not for ever.
			for i := range 40 {
				send(t, c, post("/now", "again"))
				if _, got := answer(t, r); got == "again" {
					return
				} else if got != "handler false again" || i == 39 {
					t.Fatalf("request %d is answered %q", i, got)
				}
			}
		})
	}
}

// A request that comes in two parts, at any place, and two at once.
func TestCrowdParts(t *testing.T) {
	_, path := crowded(t, &serve.Server{})
	text := post("/now", strings.Repeat("z", 10))
	for cut := 1; cut < len(text); cut++ {
		c, r := member(t, path)
		send(t, c, text[:cut])
		if cut%2 == 0 { // Late, else soon, or before the first part is read.
			awaitCall(t, "nobody waits for the rest", "serve.(*conn).readHead(", "serve.(*body).Read(")
		}
		send(t, c, text[cut:])
		if _, got := answer(t, r); !strings.HasSuffix(got, "zzzzzzzzzz") {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
	c, r := member(t, path)
	send(t, c, post("/now", "1")+post("/now", "2")+post("/now", "3"))
	for _, text := range []string{"1", "2", "3"} {
		if _, got := answer(t, r); !strings.HasSuffix(got, text) {
			t.Fatalf("got %q, want %s", got, text)
		}
	}
}

// While one batch is served those who ask meanwhile are the next one.
func TestCrowdIsServedTogether(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	const n = 20
	conns, readers := make([]net.Conn, n), make([]*bufio.Reader, n)
	for i := range conns {
		conns[i], readers[i] = member(t, path)
	}
	for round := range 50 {
		for i, c := range conns {
			send(t, c, post("/now", fmt.Sprint(round, i)))
		}
		for i, r := range readers {
			want(t, r, fmt.Sprint(round, i))
		}
	}
	if most := look(e, func() int { return slices.Max(e.batches) }); most < 2 {
		t.Errorf("no batch had more than %d requests", most)
	}
}

// A device that takes long holds up those whose requests it is about, and nobody else.
func TestCrowdWithASlowDevice(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	var stuck []*bufio.Reader
	other, r := member(t, path)
	for i := range 7 {
		c, r2 := member(t, path)
		send(t, c, post("/stuck", fmt.Sprint("stuck", i)))
		stuck = append(stuck, r2)
		eventually(t, "it is served", func() bool { return look(e, func() int { return len(e.batches) }) == 2*i+1 })
		send(t, other, post("/now", fmt.Sprint(i)))
		want(t, r, fmt.Sprint(i))
	}
	if n := look(e, func() int { return e.handed }); n == 0 {
		t.Error("nothing was handed over, however many readers are held up")
	}
	close(e.gate)
	for i, r := range stuck {
		want(t, r, fmt.Sprint("stuck", i))
	}
	send(t, other, post("/now", "on"))
	want(t, r, "on")
}

// What is answered while others take longer is written at once.
func TestCrowdEarlyAnswers(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	c1, r1 := member(t, path)
	c2, r2 := member(t, path)
	gate, r0 := member(t, path)
	send(t, gate, post("/stuck", "0"))
	// They are a batch of their own, or two: whoever is stuck does not hold up the other.
	send(t, c1, post("/stuck", "1"))
	send(t, c2, post("/early", "2"))
	want(t, r2, "2")
	close(e.gate)
	want(t, r0, "0")
	want(t, r1, "1")
}

// Replies that a client does not read keep nobody else waiting.
func TestCrowdClientThatDoesNotRead(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	for _, what := range []string{"/large", "/pieces", "/heavy"} {
		c, r := member(t, path)
		send(t, c, post(what, "h"))
		other, r2 := member(t, path)
		for i := range 10 {
			send(t, other, post("/now", fmt.Sprint(i)))
			want(t, r2, fmt.Sprint(i))
		}
		if what == "/heavy" {
			want(t, r, "h")
		} else {
			want(t, r, large)
		}
		send(t, c, post("/now", "after"))
		want(t, r, "after")
	}
	if look(e, func() bool { return slices.Contains(e.ends, false) }) {
		t.Error("a reply counts as not delivered")
	}
	c, _ := member(t, path)
	send(t, c, post("/large", ""))
	eventually(t, "it is served", func() bool { return look(e, func() int { return len(e.batches) }) > 30 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was not delivered", func() bool { return look(e, func() bool { return slices.Contains(e.ends, false) }) })
}

// A client that goes while it waits is noticed; one that only says that it has no more to
// ask gets its answer, if there is one at once.
func TestCrowdClientThatGoes(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	c, _ := member(t, path)
	send(t, c, post("/wait", ""))
	eventually(t, "it waits", func() bool { return look(e, func() int { return len(e.waiting) }) == 1 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is aborted", func() bool {
		return look(e, func() bool {
			return len(e.causes) == 1 && errors.Is(e.causes[0], context.Canceled) && len(e.ends) == 1 && !e.ends[0]
		})
	})
	c, r := member(t, path)
	send(t, c, post("/now", "half"))
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want(t, r, "half")
	ended(t, r)
}

// Requests have their time, and so have connections on which nothing is asked.
func TestCrowdTimes(t *testing.T) {
	e, path := crowded(t, &serve.Server{IdleTimeout: 100 * time.Millisecond})
	c, r := member(t, path)
	begun := time.Now()
	send(t, c, post("/wait", "300ms"))
	want(t, r, "300ms")
	if d := time.Since(begun); d < 300*time.Millisecond {
		t.Errorf("it was aborted after %s", d)
	}
	if !look(e, func() bool { return len(e.causes) == 1 && errors.Is(e.causes[0], context.DeadlineExceeded) }) {
		t.Errorf("it was aborted for %v", e.causes)
	}
	ended(t, r)
}

// At the end everybody is answered, and nobody waits for those who ask nothing.
func TestCrowdDrain(t *testing.T) {
	s := &serve.Server{}
	e, path := crowded(t, s)
	_, idle := member(t, path)
	c, r := member(t, path)
	send(t, c, post("/wait", ""))
	eventually(t, "it waits", func() bool { return look(e, func() int { return len(e.waiting) }) == 1 })
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background()) }()
	ended(t, idle)
	select {
	case err := <-drained:
		t.Fatalf("drained with a request under way: %v", err)
	default:
	}
	look(e, func() *asked { return e.waiting[0] }).answer()
	if resp := want(t, r, ""); !resp.close {
		t.Error("the reply does not say that the connection ends")
	}
	ended(t, r)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// Close does not wait for what is asked.
func TestCrowdClose(t *testing.T) {
	s := &serve.Server{}
	e, path := crowded(t, s)
	c, r := member(t, path)
	send(t, c, post("/wait", ""))
	eventually(t, "it waits", func() bool { return look(e, func() int { return len(e.waiting) }) == 1 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	ended(t, r)
	if !look(e, func() bool { return len(e.ends) == 1 && !e.ends[0] }) {
		t.Errorf("deliveries: %v", e.ends)
	}
}

// A client that is the only one is known as that; with two that ask in turn nobody is.
func TestCrowdOfOne(t *testing.T) {
	e, path := crowded(t, &serve.Server{})
	a, ra := member(t, path)
	b, rb := member(t, path)
	alone := func(c net.Conn, r *bufio.Reader) bool {
		before := look(e, func() int { return e.alone })
		send(t, c, post("/now", "x"))
		want(t, r, "x")
		return look(e, func() int { return e.alone }) > before
	}
	alone(a, ra)
	for i, one := range []struct {
		c    net.Conn
		r    *bufio.Reader
		want bool
	}{{a, ra, true}, {a, ra, true}, {b, rb, false}, {a, ra, false}, {a, ra, true}} {
		if got := alone(one.c, one.r); got != one.want {
			t.Errorf("request %d: alone %v, want %v", i, got, one.want)
		}
	}
}
