package crashtest_test

import (
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// link passes connections on to a socket, and breaks them after some bytes.
type link struct {
	path string
	to   string
	ln   net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	rnd    *rand.Rand
	broken bool
	open   map[net.Conn]struct{}
}

// newLink listens on a socket of its own until the test ends.
func newLink(t *testing.T, to string, seed uint64) *link {
	t.Helper()
	l := &link{path: filepath.Join(shortDir(t), "link"), to: to, rnd: rand.New(rand.NewPCG(seed, 3)), open: make(map[net.Conn]struct{})}
	var err error
	if l.ln, err = net.Listen("unix", l.path); err != nil {
		t.Fatal(err)
	}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		l.ln.Close()
		l.mu.Lock()
		for c := range l.open {
			c.Close()
		}
		l.mu.Unlock()
		l.wg.Wait()
	})
	return l
}

// breaks says whether new connections break.
func (l *link) breaks(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = on
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
	d, err := net.Dial("unix", l.to)
	if err != nil {
		return
	}
	defer d.Close()
	l.mu.Lock()
	up, down := int64(1<<62), int64(1<<62)
	if l.broken {
		up, down = l.rnd.Int64N(40_000), l.rnd.Int64N(8000)
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
