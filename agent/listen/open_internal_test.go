package listen

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Inside the package, since the moment between bind and chmod cannot be seen from outside: even with an empty
// umask a socket never has a name that others may connect to.
func TestPrivateFromTheStart(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	config := net.ListenConfig{Control: private}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("after bind the socket has mode %v, want 0600", mode)
	}
}
