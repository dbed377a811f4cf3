package access_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/queue"
)

// helperVariable makes this program, when a test starts it, do what its value says.
const helperVariable = "QUERATOR_ACCESS_HELPER"

// The first thread stays what it is: the process is shown as its user, whatever connectAs makes of others.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	what, arg, _ := strings.Cut(os.Getenv(helperVariable), " ")
	switch what {
	case "":
		os.Exit(m.Run())
	case "connect": // Connects, and waits until standard input ends.
		c, err := net.Dial("unix", arg)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("connected")
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = c.Close()
	case "guard": // Says what it makes of who connects.
		helpGuard(arg)
	}
}

func helpGuard(path string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o777)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("connected")
	conn, err := l.Accept()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	g := access.New(access.Options{})
	p, err := g.Greet(conn)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	c := g.Caller(p)
	fmt.Println("uid", c.UID)
}

// helper starts this program as a helper and waits until it is where it says it is. It ends with its standard
// input, and at the end of the test.
func helper(t *testing.T, what string, attr *syscall.SysProcAttr) (*exec.Cmd, *os.File) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVariable+"="+what)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	in, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = in, stdout
	err = cmd.Start()
	if attr != nil && attr.Cloneflags != 0 && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)) {
		t.Skipf("NOT RUN: user namespaces cannot be made here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		write.Close()
		_ = cmd.Wait()
		out.Close()
	})
	in.Close()
	stdout.Close()
	if got := readLine(t, out); got != "connected" {
		t.Fatalf("the helper says %q", got)
	}
	return cmd, out
}

func readLine(t *testing.T, f *os.File) string {
	t.Helper()
	var text []byte
	for b := make([]byte, 1); ; {
		n, err := f.Read(b)
		if n == 0 || err != nil || b[0] == '\n' {
			return string(text)
		}
		text = append(text, b[0])
	}
}

// Whom the kernel says that a connection is of.
func TestPeersAsTheKernelKnowsThem(t *testing.T) {
	needRoot(t)
	path, l := socket(t)
	link := path + "-link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	g := access.New(access.Options{Rules: compile(t, lines(
		`[[access]]`, `user = "sensor"`, `queues = ["readings"]`, `allow = ["produce"]`,
		`[[access]]`, `group = "video"`, `queues = ["camera-*"]`, `allow = ["produce", "consume"]`,
		`[[access]]`, `group = "12003"`, `queues = ["*"]`, `deny = ["admin"]`,
		`[[access]]`, `group = "querator"`, `queues = ["*"]`, allOps,
	))})
	many := make([]uint32, 2000)
	for i := range many {
		many[i] = uint32(20000 + i)
	}
	for _, test := range []struct {
		name  string
		path  string
		who   who
		op    access.Operation
		queue string
		want  bool
	}{
		{"user", path, who{uid: 11001, gid: 1}, access.Produce, "readings", true},
		{"user through a symbolic link", link, who{uid: 11001, gid: 1}, access.Produce, "readings", true},
		{"user, another queue", path, who{uid: 11001, gid: 1}, access.Produce, "camera-1", false},
		{"stranger through a symbolic link", link, who{uid: 4, gid: 4}, access.Produce, "readings", false},
		{"supplementary group", path, who{uid: 5, gid: 5, groups: []uint32{1, 12002, 3}}, access.Consume, "camera-1", true},
		{"effective group", path, who{uid: 5, gid: 12002}, access.Consume, "camera-1", true},
		{"without the group", path, who{uid: 12002, gid: 5, groups: []uint32{1, 2}}, access.Consume, "camera-1", false},
		{"two groups, refused first", path, who{uid: 5, gid: 5, groups: []uint32{12001, 12003}}, access.Admin, "", false},
		{"two groups, the next rule", path, who{uid: 5, gid: 5, groups: []uint32{12001, 12003}}, access.Read, "", true},
		{"group 0 is not root", path, who{uid: 5, gid: 0, groups: []uint32{0}}, access.Read, "readings", false},
		{"overflow user", path, who{uid: 65534, gid: 65534}, access.Produce, "readings", false},
		{"many groups", path, who{uid: 5, gid: 5, groups: append(slices.Clone(many[:900]), 12002)}, access.Consume, "camera-1", true},
		{"too many groups, in doubt refused", path, who{uid: 5, gid: 5, groups: append(slices.Clone(many), 12001)}, access.Admin, "", false},
		{"root", path, who{}, access.Admin, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := connectAs(test.path, test.who)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			p := accept(t, g, l)
			d := g.Decide(p, test.op, test.queue)
			if d.Allowed != test.want {
				t.Errorf("%+v: %s; known of the caller: %+v", p.Cred, d, g.Caller(p))
			}
		})
	}
}

