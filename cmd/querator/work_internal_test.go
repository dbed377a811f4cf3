package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// newQueue starts an agent with a queue q that has these items.
func newQueue(t *testing.T, payloads ...string) string {
	socket := serveAgent(t, 64<<20)
	for _, args := range [][]string{{"create", "q"}} {
		if r := command(t.Context(), socket, "", args...); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	for _, p := range payloads {
		if r := command(t.Context(), socket, p, "produce", "q", "--kind", "k", "--encoding", "e", "--reference", "r"); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	return socket
}

func TestWorkGivesTheItemToTheCommand(t *testing.T) {
	socket := newQueue(t, "payload")
	r := command(t.Context(), socket, "", "work", "q", "--drain", "--", "sh", "-c",
		`cat; echo; env | grep '^QUERATOR_' | sort; echo note >&2`)
	if r.code != 0 || r.stderr != "note\n" {
		t.Fatalf("exit %d, stderr %q", r.code, r.stderr)
	}
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	var names []string
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, "=")
		names = append(names, name)
		if want, ok := map[string]string{"QUERATOR_QUEUE": "q", "QUERATOR_PARTITION": "0", "QUERATOR_ATTEMPTS": "1",
			"QUERATOR_KIND": "k", "QUERATOR_ENCODING": "e", "QUERATOR_REFERENCE": "r"}[name]; ok && value != want || value == "" {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
	want := []string{"QUERATOR_ATTEMPTS", "QUERATOR_ENCODING", "QUERATOR_ID", "QUERATOR_KIND", "QUERATOR_LEASE_DEADLINE",
		"QUERATOR_PARTITION", "QUERATOR_QUEUE", "QUERATOR_REFERENCE"}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "QUERATOR_SOCKET" })
	if lines[0] != "payload" || !slices.Equal(names, want) {
		t.Errorf("stdin was %q, the environment has %q", lines[0], names)
	}
	if r := command(t.Context(), socket, "", "items", "list", "q", "--output", "jsonl"); r.stdout != "" {
		t.Errorf("the item is still there: %s", r.stdout)
	}
}

func TestWorkRetriesWhatFails(t *testing.T) {
	socket := newQueue(t, "bad", "good", "bad", "a payload that is not read"+strings.Repeat("x", 1<<20))
	r := command(t.Context(), socket, "", "work", "q", "--drain", "--concurrency", "3", "--retry-min", "1h", "--retry-max", "1h",
		"--", "sh", "-c", `read -r word; test "$word" != bad`)
	if r.code != 0 || strings.Count(r.stderr, "exit status 1") != 2 {
		t.Errorf("exit %d, stderr %q; want exit status 1 twice", r.code, r.stderr)
	}
	c := &client.Client{Socket: socket}
	defer c.Close()
	s, err := c.Stats(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Partitions[0]; p.Total != 0 || p.Scheduled != 2 {
		t.Errorf("%d items are ready and %d scheduled, want 0 and 2", p.Total, p.Scheduled)
	}
}

// fifo makes a named pipe; reading it waits for a command that writes to it.
func fifo(t *testing.T) (path string, read func() string) {
	path = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(text))
	}
}

func TestWorkKillsTheCommandWhenItsLeaseIsLost(t *testing.T) {
	socket := newQueue(t, "x")
	path, read := fifo(t)
	done := make(chan result)
	go func() {
		// The command ignores SIGTERM, and has started another.
		done <- command(t.Context(), socket, "", "work", "q", "--drain", "--lease-timeout", "300ms", "--",
			"sh", "-c", `trap '' TERM; sleep 1000 & echo $QUERATOR_ID $$ $! > `+path+`; while :; do wait; done`)
	}()
	fields := strings.Fields(read())
	if len(fields) != 3 {
		t.Fatalf("the command wrote %q", fields)
	}
	if r := command(t.Context(), socket, "", "items", "delete", "q", fields[0]); r.code != 0 {
		t.Fatal(r.stderr)
	}
	r := <-done
	if r.code != 0 || !strings.Contains(r.stderr, "lease") {
		t.Errorf("exit %d, stderr %q", r.code, r.stderr)
	}
	for _, pid := range fields[1:] {
		assertGone(t, pid)
	}
}

// assertGone reports a process that still runs. One that was killed may be a zombie until its parent, which is
// not this process, has taken note.
func assertGone(t *testing.T, pid string) {
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + pid + "/stat")
	if err == nil && !strings.Contains(string(status), ") Z ") && !strings.Contains(string(status), ") X ") {
		t.Errorf("process %s still runs: %s", pid, status)
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
}

func TestWorkEndsInOrder(t *testing.T) {
	socket := newQueue(t, "begun", "not begun")
	begun, readBegun := fifo(t)
	goOn, _ := fifo(t)
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan result)
	go func() {
		done <- command(ctx, socket, "", "work", "q", "-b", "2", "--", "sh", "-c", "echo x > "+begun+"; read -r line < "+goOn)
	}()
	readBegun()
	interrupt()
	if err := os.WriteFile(goOn, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.code != 0 || r.stderr != "" {
		t.Errorf("exit %d, stderr %q", r.code, r.stderr)
	}
	c := &client.Client{Socket: socket}
	defer c.Close()
	s, err := c.Stats(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Partitions[0]; p.Total != 1 || p.Leased != 0 {
		t.Errorf("%d items, %d leased; want the one that was not begun, ready", p.Total, p.Leased)
	}
}

func TestWorkWithoutAQueue(t *testing.T) {
	socket := serveAgent(t, 1<<20)
	if r := command(t.Context(), socket, "", "work", "nope", "--", "true"); r.code != 1 || !strings.Contains(r.stderr, "no such queue") {
		t.Errorf("exit %d, stderr %q", r.code, r.stderr)
	}
}
