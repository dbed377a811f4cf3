package poll_test

import (
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/poll"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestWait(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("with one thread nothing waits")
	}
	a, b := pair(t)
	var g poll.Group
	c := poll.New(a)
	const long = 10 * time.Second
	if c.Wait(&g, long) {
		t.Fatal("the first wait of a group is not for a connection that is alone")
	}
	if c.Wait(&g, time.Millisecond) {
		t.Fatal("there is nothing to read")
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		if c.Wait(&g, long) {
			t.Fatal("it waited for nothing, and waits again too soon")
		}
	}
	if !c.Wait(&g, long) {
		t.Fatal("there is something to read")
	}
	other := poll.New(b)
	if other.Wait(&g, long) || c.Wait(&g, long) {
		t.Fatal("two that wait in turn are not alone")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if !c.Wait(&g, long) {
		t.Fatal("the end of a connection can be read")
	}
}

// A connection that has no descriptor, and one that is closed, do not wait.
func TestWaitForNothing(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	closed, _ := pair(t)
	closed.Close()
	for _, nc := range []net.Conn{a, closed} {
		var g poll.Group
		c := poll.New(nc)
		for range 3 {
			if c.Wait(&g, 10*time.Second) {
				t.Errorf("%T can be read", nc)
			}
		}
	}
}
