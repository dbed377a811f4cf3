package agent_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/paths"
	"github.com/kapetan-io/querator-edge/agent/systemd"
)

const patience = 30 * time.Second

// service is an agent under a service manager, which the test plays: it holds the
// socket and hears the notes.
type service struct {
	t       *testing.T
	dir     string
	socket  *net.UnixListener
	notes   *net.UnixConn
	reloads chan os.Signal
	log     lockedBuffer
	stop    context.CancelFunc
	ended   chan error
}

// lockedBuffer is a buffer that goroutines share.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newService(t *testing.T) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, dir: dir, reloads: make(chan os.Signal)}
	t.Cleanup(func() {
		s.end()
		os.RemoveAll(dir)
	})
	if s.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: s.path("q.sock"), Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.socket.Close() })
	if s.notes, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path("notify"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.notes.Close() })
	return s
}

func (s *service) path(name string) string { return filepath.Join(s.dir, name) }

// configure writes the configuration.
func (s *service) configure(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path("querator.toml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) load() (*config.Loaded, error) {
	return config.LoadAgent(config.Flags{Config: s.path("querator.toml"), DataDir: s.path("data")},
		paths.Env{
			Getenv: func(name string) string { return map[string]string{"HOME": s.dir}[name] },
			EUID:   1000, Exists: func(string) bool { return false },
		})
}

// start starts the agent and waits until it is ready.
func (s *service) start() {
	s.t.Helper()
	loaded, err := s.load()
	if err != nil {
		s.t.Fatal(err)
	}
	file, err := s.socket.File()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.ended = stop, make(chan error, 1)
	o := agent.Options{
		Config: loaded, Version: "test", Stderr: &s.log, Socket: file, Reload: s.load, Reloads: s.reloads,
		Systemd: systemd.NewNotifier(func(name string) string {
			return map[string]string{"NOTIFY_SOCKET": s.path("notify"), "WATCHDOG_USEC": "200000"}[name]
		}),
	}
	go func() { s.ended <- agent.Run(ctx, o) }()
	s.note("READY=1")
}

// note waits for a note that begins with text.
func (s *service) note(text string) string {
	s.t.Helper()
	if err := s.notes.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := s.notes.Read(buf)
		if err != nil {
			s.t.Fatalf("no note %s: %v\n%s", text, err, s.log.String())
		}
		if got := string(buf[:n]); strings.HasPrefix(got, text) {
			return got
		}
	}
}

// end ends the agent, if it runs.
func (s *service) end() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	if err := <-s.ended; err != nil {
		s.t.Error(err)
	}
}

func (s *service) reload() string {
	s.t.Helper()
	s.reloads <- syscall.SIGHUP
	if got := s.note("RELOADING=1"); !strings.Contains(got, "MONOTONIC_USEC=") {
		s.t.Errorf("the note has no time: %q", got)
	}
	return s.note("READY=1")
}

func (s *service) queues() string {
	s.t.Helper()
	c := &client.Client{Socket: s.path("q.sock")}
	defer c.Close()
	list, err := c.ListQueues(s.t.Context(), "", 0)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for i := range list {
		names = append(names, list[i].Name)
	}
	return strings.Join(names, " ")
}

func TestNotesOfAService(t *testing.T) {
	s := newService(t)
	s.configure("[[queue]]\nname = \"a\"\n[socket]\nmode = \"0600\"\n")
	s.start()
	s.note("WATCHDOG=1")
	s.note("WATCHDOG=1")
	if log := s.log.String(); !strings.Contains(log, `"setting":"socket.mode"`) || strings.Contains(log, `"setting":"socket.path"`) {
		t.Errorf("the log does not name the setting that is not used:\n%s", log)
	}
	s.stop()
	if got := s.note("STOPPING=1"); !strings.Contains(got, "EXTEND_TIMEOUT_USEC=") {
		t.Errorf("the note gives no time: %q", got)
	}
	s.end()
	if _, err := os.Stat(s.path("q.sock")); err != nil {
		t.Errorf("the socket of the service manager: %v", err)
	}
}

