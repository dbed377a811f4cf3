package agent

// An internal test: what a supervisor does at one look, step by step.

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/systemd"
)

// manager listens as a service manager with a watchdog does. taken returns the
// notes that have come.
func manager(t *testing.T) (n *systemd.Notifier, taken func() []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	n = systemd.NewNotifier(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000000"}[name]
	})
	return n, func() (notes []string) {
		buf := make([]byte, 4096)
		for {
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			k, err := c.Read(buf)
			if err != nil {
				return notes
			}
			notes = append(notes, string(buf[:k]))
		}
	}
}

func TestWatchdogIsFedByTheProbeAlone(t *testing.T) {
	n, taken := manager(t)
	var log bytes.Buffer
	var failure error
	s := &supervisor{
		notify: n, log: zerolog.New(&log),
		probe:  func(context.Context) error { return failure },
		status: func() string { return "2 queues" },
	}
	look := func(want ...string) {
		t.Helper()
		s.look(t.Context())
		if got := taken(); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	look("WATCHDOG=1", "STATUS=2 queues")
	look("WATCHDOG=1")
	failure = errors.New("the disk takes no sync")
	look("STATUS=failing: the disk takes no sync")
	look()
	if n := strings.Count(log.String(), "the disk takes no sync"); n != 1 {
		t.Errorf("the failure is in the log %d times, want once a minute:\n%s", n, log.String())
	}
	failure = nil
	look("WATCHDOG=1", "STATUS=2 queues")

	// A probe that only ends because the agent does says nothing.
	ctx, cancel := context.WithCancel(t.Context())
	s.probe = func(ctx context.Context) error {
		cancel()
		return nil
	}
	s.look(ctx)
	if got := taken(); len(got) > 0 {
		t.Errorf("at the end it told %q", got)
	}
}

func TestSupervisorEnds(t *testing.T) {
	n, _ := manager(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	s := &supervisor{notify: n, status: func() string { return "" }, probe: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	go func() { s.run(ctx); close(ended) }()
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestProberTriesTheDisks(t *testing.T) {
	good, full := t.TempDir(), t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(full, probeFile)); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.PartitionStorages = []config.PartitionStorage{
		{Driver: config.DriverBadger, StorageDir: good}, {Driver: config.DriverMemory}, {Driver: config.DriverBadger, StorageDir: full},
	}
	var failure error
	p := newProber(&cfg, func(context.Context) error { return failure })
	if err := p.probe(t.Context()); err != nil {
		t.Fatalf("a good and a full disk: %v", err)
	}
	path := filepath.Join(good, probeFile)
	first, err := os.Stat(path)
	if err != nil || first.Size() == 0 || first.Size() > 4096 {
		t.Fatalf("the probe file: %v, %v", first, err)
	}
	// Once an hour, in the same place.
	if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	written := func() bool {
		fi, err := os.Stat(path)
		if err != nil || fi.Size() != first.Size() {
			t.Fatalf("the probe file: %v, %v", fi, err)
		}
		return !fi.ModTime().Equal(time.Unix(1, 0))
	}
	if err := p.probe(t.Context()); err != nil || written() {
		t.Errorf("at once again: %v, written %v", err, written())
	}
	p.last = p.last.Add(-syncEvery)
	if err := p.probe(t.Context()); err != nil || !written() {
		t.Errorf("an hour later: %v, written %v", err, written())
	}
	// A disk that is gone, and a loop that hangs.
	if err := os.RemoveAll(good); err != nil {
		t.Fatal(err)
	}
	p.last = time.Time{}
	for range 2 {
		if err := p.probe(t.Context()); err == nil || !strings.Contains(err.Error(), "takes no sync") {
			t.Errorf("a disk that is gone: %v", err)
		}
	}
	failure = errors.New("a commit hangs")
	if err := p.probe(t.Context()); !errors.Is(err, failure) {
		t.Errorf("a commit that hangs: %v", err)
	}
}

func TestJournalPriorities(t *testing.T) {
	cfg := config.Default()
	var out bytes.Buffer
	var level logLevel
	log := newLog(&cfg, &out, false, true, &level)
	log.Debug().Msg("no")
	log.Info().Msg("i")
	log.Warn().Msg("w")
	log.Error().Msg("e")
	level.set(config.LevelDebug)
	log.Debug().Msg("d")
	level.set(config.LevelError)
	log.Warn().Msg("no")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{`<6>{"level":"info"`, `<4>{"level":"warn"`, `<3>{"level":"error"`, `<7>{"level":"debug"`}
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) || !strings.HasSuffix(lines[i], "}") {
			t.Errorf("line %d: %s, want %s", i, lines[i], w)
		}
	}
}
