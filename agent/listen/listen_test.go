package listen_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/listen"
)

// wait bounds what a test waits for; it is reached only when the test fails.
const wait = 10 * time.Second

func TestServe(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	l := open(t, listen.Options{Path: path, Mode: 0o660})
	if got := l.Addr().String(); got != path || l.Addr().Network() != "unix" {
		t.Errorf("address %s %s", l.Addr().Network(), got)
	}
	client := dial(t, path)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := client.Write([]byte("item")); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if got, err := io.ReadAll(server); string(got) != "item" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// The mode is the one asked for whatever the umask, and nothing else is left in the directory.
func TestMode(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for want, mode := range map[fs.FileMode]fs.FileMode{0o600: 0, 0o660: 0o660, 0o620: 0o620} {
		dir := shortDir(t)
		path := filepath.Join(dir, "q.sock")
		open(t, listen.Options{Path: path, Mode: mode})
		if info := lstat(t, path); info.Mode() != want|fs.ModeSocket {
			t.Errorf("mode %v: got %v, want a socket with %v", mode, info.Mode(), want)
		}
		if names := list(t, dir); len(names) != 1 {
			t.Errorf("the directory holds %q", names)
		}
	}
}

func TestGroup(t *testing.T) {
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 1 // Any group will do for root.
	}
	dir := filepath.Join(shortDir(t), "made", "here")
	path := filepath.Join(dir, "q.sock")
	open(t, listen.Options{Path: path, Mode: 0o660, Group: strconv.Itoa(gid)})
	for _, at := range []string{path, dir} {
		if got := lstat(t, at).Sys().(*syscall.Stat_t).Gid; int(got) != gid {
			t.Errorf("%s has group %d, want %d", at, got, gid)
		}
	}
	if mode := lstat(t, dir).Mode().Perm(); mode != 0o750 {
		t.Errorf("the directory has mode %v", mode)
	}
}

func TestMakesPrivateDirectory(t *testing.T) {
	dir := filepath.Join(shortDir(t), "querator")
	open(t, listen.Options{Path: filepath.Join(dir, "q.sock"), Mode: 0o660})
	if mode := lstat(t, dir).Mode().Perm(); mode != 0o700 {
		t.Errorf("the directory has mode %v", mode)
	}
}

func TestInUse(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	open(t, listen.Options{Path: path})
	_, err := listen.Open(listen.Options{Path: path})
	want := fmt.Sprintf("the socket is in use: socket %s is in use by another agent (pid %d); stop that or use another --socket", path, os.Getpid())
	if !errors.Is(err, listen.ErrInUse) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	dial(t, path) // The first still serves.
}

// A process that does not accept is alive all the same.
func TestInUseAndBusy(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	fd := socket(t, path, syscall.SOCK_STREAM)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := net.Dial("unix", path)
		if err != nil {
			break // The accept queue is full.
		}
		defer c.Close()
	}
	_, err := listen.Open(listen.Options{Path: path})
	if !errors.Is(err, listen.ErrInUse) || !strings.Contains(err.Error(), "too busy") {
		t.Errorf("got %v, want that a busy process serves it", err)
	}
	lstat(t, path)
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	stale(t, path)
	open(t, listen.Options{Path: path})
	dial(t, path)
}

