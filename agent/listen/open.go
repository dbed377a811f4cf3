package listen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What Open may fail with; each error says what to do.
var (
	// ErrInUse is returned when another process serves the socket (exit code 69).
	ErrInUse = errors.New("the socket is in use")
	// ErrPath is returned when the path, the mode or the group cannot be used as they are configured (exit code 78).
	ErrPath = errors.New("the socket cannot be made")
)

const (
	// MaxPath is the longest path of a socket in bytes that other systems take too; Linux takes 107.
	MaxPath = 104
	// DefaultMaxConns is the bound of connections if Options give none.
	DefaultMaxConns = 1000

	// dialTimeout is for a live process whose accept queue is full.
	dialTimeout = 2 * time.Second
	// maxTries bounds how often Open starts over because another agent changed the path meanwhile.
	maxTries = 5
)

// Options say where the socket is and who may connect.
type Options struct {
	// Path of the socket, up to MaxPath bytes. A missing directory is made: for the owner alone, and for
	// Group too if there is one.
	Path string
	// Mode of the socket, permission bits only; 0 means 0600.
	Mode fs.FileMode
	// Group is the name or number of the socket's group; "" leaves that of the process.
	Group string
	// MaxConns is the number of connections that may be open at once; 0 means DefaultMaxConns.
	MaxConns int
	// WideConns is how many of them at a time have WideBuffer bytes of the kernel's memory for what was written
	// and is not read yet; the others have the least that the kernel allows, about 4 KiB. Without a bound
	// (WideBuffer 0) each may take 200 KiB, which counts as memory of this process.
	WideConns, WideBuffer int
}

// Open makes the socket and listens on it. The error is ErrInUse, ErrPath or that of the system. Nothing but a
// socket that nobody serves is ever removed. The caller owns the Listener and closes it.
func Open(o Options) (*Listener, error) {
	if err := checkPath(o.Path); err != nil {
		return nil, err
	}
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	if err := makeDir(filepath.Dir(o.Path), gid); err != nil {
		return nil, err
	}
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	for range maxTries {
		if err := clearPath(o.Path); err != nil {
			return nil, err
		}
		inner, own, err := bind(o.Path, o.Mode, gid)
		if errors.Is(err, fs.ErrExist) {
			continue // Another agent was faster: see who it is.
		}
		if err != nil {
			return nil, err
		}
		return newListener(inner, own, o), nil
	}
	return nil, fmt.Errorf("%w: %s changed while it was being made; is another agent starting again and again?", ErrInUse, o.Path)
}

func newListener(inner *net.UnixListener, own os.FileInfo, o Options) *Listener {
	return &Listener{
		inner:  inner,
		path:   o.Path,
		own:    own,
		slots:  make(chan struct{}, o.MaxConns),
		wide:   make(chan struct{}, o.WideConns),
		buffer: o.WideBuffer,
		done:   make(chan struct{}),
	}
}

func checkPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%w: no path is given; use --socket", ErrPath)
	case len(path) > MaxPath:
		return fmt.Errorf("%w: %s has %d bytes and a socket's path may have %d; use a shorter --socket", ErrPath, path, len(path), MaxPath)
	case strings.HasPrefix(path, "@") || strings.ContainsRune(path, 0):
		return fmt.Errorf("%w: %q is not the path of a file; use a path such as /run/querator/querator.sock", ErrPath, path)
	case filepath.Base(path) == ".." || strings.HasSuffix(path, "/") || filepath.Base(path) == ".":
		return fmt.Errorf("%w: %s is a directory; add the name of the socket", ErrPath, path)
	}
	return nil
}

// groupID returns the number of a group, -1 (which chown leaves alone) for "".
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	text := group
	if found, err := user.LookupGroup(group); err == nil {
		text = found.Gid
	}
	gid, err := strconv.ParseInt(text, 10, 32)
	if err != nil || gid < 0 {
		return 0, fmt.Errorf("%w: there is no group %q; create it or change socket.group", ErrPath, group)
	}
	return int(gid), nil
}

