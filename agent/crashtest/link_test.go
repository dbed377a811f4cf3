package crashtest_test

import (
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// link passes connections on, and breaks them.
type link struct {
	network string // tcp or unix
	to      string
	ln      net.Listener
	wg      sync.WaitGroup

	mu    sync.Mutex // guards what follows
	rnd   *rand.Rand
	state linkState
	open  map[net.Conn]struct{}
}

// linkState says what becomes of new connections.
type linkState int

const (
	linkUp     linkState = iota
	linkBreaks           // they break after some bytes
	linkDown             // they are closed at once
)

// startLink listens on an address of its own network, until close.
func startLink(network, on, to string, seed uint64) (*link, error) {
	l := &link{network: network, to: to, rnd: rand.New(rand.NewPCG(seed, 3)), open: make(map[net.Conn]struct{})}
	var err error
	if l.ln, err = net.Listen(network, on); err != nil {
		return nil, err
	}
	l.wg.Go(l.accept)
	return l, nil
}

// newLink listens on a socket of its own until the test ends.
func newLink(t *testing.T, to string, seed uint64) *link {
	t.Helper()
	l, err := startLink("unix", filepath.Join(shortDir(t), "link"), to, seed)
	must(t, err)
	t.Cleanup(l.close)
	return l
}

func (l *link) address() string { return l.ln.Addr().String() }

func (l *link) close() {
	l.ln.Close()
	l.cut()
	l.wg.Wait()
}

// cut closes all connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.Close()
	}
}

// set says what becomes of new connections; when it is down, so do the others.
func (l *link) set(s linkState) {
	l.mu.Lock()
	l.state = s
	l.mu.Unlock()
	if s == linkDown {
		l.cut()
	}
}

func (l *link) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == linkDown
}

func (l *link) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.pass(c) })
	}
}

// pass copies both ways until either end is closed, or enough has passed.
func (l *link) pass(c net.Conn) {
	defer c.Close()
	d, err := net.Dial(l.network, l.to)
	if err != nil {
		return
	}
	defer d.Close()
	l.mu.Lock()
	up, down := int64(1<<62), int64(1<<62)
	switch l.state {
	case linkBreaks:
		up, down = l.rnd.Int64N(40_000), l.rnd.Int64N(8000)
	case linkDown:
		l.mu.Unlock()
		return
	}
	l.open[c], l.open[d] = struct{}{}, struct{}{}
	l.mu.Unlock()
	ended := make(chan struct{}, 2)
	for _, way := range []struct {
		to, from net.Conn
		bytes    int64
	}{{d, c, up}, {c, d, down}} {
		l.wg.Go(func() {
			_, _ = io.CopyN(way.to, way.from, way.bytes) // How it ends does not matter.
			ended <- struct{}{}
		})
	}
	<-ended
	l.mu.Lock()
	delete(l.open, c)
	delete(l.open, d)
	l.mu.Unlock()
}
