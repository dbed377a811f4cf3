package access_test

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/config"
)

// needRoot ends a test that has to be several users.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: only root can connect as several users; .ci/run does")
	}
}

// accounts are users and groups that exist wherever the tests run.
func accounts() access.Accounts {
	users := map[string]string{"root": "0", "sensor": "11001", "camera": "11002", "nobody": "65534"}
	groups := map[string]string{"querator": "12001", "video": "12002", "nogroup": "65534"}
	return access.Accounts{
		User: func(name string) (*user.User, error) {
			if id, ok := users[name]; ok {
				return &user.User{Username: name, Uid: id, Gid: id}, nil
			}
			return nil, user.UnknownUserError(name)
		},
		Group: func(name string) (*user.Group, error) {
			if id, ok := groups[name]; ok {
				return &user.Group{Name: name, Gid: id}, nil
			}
			return nil, user.UnknownGroupError(name)
		},
	}
}

// compile compiles rules written as in a file.
func compile(t testing.TB, text string) *access.Rules {
	t.Helper()
	r, err := tryCompile(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryCompile(t testing.TB, text string) (*access.Rules, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return access.Compile(l, accounts())
}

// socket listens where every user can connect, and returns the path.
func socket(t testing.TB) (string, *net.UnixListener) {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	return path, l
}

// who is whom a test connects as.
type who struct {
	uid, gid int
	groups   []uint32
}

// connectAs connects as somebody else. Credentials belong to threads, and the kernel takes those of the one that
// connects: so it is done by a thread that is not used for anything else.
func connectAs(path string, w who) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread ends with the goroutine.
		if err := become(w); err != nil {
			done <- result{nil, err}
			return
		}
		c, err := net.Dial("unix", path)
		done <- result{c, err}
	}()
	r := <-done
	return r.conn, r.err
}

// become changes the credentials of the calling thread alone.
func become(w who) error {
	groups := append(w.groups, 0)
	calls := [][4]uintptr{
		{setgroups, uintptr(len(w.groups)), uintptr(unsafe.Pointer(&groups[0])), 0},
		{setresgid, uintptr(w.gid), uintptr(w.gid), uintptr(w.gid)},
		{setresuid, uintptr(w.uid), uintptr(w.uid), uintptr(w.uid)},
	}
	for _, c := range calls {
		if _, _, errno := syscall.RawSyscall(c[0], c[1], c[2], c[3]); errno != 0 {
			return errno
		}
	}
	runtime.KeepAlive(groups)
	return nil
}

// accept takes the next connection, as the guard knows it.
func accept(t testing.TB, g *access.Guard, l *net.UnixListener) *access.Peer {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Greet(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Leave(p)
		conn.Close()
	})
	return p
}

// lines joins the lines of a file.
func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

// credential makes a helper somebody else.
func credential(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}