const allOps = `allow = ["produce", "consume", "read", "admin"]`

// A connection is of the process that made it, whoever has it later.
func TestConnectionThatIsHandedOn(t *testing.T) {
	needRoot(t)
	path, l := socket(t)
	g := access.New(access.Options{Rules: compile(t, lines(
		`[[access]]`, `user = "sensor"`, `queues = ["*"]`, allOps))})
	for _, test := range []struct {
		maker, user who
		want        bool
	}{
		{who{uid: 11001, gid: 1}, who{uid: 11002, gid: 1}, true},
		{who{uid: 11002, gid: 1}, who{uid: 11001, gid: 1}, false},
		{who{uid: 11002, gid: 1}, who{}, false},
	} {
		made, err := connectAs(path, test.maker)
		if err != nil {
			t.Fatal(err)
		}
		p := accept(t, g, l)
		got := handOn(t, made, test.user)
		if _, err := got.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if d := g.Decide(p, access.Read, "q"); d.Allowed != test.want {
			t.Errorf("made by %d, used by %d: %s", test.maker.uid, test.user.uid, d)
		}
	}
}

// handOn gives a connection to another user, over a socket between the two, and closes it here.
func handOn(t *testing.T, c net.Conn, to who) net.Conn {
	t.Helper()
	between, l := socket(t)
	to2, err := connectAs(between, to)
	if err != nil {
		t.Fatal(err)
	}
	defer to2.Close()
	from, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := c.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := from.WriteMsgUnix([]byte("x"), syscall.UnixRights(int(f.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c.Close()
	oob := make([]byte, 64)
	_, n, _, _, err := to2.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "handed on")
	defer file.Close()
	got, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Close() })
	return got
}

// Root of a user namespace is who it is outside of it.
func TestRootOfAUserNamespaceIsNotRoot(t *testing.T) {
	needRoot(t)
	path, l := socket(t)
	g := access.New(access.Options{Rules: compile(t, lines(`[[access]]`, `user = "sensor"`, `queues = ["mine"]`, allOps))})
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 11001, Size: 1}}
	helper(t, "connect "+path, &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one, GidMappings: one,
		Credential: &syscall.Credential{Uid: 0, Gid: 0},
	})
	p := accept(t, g, l)
	if p.UID != 11001 || g.Decide(p, access.Admin, "other").Allowed || !g.Decide(p, access.Admin, "mine").Allowed {
		t.Errorf("the caller is %+v; on other: %s, on mine: %s", p.Cred, g.Decide(p, access.Admin, "other"), g.Decide(p, access.Admin, "mine"))
	}
}

// An agent in a user namespace does not know who is outside.
func TestStrangersToTheUserNamespace(t *testing.T) {
	needRoot(t)
	dir, _ := socket(t)
	path := filepath.Join(filepath.Dir(dir), "inside")
	if err := os.Chmod(filepath.Dir(dir), 0o777); err != nil {
		t.Fatal(err)
	}
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	_, out := helper(t, "guard "+path, &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one, GidMappings: one,
	})
	c, err := connectAs(path, who{uid: 11001, gid: 11001})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := readLine(t, out); got != "uid 65534" {
		t.Errorf("the guard says %q", got)
	}
}

// What one user takes leaves something to others.
func TestConnectionsOfOneUser(t *testing.T) {
	needRoot(t)
	path, l := socket(t)
	g := access.New(access.Options{Shares: access.Shares{Connections: 80}})
	connect := func(uid int) error {
		c, err := connectAs(path, who{uid: uid, gid: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_, err = g.Greet(conn)
		return err
	}
	count := func(uid int) (n int) {
		for ; n < 80; n++ {
			if err := connect(uid); err != nil {
				if !errors.Is(err, queue.ErrOverloaded) {
					t.Fatal(err)
				}
				return n
			}
		}
		return n
	}
	for _, test := range []struct{ uid, want int }{{4001, 70}, {4002, 9}, {0, 1}, {4003, 0}, {4001, 0}} {
		if got := count(test.uid); got != test.want {
			t.Errorf("user %d got %d connections, want %d", test.uid, got, test.want)
		}
	}
}