func TestRefused(t *testing.T) {
	dir := shortDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at("dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	stale(t, at("stale"))
	for link, target := range map[string]string{"to-socket": "stale", "to-nothing": "absent"} {
		if err := os.Symlink(at(target), at(link)); err != nil {
			t.Fatal(err)
		}
	}
	socket(t, at("datagram"), syscall.SOCK_DGRAM)
	before := list(t, dir)
	for _, test := range []struct {
		options listen.Options
		want    string
	}{
		{listen.Options{}, "no path is given; use --socket"},
		{listen.Options{Path: at("file")}, at("file") + " exists and is a file; move it away or use another --socket"},
		{listen.Options{Path: at("dir")}, at("dir") + " exists and is a directory; move it away or use another --socket"},
		{listen.Options{Path: at("dir") + "/"}, at("dir") + "/ is a directory; add the name of the socket"},
		{listen.Options{Path: at("to-socket")}, at("to-socket") + " exists and is a symbolic link; move it away or use another --socket"},
		{listen.Options{Path: at("to-nothing")}, at("to-nothing") + " exists and is a symbolic link; move it away or use another --socket"},
		{listen.Options{Path: at("datagram")}, at("datagram") + " is a socket of another kind; move it away or use another --socket"},
		{listen.Options{Path: "@abstract"}, `"@abstract" is not the path of a file; use a path such as /run/querator/querator.sock`},
		{listen.Options{Path: at("a\x00b")}, strconv.Quote(at("a\x00b")) + " is not the path of a file; use a path such as /run/querator/querator.sock"},
		{listen.Options{Path: at("file/q.sock")}, at("file") + "/q.sock: not a directory; use another --socket, or let the agent's user write there"},
		{listen.Options{Path: "/proc/q.sock"}, "/proc: no such file or directory; use another --socket, or let the agent's user write there"},
		{listen.Options{Path: at("q.sock"), Group: "no-such-group"}, `there is no group "no-such-group"; create it or change socket.group`},
		{listen.Options{Path: at("q.sock"), Group: "-1"}, `there is no group "-1"; create it or change socket.group`},
	} {
		l, err := listen.Open(test.options)
		if err == nil {
			l.Close()
			t.Errorf("%q: opened", test.options.Path)
			continue
		}
		if want := "the socket cannot be made: " + test.want; !errors.Is(err, listen.ErrPath) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if after := list(t, dir); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("the directory held %q and now holds %q", before, after)
	}
	if text, err := os.ReadFile(at("file")); string(text) != "precious" || err != nil {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// Every length up to the bound works, with names of any length; the next is refused with the numbers.
func TestLongPath(t *testing.T) {
	dir := shortDir(t)
	for _, name := range []string{"s", "ab", "abc", "abcd", "querator.sock"} {
		deep := filepath.Join(dir, strings.Repeat("d", listen.MaxPath-len(dir)-len(name)-2))
		path := filepath.Join(deep, name)
		if len(path) != listen.MaxPath {
			t.Fatalf("%s has %d bytes", path, len(path))
		}
		open(t, listen.Options{Path: path})
		dial(t, path)
		_, err := listen.Open(listen.Options{Path: path + "x"})
		want := fmt.Sprintf("the socket cannot be made: %sx has 105 bytes and a socket's path may have 104; use a shorter --socket", path)
		if !errors.Is(err, listen.ErrPath) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCloseRemovesOnlyItsOwnSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	first := open(t, listen.Options{Path: path})
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}

	second := open(t, listen.Options{Path: path})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	open(t, listen.Options{Path: path})
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	dial(t, path) // The third is untouched.
}

func TestCloseWhenSocketIsGone(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	l := open(t, listen.Options{Path: path})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// Of many that start at once on a path where nothing is, one serves and the others are told so.
func TestOnlyOneWins(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	const agents = 16
	listeners, failures := make([]*listen.Listener, agents), make([]error, agents)
	var all sync.WaitGroup
	for i := range agents {
		all.Go(func() { listeners[i], failures[i] = listen.Open(listen.Options{Path: path}) })
	}
	all.Wait()
	won := 0
	for i, l := range listeners {
		if failures[i] == nil {
			won++
			defer l.Close()
		} else if !errors.Is(failures[i], listen.ErrInUse) {
			t.Errorf("got %v, want ErrInUse", failures[i])
		}
	}
	if won != 1 {
		t.Errorf("%d agents believe that they serve %s", won, path)
	}
	dial(t, path)
	if names := list(t, filepath.Dir(path)); len(names) != 1 {
		t.Errorf("the directory holds %q", names)
	}
}

// At the bound further connections wait, and the next is accepted when one closes.
func TestBoundOfConnections(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	l := open(t, listen.Options{Path: path, MaxConns: 2})
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 4 {
		dial(t, path) // The kernel completes the connection before it is accepted.
	}
	first, second := receive(t, accepted), receive(t, accepted)
	expectNone(t, accepted)
	first.Close()
	first.Close() // Gives one slot back, not two.
	third := receive(t, accepted)
	expectNone(t, accepted)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept that waited for a slot: got %v, want net.ErrClosed", err)
	}
	second.Close()
	third.Close()
}

func TestCloseEndsAccept(t *testing.T) {
	l := open(t, listen.Options{Path: filepath.Join(shortDir(t), "q.sock"), MaxConns: 1})
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func TestPeerCred(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	l := open(t, listen.Options{Path: path})
	client := dial(t, path)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	want := listen.Cred{PID: int32(os.Getpid()), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	for _, c := range []net.Conn{server, client} {
		if got, err := listen.PeerCred(c); got != want || err != nil {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	server.Close()
	if _, err := listen.PeerCred(server); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: got %v, want net.ErrClosed", err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := listen.PeerCred(a); err == nil {
		t.Error("a pipe has no peer credentials")
	}
}

// The first connections get a large send buffer, the others the least there is; one that is closed leaves its
// place to the next. What is larger than the buffer arrives all the same.
func TestSendBuffersAreBounded(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	l := open(t, listen.Options{Path: path, WideConns: 1, WideBuffer: 64 << 10})
	accept := func() (client, server net.Conn) {
		client = dial(t, path)
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return client, server
	}
	// fill returns how much a connection takes that nobody reads.
	fill := func(c net.Conn) int {
		if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, _ := c.Write(make([]byte, 1<<20)) // Ends with the deadline.
		return n
	}
	_, wide := accept()
	client, narrow := accept()
	if n := fill(wide); n < 16<<10 || n > 64<<10 {
		t.Errorf("the first connection takes %d bytes, want up to 64 KiB", n)
	}
	n := fill(narrow)
	if n == 0 || n > 8<<10 {
		t.Errorf("the second connection takes %d bytes, want the least", n)
	}
	go func() {
		_ = narrow.SetWriteDeadline(time.Now().Add(wait))
		_, _ = narrow.Write(make([]byte, 1<<20)) // The reader sees if it fails.
		narrow.Close()
	}()
	if got, err := io.Copy(io.Discard, client); got != int64(n+1<<20) || err != nil {
		t.Errorf("%d bytes arrived of %d: %v", got, n+1<<20, err)
	}
	wide.Close()
	if _, next := accept(); fill(next) < 16<<10 {
		t.Error("the place of the closed connection was not given away")
	}
}
