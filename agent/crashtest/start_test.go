package crashtest_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// Exit codes that scripts and units depend on.
const (
	exitUnavailable = 69
	exitConfig      = 78
)

// nobody is a user that owns nothing.
const nobody = 65534

// waitTimeout is far beyond what an agent that cannot start may take to say so.
const waitTimeout = 30 * time.Second

// refuses starts an agent that must end with the code and one line that has all
// the words.
func refuses(t *testing.T, a *crashtest.Agent, code int, words ...string) {
	t.Helper()
	p, err := a.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	got, err := p.Wait(waitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	text := p.Stderr()
	if got != code {
		t.Errorf("exit code %d, want %d: %s", got, code, text)
	}
	first, _, _ := strings.Cut(text, "\n")
	for _, word := range words {
		if !strings.Contains(first, word) {
			t.Errorf("the message does not say %q: %s", word, text)
		}
	}
	if strings.Contains(text, "goroutine ") || strings.Count(text, "\n") > 2 {
		t.Errorf("the message is not one line and a hint: %s", text)
	}
}

// newAgent returns an agent with everything below one short directory.
func newAgent(t *testing.T) *crashtest.Agent {
	dir := shortDir(t)
	return &crashtest.Agent{Binary: program, Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "s")}
}

// started starts an agent that the test may use, until its end.
func started(t *testing.T, a *crashtest.Agent) *crashtest.Process {
	t.Helper()
	p, err := a.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.Ready(waitTimeout); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDirectoryThatMayNotBeWritten(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start the agent as another user")
	}
	// The program must be where the other user may read it.
	for _, dir := range []string{filepath.Dir(program)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a := newAgent(t)
	base := filepath.Dir(a.Dir)
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	a.User = nobody
	refuses(t, a, exitConfig, a.Dir, "permission denied")

	if err := os.Mkdir(a.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	refuses(t, a, exitConfig, a.Dir, "permission denied")

	// The data may be written, the directory of the socket may not.
	if err := os.Chown(a.Dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	refuses(t, a, exitConfig, base, "permission denied", "--socket")
}

func TestDataDirectoryIsAFile(t *testing.T) {
	a := newAgent(t)
	if err := os.WriteFile(a.Dir, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, a, exitConfig, a.Dir, "not a directory")
	if text, err := os.ReadFile(a.Dir); err != nil || string(text) != "mine" {
		t.Errorf("the file holds %q now: %v", text, err)
	}
}

func TestSocketPathTooLong(t *testing.T) {
	a := newAgent(t)
	a.Socket = filepath.Join(filepath.Dir(a.Socket), strings.Repeat("s", 105))
	refuses(t, a, exitConfig, "bytes", "--socket")
}

func TestSocketPathIsAFile(t *testing.T) {
	a := newAgent(t)
	if err := os.WriteFile(a.Socket, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, a, exitConfig, a.Socket, "a file", "--socket")
	if text, err := os.ReadFile(a.Socket); err != nil || string(text) != "mine" {
		t.Errorf("the file holds %q now: %v", text, err)
	}
}

func TestSocketTakenByALiveAgent(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	b := *a
	b.Dir += "-2"
	refuses(t, &b, exitUnavailable, a.Socket, fmt.Sprintf("pid %d", p.Pid()))
	if err := p.Ready(waitTimeout); err != nil {
		t.Errorf("the first agent is not served any more: %v", err)
	}
}

func TestSocketLeftByADeadAgent(t *testing.T) {
	a := newAgent(t)
	started(t, a).Kill()
	if _, err := net.Dial("unix", a.Socket); err == nil {
		t.Fatal("somebody serves the socket")
	}
	started(t, a)
}

func TestTwoAgentsOnOneDirectory(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	b := *a
	b.Socket += "2"
	refuses(t, &b, exitUnavailable, a.Dir, fmt.Sprintf("process %d", p.Pid()))
	p.Kill()
	started(t, &b)
}

func TestDamagedConfiguration(t *testing.T) {
	a := newAgent(t)
	file := filepath.Join(filepath.Dir(a.Dir), "c.toml")
	a.Args = []string{"--config", file}
	refuses(t, a, exitConfig, file, "no such file")
	for text, word := range map[string]string{
		"memory-limt = 3":                  file + ":1: memory-limt: unknown key",
		"\n[limits]\nmax-connections = 0":  file + ":3: limits.max-connections",
		"\x00\xff[[[":                      file + ":1:",
		"[shutdown]\ntimeout = \"10\"\n":   file + ":2: shutdown.timeout",
		"[[queue]]\nname = \"a b\"\n":      file + ":2: queue[0].name",
		"memory-limit = \"64MiB\"\nmemory": file + ":2",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, a, exitConfig, word)
	}
	if _, err := os.Stat(a.Dir); err == nil {
		t.Error("the data directory was made although the configuration is wrong")
	}
}
