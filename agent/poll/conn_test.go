package poll_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// alone has c wait, and read what b says, so often that it is out of the scheduler's
// hands.
func alone(t *testing.T, g *poll.Group, c *poll.Conn, b net.Conn) {
	t.Helper()
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("with one thread nothing waits")
	}
	buf := make([]byte, 8)
	waited := 0
	for i := range 20 {
		if _, err := b.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if c.Wait(g, 10*time.Second) {
			waited++
		} else if i > 0 {
			t.Fatalf("wait %d of a connection that is alone is refused", i)
		}
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		if _, err := c.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadFull(b, buf[:6]); err != nil || string(buf[:n]) != "answer" {
			t.Fatalf("answered %q, %v", buf[:n], err)
		}
	}
	if waited < 19 {
		t.Fatalf("it waited %d times", waited)
	}
}

// A connection that was alone for long does all that it did before: it waits for
// more than a moment, a slow reader, deadlines, and its end.
func TestAloneForLong(t *testing.T) {
	var g poll.Group
	for name, check := range map[string]func(t *testing.T, c *poll.Conn, b net.Conn){
		"reads later": func(t *testing.T, c *poll.Conn, b net.Conn) {
			if c.Wait(&g, time.Millisecond) {
				t.Fatal("there is nothing to read")
			}
			go func() { _, _ = b.Write([]byte("later")) }()
			buf := make([]byte, 8)
			if n, err := c.Read(buf); err != nil || string(buf[:n]) != "later" {
				t.Errorf("read %q, %v", buf[:n], err)
			}
		},
		"reads without waiting": func(t *testing.T, c *poll.Conn, b net.Conn) {
			done := make(chan string)
			go func() {
				buf := make([]byte, 8)
				n, _ := c.Read(buf)
				done <- string(buf[:n])
			}()
			if _, err := b.Write([]byte("more")); err != nil {
				t.Fatal(err)
			}
			if got := <-done; got != "more" {
				t.Errorf("read %q", got)
			}
		},
		"slow reader": func(t *testing.T, c *poll.Conn, b net.Conn) {
			large := bytes.Repeat([]byte("payload "), 1<<18)
			done := make(chan error)
			go func() {
				_, err := c.Write(large)
				done <- err
			}()
			got := make([]byte, len(large))
			if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, large) {
				t.Errorf("the other end got something else (%v)", err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		},
		"buffers": func(t *testing.T, c *poll.Conn, b net.Conn) {
			bufs := net.Buffers{[]byte("a"), []byte("bc")}
			if n, err := c.WriteBuffers(&bufs); n != 3 || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			got := make([]byte, 3)
			if _, err := io.ReadFull(b, got); err != nil || string(got) != "abc" {
				t.Errorf("got %q, %v", got, err)
			}
		},
		"read deadline of before": func(t *testing.T, c *poll.Conn, _ net.Conn) {
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: %v", err)
			}
		},
		"write deadline of before": func(t *testing.T, c *poll.Conn, _ net.Conn) {
			if err := c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(make([]byte, 1<<22)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("writing what nobody reads: %v", err)
			}
		},
		"deadline from elsewhere": func(t *testing.T, c *poll.Conn, _ net.Conn) {
			read := make(chan error)
			go func() {
				_, err := c.Read(make([]byte, 1))
				read <- err
			}()
			if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: %v", err)
			}
		},
		"closed while it waits": func(t *testing.T, c *poll.Conn, b net.Conn) {
			waited := make(chan bool)
			go func() { waited <- c.Wait(&g, time.Minute) }()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			<-waited
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("reading from it: %v", err)
			}
			if _, err := b.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("reading from the other end: %v", err)
			}
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closing it again: %v", err)
			}
		},
		"closed while it reads": func(t *testing.T, c *poll.Conn, _ net.Conn) {
			read := make(chan error)
			go func() {
				_, err := c.Read(make([]byte, 1))
				read <- err
			}()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := <-read; err == nil {
				t.Error("something was read")
			}
		},
		"ended by the other": func(t *testing.T, c *poll.Conn, b net.Conn) {
			if !c.Quiet() {
				t.Error("there is something on it")
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if c.Quiet() {
				t.Error("it is still good")
			}
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("reading: %v", err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
				t.Errorf("writing: %v", err)
			}
		},
		"half closed": func(t *testing.T, c *poll.Conn, b net.Conn) {
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("reading from the other end: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			c := poll.New(a)
			before := descriptors(t)
			alone(t, &g, c, b)
			if n := descriptors(t); n != before {
				t.Errorf("%d descriptors became %d", before, n)
			}
			check(t, c, b)
			_ = c.Close()
		})
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// While no descriptor is free the connection cannot be given back, and works all the
// same.
func TestNoDescriptor(t *testing.T) {
	var g poll.Group
	a, b := pair(t)
	c := poll.New(a)
	alone(t, &g, c, b)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	read := make(chan string)
	go func() {
		buf := make([]byte, 8)
		n, _ := c.Read(buf)
		read <- string(buf[:n])
	}()
	if _, err := b.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "more" {
		t.Errorf("read %q", got)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading: %v", err)
	}
}

// No connection waits while another is busy: the others would have a thread less.
func TestOthersAreBusy(t *testing.T) {
	var g poll.Group
	a, b := pair(t)
	c, other := poll.New(a), poll.New(b)
	alone(t, &g, c, b)
	c.SetBusy(&g, true)
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if !c.Wait(&g, time.Minute) {
		t.Error("it does not wait for its own answer")
	}
	other.SetBusy(&g, true)
	other.SetBusy(&g, true)
	if c.Wait(&g, time.Minute) {
		t.Error("it waits while another is busy")
	}
	other.SetBusy(&g, false)
	if !c.Wait(&g, time.Minute) {
		t.Error("it does not wait although no other is busy")
	}
}
