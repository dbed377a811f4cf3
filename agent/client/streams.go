package client

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// streamAgain is how long a client does without streams when the agent has none, streamLater when it has none now.
const streamAgain, streamLater = time.Minute, time.Second

// openTimeout is how long the call that opens a stream waits for it, before it is made in another way.
const openTimeout = time.Second

// streams has the stream of a transport. It is safe for use by any goroutine.
type streams struct {
	mu      sync.Mutex
	open    *stream   // nil before the first
	opening bool      // somebody is at it
	after   time.Time // when to try again
	closed  int       // how often close was called
	// crowd says how many calls there were lately while others were under way, more or less: streams are for them. A
	// call that is alone is answered sooner on a connection of its own.
	crowd int
}

const (
	// crowded is from what number on a crowd is one, crowdMost how far it counts.
	crowded, crowdMost = 4, 16
)

// wanted notes whether a call is made while others are under way, and reports whether it belongs on a stream.
func (t *streams) wanted(others bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if others {
		t.crowd = min(t.crowd+1, crowdMost)
	} else {
		t.crowd = max(t.crowd-1, 0)
	}
	return t.crowd >= crowded
}

// get returns a stream, or nil if there is none now.
func (t *streams) get(ctx context.Context, dial func(context.Context) (net.Conn, error)) *stream {
	t.mu.Lock()
	if s := t.open; s != nil {
		open, broke := s.isOpen()
		if open {
			t.mu.Unlock()
			return s
		}
		t.open = nil
		if !broke.IsZero() { // The next may break as well.
			t.after = broke.Add(streamLater)
		}
	}
	if t.opening || time.Now().Before(t.after) {
		t.mu.Unlock()
		return nil
	}
	t.opening = true
	closed := t.closed
	t.mu.Unlock()

	s, wait := dialStream(ctx, dial)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opening = false
	if s == nil {
		t.after = time.Now().Add(wait)
		return nil
	}
	t.open = s
	if t.closed != closed {
		t.open = nil // Somebody closed the client in the meantime.
		s.end()
		return nil
	}
	return s
}

// isOpen reports whether there is a stream.
func (t *streams) isOpen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		return false
	}
	open, _ := t.open.isOpen()
	return open
}

// dialStream opens a stream; without one it returns how long to wait.
func dialStream(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*stream, time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return nil, streamLater // The call says what is wrong, on a connection of its own.
	}
	s, code, err := openStream(ctx, conn)
	if err != nil || code == http.StatusSwitchingProtocols || code == codeTryAgain {
		return s, streamLater
	}
	return nil, streamAgain
}

// codeTryAgain is the agent's code for what it has no room for now.
const codeTryAgain = 454

// close closes the stream if there is one.
func (t *streams) close() {
	t.mu.Lock()
	s := t.open
	t.open = nil
	t.closed++
	t.mu.Unlock()
	if s != nil {
		s.close()
	}
}
