package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// startBy is how long a peer may take to read its backlog and answer.
	startBy = 5 * time.Minute
	// lookEvery is how often a peer that starts is asked.
	lookEvery = 2 * time.Millisecond
	// callBy is how long a connection is used at most, so that a peer that hangs ends the program.
	callBy = 15 * time.Minute
	// leaseTimeout is longer than any measurement.
	leaseTimeout = time.Hour
)

// peer is a program that takes items, in one way of syncing. One session uses it at a time.
type peer interface {
	name() string
	// durable reports whether it answers a produce and a complete only when they are on flash.
	durable() bool
	// start starts it on what lies in dir. relaxed allows it not to sync, for filling it fast; what it keeps is of
	// the same form.
	start(ctx context.Context, dir string, relaxed bool) error
	// create makes the queue in a new store.
	create(ctx context.Context) error
	// dial returns a client of its own.
	dial() (conn, error)
	// pid is its process, or 0 if it has none of its own.
	pid() int
	// kill ends it with SIGKILL and waits for its end.
	kill()
}

// conn is a client of a peer: one connection, used by one goroutine, one call at a time. Calls with many items send
// them at once and wait for all answers.
type conn interface {
	produce(batch [][]byte) error
	// lease takes up to n items, waiting for the first, and returns how many it got; 0 is none in time.
	lease(n int, wait time.Duration) (int, error)
	// complete completes what the last lease took.
	complete() error
	close()
}

// sharer is a peer whose clients do better when they are of one program, and share connections.
type sharer interface {
	// share returns a function that dials such clients, and one that closes what they share, after them.
	share() (dial func() (conn, error), closeAll func(), err error)
}

// errBusy is the error of a conn when the peer says "try again".
var errBusy = errors.New("try again")

// process is the process of a peer. Its output goes to a file beside its directory.
type process struct {
	cmd *exec.Cmd
	log string
	// slack is by how much the kernel may let it sleep longer than it asks for; 0 is what
	// the kernel does by itself.
	slack time.Duration
}

func (p *process) run(ctx context.Context, dir, program string, args ...string) error {
	p.log = dir + ".log"
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	if err := p.begin(); err != nil {
		p.cmd = nil
		return fmt.Errorf("starting %s: %w", program, err)
	}
	return nil
}

// begin starts the process. It has the slack of the thread that starts it.
func (p *process) begin() error {
	if p.slack == 0 {
		return p.cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Where the kernel does not let us it has its own, and is a bit slower.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(p.slack), 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }() // The default of the thread again.
	return p.cmd.Start()
}

func (p *process) pid() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // It may have ended by itself.
	_ = p.cmd.Wait()         // Killed, as was asked for.
	p.cmd = nil
}

// await calls ready until it succeeds. An error has the last lines of what the process said.
func (p *process) await(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startBy)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(p.log) // Only to add to the error.
			return fmt.Errorf("not ready in time: %w\n%s", errors.Join(ctx.Err(), err), lastLines(text, 10))
		case <-time.After(lookEvery):
		}
	}
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

// freePort returns the address of a port of this machine that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// wire is a connection of a text protocol. What is to be sent gathers in out.
type wire struct {
	net.Conn
	r   *bufio.Reader
	out []byte
	// writing, if not nil, is closed at the end of a write that goes on while answers are read; then writeErr says
	// how it went.
	writing  chan struct{}
	writeErr error
}

// wholeWrite is what is written before answers are read. More could wait for ever for a peer that waits for somebody
// to read its answers.
const wholeWrite = 32 << 10

func dialWire(network, address string) (*wire, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(callBy)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &wire{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// flush sends what has gathered.
func (w *wire) flush() error {
	if w.writing != nil {
		<-w.writing
		w.writing = nil
		if w.writeErr != nil {
			return w.writeErr
		}
	}
	out := w.out
	w.out = w.out[:0]
	if len(out) <= wholeWrite {
		_, err := w.Write(out)
		return err
	}
	w.out = nil
	w.writing = make(chan struct{})
	go func() {
		defer close(w.writing)
		_, w.writeErr = w.Write(out)
	}()
	return nil
}

// line reads a line without its end. It is valid until the next read.
func (w *wire) line() ([]byte, error) {
	b, err := w.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b[:len(b)-1], []byte("\r")), nil
}

// skip passes over n bytes and the end of the line behind them.
func (w *wire) skip(n int) error {
	_, err := w.r.Discard(n + len("\r\n"))
	return err
}

func (w *wire) close() {
	_ = w.Close() // Everything was answered.
	if w.writing != nil {
		<-w.writing
	}
}

// readInto reads n bytes into b, which grows if it must.
func readInto(r io.Reader, b []byte, n int) ([]byte, error) {
	b = slices.Grow(b[:0], n)[:n]
	_, err := io.ReadFull(r, b)
	return b, err
}
