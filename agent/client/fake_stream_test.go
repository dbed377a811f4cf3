package client_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// fakeStreams is what a fake has for streams. fake.mu guards it.
type fakeStreams struct {
	asked    int // for a stream
	streams  []*fakeStream
	streamed map[string]int // calls that came on streams
	// refuse is what requests for a stream are answered with; 0 gives them one.
	refuse int
	// script, if not nil, has the connection in place of the fake; r is what to read from.
	script func(conn net.Conn, r *bufio.Reader)
	// onStream, if not nil, is called with the number of a stream's call before it is served.
	onStream func(s *fakeStream, call int)
}

// fakeStream is the agent's end of a stream.
type fakeStream struct {
	f     *fake
	conn  net.Conn
	calls sync.WaitGroup
	over  chan struct{} // closed when nothing is read any more

	mu        sync.Mutex // guards what follows, and writing
	under     map[uint32]context.CancelFunc
	most      int // calls that were under way at a time
	cancelled []uint32
}

var paths = map[frame.Call]string{
	frame.Produce: "/v1/queue.produce", frame.Lease: "/v1/queue.lease",
	frame.Complete: "/v1/queue.complete", frame.Retry: "/v1/queue.retry",
}

// serveStream answers a request for a stream, and serves it to its end.
func (f *fake) serveStream(w http.ResponseWriter) {
	f.mu.Lock()
	f.asked++
	refuse, script := f.refuse, f.script
	f.mu.Unlock()
	if refuse != 0 {
		answer(w, refuse, &pb.Reply{Code: int32(refuse), Message: "no streams"})
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+frame.Protocol+"\r\n\r\n")
	if err != nil {
		return
	}
	if script != nil {
		script(conn, rw.Reader)
		return
	}
	s := &fakeStream{f: f, conn: conn, over: make(chan struct{}), under: make(map[uint32]context.CancelFunc)}
	f.mu.Lock()
	f.streams = append(f.streams, s)
	f.mu.Unlock()
	s.read(rw.Reader)
}

// read serves calls until the client closes its side, and answers what is under way then; leases that wait end.
func (s *fakeStream) read(r *bufio.Reader) {
	for n := 1; ; n++ {
		req, body, err := readRequest(r)
		if err != nil {
			break
		}
		if req.Call == frame.Cancel {
			s.cancel(req.ID)
			continue
		}
		if s.f.onStream != nil {
			s.f.onStream(s, n)
		}
		s.begin(req, body)
	}
	close(s.over)
	s.mu.Lock()
	for _, cancel := range s.under {
		cancel()
	}
	s.mu.Unlock()
	s.calls.Wait()
}

func readRequest(r io.Reader) (frame.Request, []byte, error) {
	var head [frame.RequestHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame.Request{}, nil, err
	}
	req, err := frame.ParseRequest(head[:])
	if err != nil {
		return req, nil, err
	}
	body := make([]byte, req.Body)
	_, err = io.ReadFull(r, body)
	return req, body, err
}

// begin serves a call in a goroutine of its own.
func (s *fakeStream) begin(req frame.Request, body []byte) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	if s.under[req.ID] != nil || req.ID == 0 {
		panic("the client uses an id twice")
	}
	s.under[req.ID] = cancel
	s.most = max(s.most, len(s.under))
	s.mu.Unlock()
	path := paths[req.Call]
	s.f.mu.Lock()
	if s.f.streamed == nil {
		s.f.streamed = make(map[string]int)
	}
	s.f.streamed[path]++
	s.f.mu.Unlock()
	s.calls.Go(func() {
		defer cancel()
		code, m := s.f.reply(ctx, path, body)
		if code == -1 {
			_ = s.conn.Close() // The reader notices.
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.under, req.ID)
		_, _ = s.conn.Write(replyFrame(req.ID, code, m)) // The client may be gone.
	})
}

func replyFrame(id uint32, code int, m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(frame.AppendReply(nil, frame.Reply{ID: id, Code: uint16(code), Body: uint32(len(body))}), body...)
}

func (s *fakeStream) cancel(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelled = append(s.cancelled, id)
	if cancel := s.under[id]; cancel != nil {
		cancel()
	}
}

// bye tells the client that the agent is going.
func (s *fakeStream) bye() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.conn.Write(frame.AppendReply(nil, frame.Reply{Code: frame.Bye})) // The client may be gone.
}

// isOver reports whether the client has closed its side.
func (s *fakeStream) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// opened returns the streams that there were.
func (f *fake) opened() []*fakeStream {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.streams
}

// askedFor returns how often the client asked for a stream.
func (f *fake) askedFor() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// payloads returns the payloads that were completed, and those that are ready.
func (f *fake) payloads() (completed, ready []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range f.ready {
		ready = append(ready, string(it.payload))
	}
	return slices.Clone(f.completed), ready
}

// onStreams returns how many calls of a path came on streams; the empty path is all.
func (f *fake) onStreams(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for p, calls := range f.streamed {
		if path == "" || p == path {
			n += calls
		}
	}
	return n
}

// halfConn is one end of a pipe of which each direction can be closed by itself, as of a socket.
type halfConn struct {
	net.Conn // to read from
	out      net.Conn
}

func halfPipe() (near, far net.Conn) {
	a, b := net.Pipe()
	d, e := net.Pipe()
	return &halfConn{a, d}, &halfConn{e, b}
}

func (c *halfConn) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *halfConn) CloseWrite() error           { return c.out.Close() }
func (c *halfConn) Close() error                { return errors.Join(c.Conn.Close(), c.out.Close()) }
func (c *halfConn) SetDeadline(t time.Time) error {
	return errors.Join(c.Conn.SetDeadline(t), c.out.SetDeadline(t))
}
func (c *halfConn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

// crowd makes calls of c go on streams, until stop is called or the test ends: another call is under way all the
// time, and four were made beside it.
func crowd(t *testing.T, f *fake, c *client.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	audited := make(chan struct{})
	go func() {
		defer close(audited)
		_, _ = c.Audit(ctx, "q") // It ends with an error.
	}()
	stop = func() { cancel(); <-audited }
	t.Cleanup(stop)
	<-f.audits
	for range 4 {
		beside(t, c)
	}
	return stop
}

// beside makes a call that changes nothing.
func beside(t *testing.T, c *client.Client) {
	t.Helper()
	const want = "invalid storage id; 'none' does not exist"
	if err := c.Complete(t.Context(), "q", 0, "none"); err == nil || err.Error() != want {
		t.Fatalf("complete of what is not leased: got %v, want %q", err, want)
	}
}
