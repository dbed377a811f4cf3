package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// topSample is a sample with so many queues: queue-007 holds 7 items and had 70 produced.
func topSample(queues int, at time.Time, more uint64) *sample {
	s := &client.Status{Version: "1.2.3", Uptime: 26 * time.Hour, MaxConnections: 1000, Clock: client.ClockStatus{Trusted: true}}
	for i := range queues {
		s.Queues = append(s.Queues, client.QueueStatus{
			Info: client.QueueInfo{Name: fmt.Sprintf("queue-%03d", i)},
			Partitions: []client.PartitionStatus{{Ready: int64(i), AverageAge: time.Duration(i) * time.Minute,
				Ledger: client.Ledger{Produced: uint64(10*i) + more*uint64(queues-i)}}},
		})
	}
	return &sample{Status: s, at: at}
}

func TestTopFits(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	after := topSample(200, now.Add(2*time.Second), 20)
	after.Queues[0].Info.Name = strings.Repeat("測", 300)
	after.Queues[1].Info.Name = "e\u0301\x1b[31m\n" + strings.Repeat("x", 300)
	after.Queues[2].Partitions[0] = client.PartitionStatus{Failure: "input/output error"}
	after.Queues[3].Partitions[0].Ready = 1 << 60
	after.Queues[4].Partitions[0].AverageAge = 1 << 62
	after.Problems = []client.Problem{{Failing: true, About: strings.Repeat("long ", 50)}}
	for _, v := range []*topView{
		{sort: 1}, {sort: 0, reversed: true}, {now: topSample(0, now, 0)}, {now: after, err: errors.New(strings.Repeat("no ", 100))},
		{now: after, before: topSample(200, now, 0), sort: 4, first: 1000, paused: true},
		{now: after, before: after, sort: 0},
	} {
		for _, size := range [][2]int{{80, 24}, {120, 50}, {40, 10}, {20, 3}, {5, 2}, {200, 300}} {
			lines := v.draw(size[0], size[1])
			if len(lines) > max(size[1], 3) || v.now != nil && len(lines) != size[1] {
				t.Errorf("%dx%d: %d lines", size[0], size[1], len(lines))
			}
			for _, l := range lines {
				text := strings.TrimSuffix(strings.TrimPrefix(l, ansiTitle), ansiPlain)
				if textWidth(text) > size[0] || strings.ContainsAny(text, "\x1b\n\r\t") {
					t.Errorf("%dx%d: the line takes %d columns: %q", size[0], size[1], textWidth(text), l)
				}
			}
		}
	}
}

// names returns the first words of the rows on the screen.
func names(v *topView) string {
	var all []string
	for _, l := range v.draw(80, topHead+topFoot+3)[topHead:] {
		if f := strings.Fields(strings.TrimPrefix(l, "! ")); len(f) > 0 && strings.HasPrefix(f[0], "queue-") {
			all = append(all, f[0][len("queue-"):])
		}
	}
	return strings.Join(all, " ")
}

func TestTopKeys(t *testing.T) {
	now := time.Now()
	v := &topView{interval: 2 * time.Second, sort: 1, before: topSample(10, now, 0), now: topSample(10, now.Add(2*time.Second), 20)}
	v.now.Queues[5].Partitions[0].Failure = "gone"
	for _, step := range []struct{ keys, want string }{
		{"", "005 009 008"},
		{"R", "005 000 001"},
		{"Rn", "005 000 001"},
		{"\x1b[B", "000 001 002"},
		{"jj", "002 003 004"},
		{"k\x1b[A", "000 001 002"},
		{"\x1b[6~", "003 004 006"},
		{"G", "007 008 009"},
		{"\x1b[6~", "007 008 009"},
		{"\x1b[H", "005 000 001"},
		{"r", "005 009 008"},
		{"i", "005 000 001"}, // Queue 0 got the most.
		{"a", "005 009 008"},
		{"\x1b", "005 009 008"}, // Alone it is nothing.
		{"?~\xff", "005 009 008"},
	} {
		if goOn, _ := v.typed(step.keys); !goOn {
			t.Fatalf("%q ended it", step.keys)
		}
		if got := names(v); got != step.want {
			t.Errorf("after %q: %s, want %s", step.keys, got, step.want)
		}
	}
	if l := v.draw(80, 24); !strings.Contains(strings.Join(l, "\n"), "queue-000                          0       0      0    100 ") {
		t.Errorf("200 items in 2 s are not 100 a second:\n%s", strings.Join(l, "\n"))
	}
	v.typed("+++++")
	if v.interval != leastInterval {
		t.Errorf("the interval is %s, want %s", v.interval, leastInterval)
	}
	v.typed("----------")
	if v.interval != mostInterval {
		t.Errorf("the interval is %s, want %s", v.interval, mostInterval)
	}
	if goOn, _ := v.typed("p"); !goOn || !v.paused {
		t.Error("p does not pause")
	}
	if goOn, _ := v.typed("jq"); goOn {
		t.Error("q does not end it")
	}
}

// pseudoTerminal returns both ends of a new terminal of 80x24.
func pseudoTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 80, Row: 24}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// watcher keeps what a terminal was sent.
type watcher struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watcher) watch(f *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		w.mu.Lock()
		w.buf.Write(buf[:n])
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// waitFor waits until the terminal was sent a text.
func (w *watcher) waitFor(t *testing.T, text string) {
	t.Helper()
	late := time.After(30 * time.Second)
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for !strings.Contains(w.String(), text) {
		select {
		case <-every.C:
		case <-late:
			t.Fatalf("the terminal was never sent %q, but %q", text, w.String())
		}
	}
}

// TestTopOnATerminal runs top on a terminal of its own, and ends it in several ways; the terminal is then as it was.
func TestTopOnATerminal(t *testing.T) {
	socket := serveAgent(t, 64<<20)
	if r := command(t.Context(), socket, "", "queues", "create", "readings"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	for name, end := range map[string]func(master *os.File, cancel func()){
		"q":         func(master *os.File, _ func()) { fmt.Fprint(master, "q") },
		"interrupt": func(_ *os.File, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := pseudoTerminal(t)
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			var screen watcher
			go screen.watch(master) // It ends when the test closes the master.
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e := &env{stdin: slave, stdout: slave, stderr: slave, version: "1.2.3", shared: &client.Client{Socket: socket},
				getenv: func(name string) string { return map[string]string{"TERM": "xterm"}[name] }}
			ended := make(chan int, 1)
			go func() { ended <- e.run(ctx, []string{"top"}) }()
			screen.waitFor(t, "readings")
			during, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || during.Lflag&(unix.ICANON|unix.ECHO) != 0 {
				t.Errorf("keys are not read as they come: %+v, %v", during, err)
			}
			fmt.Fprint(master, "p")
			screen.waitFor(t, "PAUSED")
			end(master, cancel)
			if code := <-ended; code != 0 {
				t.Errorf("exit code %d", code)
			}
			screen.waitFor(t, ansiLeave)
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("the terminal is %+v, it was %+v (%v)", after, before, err)
			}
			if s := screen.String(); !strings.HasPrefix(s, ansiEnter) || !strings.HasSuffix(s, ansiLeave) {
				t.Errorf("the terminal was sent %q", s)
			}
		})
	}
}

func TestTopNeedsATerminal(t *testing.T) {
	r := command(t.Context(), "/nowhere", "", "top")
	if r.code != exitUsage || !strings.Contains(r.stderr, "querator status") {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
}
