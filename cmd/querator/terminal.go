package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminal is the screen and the keyboard of a person, for a program that draws the whole screen. Between enter
// and leave it shows a screen of its own, and keys come without being echoed. All methods but size are called from
// one goroutine.
type terminal struct {
	in, out *os.File
	before  *unix.Termios // as it was; nil outside enter and leave
}

// What is sent to the terminal.
const (
	ansiEnter = "\x1b[?1049h\x1b[?25l" // another screen, no cursor
	ansiLeave = "\x1b[0m\x1b[?25h\x1b[?1049l"
	ansiHome  = "\x1b[H"
	ansiEOL   = "\x1b[K" // clear to the end of the line
	ansiBelow = "\x1b[J" // clear what is below
	ansiBold  = "\x1b[1m"
	ansiTitle = "\x1b[7m"
	ansiPlain = "\x1b[0m"
)

// newTerminal returns the terminal that in and out are, or an error if they are none.
func newTerminal(in, out any) (*terminal, error) {
	i, isFile := in.(*os.File)
	o, alsoFile := out.(*os.File)
	if !isFile || !alsoFile || !isTerminal(i) || !isTerminal(o) {
		return nil, errors.New("standard input and output are not a terminal")
	}
	return &terminal{in: i, out: o}, nil
}

// enter takes the terminal over.
func (t *terminal) enter() error {
	fd := int(t.in.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("the terminal cannot be used: %w", err)
	}
	now := *before
	now.Lflag &^= unix.ICANON | unix.ECHO // Signals stay: ctrl-c ends the program.
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &now); err != nil {
		return fmt.Errorf("the terminal cannot be used: %w", err)
	}
	t.before = before
	_, err = t.out.WriteString(ansiEnter)
	return err
}

// leave gives it back as it was. It may be called again.
func (t *terminal) leave() {
	if t.before == nil {
		return
	}
	// Nothing can be done about errors: the terminal has gone.
	_, _ = t.out.WriteString(ansiLeave)
	_ = unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, t.before)
	t.before = nil
}

// suspend stops this process as ctrl-z does, and returns when it goes on.
func (t *terminal) suspend() error {
	t.leave()
	if err := unix.Kill(unix.Getpid(), unix.SIGSTOP); err != nil {
		return err
	}
	return t.enter()
}

// size returns the columns and lines, 80 and 24 if the terminal does not know.
func (t *terminal) size() (width, height int) {
	ws, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 || ws.Row == 0 {
		return 80, 24
	}
	return int(ws.Col), int(ws.Row)
}

// pollTimeout is how often a reader of keys looks whether it is to end.
const pollTimeout = 100 // milliseconds

// keys sends what is typed, a sequence of bytes at a time, until done is closed; it closes the channel when the
// terminal has gone.
func (t *terminal) keys(to chan<- string, done <-chan struct{}) {
	defer close(to)
	fd := int(t.in.Fd())
	buf := make([]byte, 64)
	for {
		select {
		case <-done:
			return
		default:
		}
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(polled, pollTimeout)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return
		}
		n, err = unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		select {
		case to <- string(buf[:n]):
		case <-done:
			return
		}
	}
}

// signals returns a channel with those that a program on a terminal has to mind beside what ends every command;
// stop gives them up.
func (t *terminal) signals() (from <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGWINCH, unix.SIGTSTP, unix.SIGHUP, unix.SIGQUIT)
	return c, func() { signal.Stop(c) }
}
