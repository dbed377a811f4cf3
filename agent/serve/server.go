package serve

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/agent/poll"
)

// Server serves a handler on the connections of listeners. The fields are set
// before Serve is called and not changed afterwards.
type Server struct {
	// Handler is called for each request, by the goroutine of its connection.
	// http.ErrAbortHandler ends the connection; any other panic too, after it
	// was logged.
	Handler http.Handler
	// HeaderTimeout is how long a client may take for the head of a request it
	// has begun, IdleTimeout how long it may take to begin. 0 is no limit.
	HeaderTimeout, IdleTimeout time.Duration
	// MaxHeaderBytes bounds the head of a request; 0 is 16 KiB.
	MaxHeaderBytes int
	// Greet is called for each connection before anything is read from it, by its
	// goroutine. What it returns is what Peer of its responses returns, until Leave
	// is called with it. A refusal is a whole reply: it is written, and the
	// connection closed, without Leave. Nil functions are not called.
	Greet func(nc net.Conn) (peer any, refusal []byte)
	Leave func(peer any)
	// CountConn is told of each connection that is opened (1) and closed (-1);
	// nil is nobody.
	CountConn func(n int)
	// Begin begins requests that need no goroutine, of connections that were answered
	// before; nil is none.
	Begin Beginner
	// ErrorLog gets what goes wrong with clients; nil drops it.
	ErrorLog *log.Logger

	polls poll.Group
	// draining: nothing is accepted, and every connection ends with its reply.
	draining atomic.Bool

	mu        sync.Mutex
	crowd     *crowd        // nil without Begin; set before there is a connection
	closing   bool          // no request is taken any more
	left      chan struct{} // closed with draining; nil until somebody asks
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{} // bounded by the listener
	accepts   sync.WaitGroup     // calls of Serve
	wg        sync.WaitGroup     // connections
}

const defaultMaxHeader = 16 << 10

func (s *Server) maxHead() int {
	if s.MaxHeaderBytes > 0 {
		return s.MaxHeaderBytes
	}
	return defaultMaxHeader
}

// Serve accepts connections until Drain, Shutdown or Close, and returns
// http.ErrServerClosed then, else why the listener failed.
func (s *Server) Serve(l net.Listener) error {
	if !s.add(l) {
		return errors.Join(http.ErrServerClosed, l.Close())
	}
	defer s.accepts.Done()
	for wait := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			s.start(nc)
		case s.draining.Load():
			return http.ErrServerClosed
		case isTemporary(err):
			// Out of file descriptors, mostly: some will come back.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.logf("accepting: %v; trying again in %v", err, wait)
			time.Sleep(wait)
		default:
			return err
		}
	}
}

// isTemporary reports whether Accept may work again soon.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (s *Server) add(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.accepts.Add(1)
	if s.crowd == nil && s.Begin != nil {
		var err error
		if s.crowd, err = newCrowd(s, s.Begin); err != nil {
			s.logf("requests are served one by one: %v", err)
		}
	}
	if s.listeners == nil {
		s.listeners, s.conns = make(map[net.Listener]struct{}), make(map[*conn]struct{})
	}
	s.listeners[l] = struct{}{}
	return true
}

// start serves a connection in a goroutine of its own, which Shutdown waits for.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		_ = nc.Close() // Nothing was asked on it.
		return
	}
	s.conns[c] = struct{}{}
	if s.CountConn != nil {
		s.CountConn(1)
	}
	s.wg.Go(func() {
		defer s.forget(c)
		c.serve()
	})
}

func (s *Server) forget(c *conn) {
	_ = c.nc.Close() // What there was to say was said.
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if s.CountConn != nil {
		s.CountConn(-1)
	}
}

// setBusy notes whether a request is under way on c. It returns false when the
// connection is to end: when the server drains that is after a first request.
func (s *Server) setBusy(c *conn, busy bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.busy = busy
	if !busy {
		c.answered = true
	}
	return !s.closing && !(s.draining.Load() && c.answered)
}

// Drain stops accepting and waits until the clients that are there have their
// replies, or for ctx. A connection without a request under way ends at once if
// it had one before; if not, its first request is still served. Shutdown or Close
// has to follow.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	err := s.stopAccepting(func(c *conn) bool { return !c.busy && c.answered })
	s.mu.Unlock()
	s.accepts.Wait() // A connection that was just accepted counts.
	return errors.Join(err, s.wait(ctx, func() error { return nil }))
}

// Shutdown closes the listeners and the connections that have no request under
// way, and waits until the others are done, or for ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stop(func(c *conn) bool { return !c.busy })
	return errors.Join(err, s.wait(ctx, s.closeCrowd))
}

// closeCrowd ends what is left when all connections have ended.
func (s *Server) closeCrowd() error {
	s.mu.Lock()
	w := s.crowd
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.close()
}

// Close closes everything at once, and waits for the handlers to notice.
func (s *Server) Close() error {
	err := s.stop(func(*conn) bool { return true })
	s.wg.Wait()
	return errors.Join(err, s.closeCrowd())
}

// wait waits for all connections to end, and what is done then, or for ctx.
func (s *Server) wait(ctx context.Context, then func() error) error {
	done := make(chan error, 1)
	go func() { s.wg.Wait(); done <- then() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop takes no request any more and closes the connections that cut says yes to.
func (s *Server) stop(cut func(c *conn) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	return s.stopAccepting(cut)
}

// stopAccepting closes the listeners and the connections that cut says yes to.
// The caller holds the lock.
func (s *Server) stopAccepting(cut func(c *conn) bool) error {
	if !s.draining.Swap(true) && s.left != nil {
		close(s.left)
	}
	var errs []error
	for l := range s.listeners {
		errs = append(errs, l.Close())
	}
	clear(s.listeners)
	for c := range s.conns {
		if cut(c) {
			_ = c.nc.Close() // Its goroutine ends by it.
		}
	}
	return errors.Join(errs...)
}

// leaving returns a channel that is closed when the server drains.
func (s *Server) leaving() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == nil {
		s.left = make(chan struct{})
		if s.draining.Load() {
			close(s.left)
		}
	}
	return s.left
}

// panicked logs a panic that a request has led to.
func (s *Server) panicked(r *http.Request, v any) {
	s.logf("BUG: panic in %s %s: %v\n%s", r.Method, r.URL.Path, v, debug.Stack())
}

func (s *Server) logf(format string, args ...any) {
	if s.ErrorLog != nil {
		s.ErrorLog.Printf(format, args...)
	}
}