// makeDir makes the directory of the socket if it is missing.
func makeDir(dir string, gid int) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return pathError(err, dir)
	}
	mode := fs.FileMode(0o700)
	if gid >= 0 {
		mode = 0o750
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return pathError(err, dir)
	}
	if gid < 0 {
		return nil
	}
	return pathError(os.Chown(dir, -1, gid), dir)
}

// clearPath sees to it that nothing is at the path, or says what is.
func clearPath(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pathError(err, path)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: %s exists and is %s; move it away or use another --socket", ErrPath, path, kind(info.Mode()))
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		return errors.Join(inUse(path, c), c.Close())
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return removeSame(path, info)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case isBusy(err):
		return fmt.Errorf("%w: %s is served by another process, which is too busy to answer; stop that or use another --socket", ErrInUse, path)
	case errors.Is(err, syscall.EPROTOTYPE):
		return fmt.Errorf("%w: %s is a socket of another kind; move it away or use another --socket", ErrPath, path)
	default:
		return pathError(err, path)
	}
}

// isBusy reports that somebody listens but does not accept: the accept queue is full.
func isBusy(err error) bool {
	var wait net.Error
	return errors.As(err, &wait) && wait.Timeout()
}

// inUse names the process that answered.
func inUse(path string, c net.Conn) error {
	who := "another agent"
	if cred, err := PeerCred(c); err == nil && cred.PID > 0 {
		who += fmt.Sprintf(" (pid %d)", cred.PID)
	}
	return fmt.Errorf("%w: socket %s is in use by %s; stop that or use another --socket", ErrInUse, path, who)
}

// bind makes the socket beside its path, gives it group and mode, and links it into place. The error is
// fs.ErrExist if something has come to the path.
func bind(path string, mode fs.FileMode, gid int) (_ *net.UnixListener, _ os.FileInfo, err error) {
	temporary := temporaryName(path)
	config := net.ListenConfig{Control: private}
	l, err := config.Listen(context.Background(), "unix", temporary)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, fs.ErrExist // A name of the same few letters; the next try takes another.
		}
		return nil, nil, pathError(err, filepath.Dir(path))
	}
	inner := l.(*net.UnixListener)
	inner.SetUnlinkOnClose(false)
	defer func() {
		err = errors.Join(err, os.Remove(temporary))
		if err != nil {
			err = errors.Join(err, inner.Close())
		}
	}()
	if gid >= 0 {
		if err := os.Lchown(temporary, -1, gid); err != nil {
			return nil, nil, fmt.Errorf("%w: socket %s cannot be given to group %d: %w; add the agent's user to it", ErrPath, path, gid, reason(err))
		}
	}
	if err := os.Chmod(temporary, mode.Perm()); err != nil {
		return nil, nil, pathError(err, path)
	}
	own, err := os.Lstat(temporary)
	if err != nil {
		return nil, nil, pathError(err, path)
	}
	if err := os.Link(temporary, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, nil, err
		}
		return nil, nil, pathError(err, path)
	}
	return inner, own, nil
}

// private closes a socket to all but its owner before it has a name: the file gets the mode of the socket.
func private(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), 0o600) })
	return errors.Join(err, failed)
}

// temporaryName returns a hidden name in the directory of path. It is never longer than 12 letters nor, beyond
// 4, than the name that it stands for: so it fits wherever a path of MaxPath fits, as Linux takes 3 more.
func temporaryName(path string) string {
	const prefix = ".q"
	length := min(max(len(filepath.Base(path)), 4), 12)
	return filepath.Join(filepath.Dir(path), prefix+strings.ToLower(rand.Text()[:length-len(prefix)]))
}

// removeSame removes what is at path if it is still the file that was seen there.
func removeSame(path string, seen os.FileInfo) error {
	now, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, seen) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return pathError(err, path)
}

// pathError says that a path cannot be used, nil if err is nil.
func pathError(err error, path string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w; use another --socket, or let the agent's user write there", ErrPath, path, reason(err))
}

// reason strips from an error what pathError says itself.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// kind names what is at the path in the socket's place.
func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	default:
		return "not a socket"
	}
}
