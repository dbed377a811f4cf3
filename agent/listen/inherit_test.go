package listen_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/listen"
)

// managed makes a socket as a service manager does and returns it, and a copy as a process inherits it.
func managed(t *testing.T, path string) (l *net.UnixListener, file *os.File) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if file, err = l.File(); err != nil {
		t.Fatal(err)
	}
	return l, file
}

// Who connects between two processes that inherit the same socket waits for the second.
func TestInheritedSocketOutlivesTheListener(t *testing.T) {
	path := filepath.Join(shortDir(t), "q.sock")
	socket, file := managed(t, path)
	second, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	first, err := listen.Inherit(file, listen.Options{MaxConns: 10})
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Addr().String(); got != path {
		t.Errorf("address %s, want %s", got, path)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	client := dial(t, path)
	if _, err := io.WriteString(client, "item"); err != nil {
		t.Fatal(err)
	}
	client.Close()

	next, err := listen.Inherit(second, listen.Options{MaxConns: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	server, err := next.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if got, err := io.ReadAll(server); string(got) != "item" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if cred, err := listen.PeerCred(server); err != nil || int(cred.PID) != os.Getpid() {
		t.Errorf("peer %+v, %v", cred, err)
	}
}

func TestInheritRefuses(t *testing.T) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcpFile, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(shortDir(t), "q.sock")
	managed(t, path)
	connFile, err := dial(t, path).(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string]*os.File{
		"of the network tcp": tcpFile, "which was inherited, does not listen": connFile,
		os.DevNull + ", which was inherited, does not listen": null,
	} {
		if _, err := listen.Inherit(file, listen.Options{MaxConns: 1}); !errors.Is(err, listen.ErrPath) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: the file was left open", want)
		}
	}
}