func TestReload(t *testing.T) {
	s := newService(t)
	s.configure("")
	s.start()
	s.configure("log-level = \"debug\"\n[[queue]]\nname = \"a\"\n")
	if got := s.reload(); !strings.Contains(got, "STATUS=1 queue with 0 items") || s.queues() != "a" {
		t.Errorf("a queue was added: %q, there are %q", got, s.queues())
	}
	s.configure("memory-limit = \"96MiB\"\n[[queue]]\nname = \"a\"\n")
	for range 2 { // It goes on waiting.
		if got := s.reload(); !strings.Contains(got, "waiting for a restart: memory-limit") || strings.Contains(got, "log-level") {
			t.Errorf("a setting that needs a restart: %q", got)
		}
	}
	s.configure("memory-limti = 3\n")
	if got := s.reload(); !strings.Contains(got, "has mistakes") || !strings.Contains(s.log.String(), "memory-limti") {
		t.Errorf("a mistake: %q\n%s", got, s.log.String())
	}
	c := &client.Client{Socket: s.path("q.sock")}
	defer c.Close()
	if err := c.CreateQueue(t.Context(), client.QueueInfo{Name: "c", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if got := s.note("STATUS=2 queues"); !strings.Contains(got, "has mistakes") {
		t.Errorf("the mistake is there no more when other things have changed: %q", got)
	}
	s.configure("[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\n")
	if got := s.reload(); strings.Contains(got, "restart") || strings.Contains(got, "mistakes") || s.queues() != "a b c" {
		t.Errorf("back again: %q, there are %q", got, s.queues())
	}
}

// The rules of access count from the reload on; rules with a mistake change nothing.
func TestReloadOfAccessRules(t *testing.T) {
	s := newService(t)
	s.configure("[[queue]]\nname = \"a\"\n")
	s.start()
	c := &client.Client{Socket: s.path("q.sock")}
	defer c.Close()
	ask := func() string {
		t.Helper()
		a, err := c.CheckAccess(t.Context(), client.AccessQuestion{User: "4711", Queue: "a", Operation: "read"})
		if err != nil {
			t.Fatal(err)
		}
		return a.Reason
	}
	const none = "allowed: there are no rules, and who can connect may do everything"
	if got := ask(); got != none {
		t.Errorf("without rules: %q", got)
	}
	rule := "[[queue]]\nname = \"a\"\n[[access]]\nuser = \"4711\"\nqueues = [\"a\"]\n"
	s.configure(rule + "allow = [\"read\"]\n")
	byRule := "by rule 1 (" + s.path("querator.toml") + ":3)"
	if got := s.reload(); strings.Contains(got, "restart") || ask() != "allowed "+byRule {
		t.Errorf("with a rule: %q, %q", got, ask())
	}
	s.configure(rule + "deny = [\"read\"]\n")
	if got := s.reload(); strings.Contains(got, "restart") || ask() != "refused "+byRule {
		t.Errorf("with another: %q, %q", got, ask())
	}
	for _, wrong := range []string{"allow = [\"reed\"]\n", "allow = [\"read\"]\ngroup = \"no-such-group\"\n"} {
		s.configure(rule + wrong)
		if got := s.reload(); !strings.Contains(got, "has mistakes") || ask() != "refused "+byRule {
			t.Errorf("with %q: %q, %q", wrong, got, ask())
		}
	}
	s.configure("[[queue]]\nname = \"a\"\n")
	if got := s.reload(); strings.Contains(got, "restart") || ask() != none {
		t.Errorf("without rules again: %q, %q", got, ask())
	}
}

// Clients that connect while the agent is being restarted lose nothing: each of
// their requests is answered, by the old agent or by the new one.
func TestRestartLosesNoRequest(t *testing.T) {
	s := newService(t)
	s.configure("[[queue]]\nname = \"a\"\n")
	s.start()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	counts := make([]int, 4)
	for i := range counts {
		clients.Go(func() {
			for ctx.Err() == nil {
				// Each request has a connection of its own, as with curl.
				c := &client.Client{Socket: s.path("q.sock")}
				err := c.Produce(context.Background(), "a", client.ProduceItem{Payload: []byte("x")})
				c.Close()
				if err != nil {
					t.Errorf("client %d, request %d: %v", i, counts[i], err)
					return
				}
				counts[i]++
			}
		})
	}
	for range 3 {
		s.end()
		s.start()
	}
	cancel()
	clients.Wait()
	c := &client.Client{Socket: s.path("q.sock")}
	defer c.Close()
	total := 0
	for _, n := range counts {
		if n == 0 {
			t.Error("a client got nothing done")
		}
		total += n
	}
	stats, err := c.Stats(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if stored := stats.Partitions[0].Total; stored != total {
		t.Errorf("%d requests were answered, %d items are there", total, stored)
	}
}
