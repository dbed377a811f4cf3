package memtest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/memtest"
)

var seedFlag = flag.Uint64("seed", 0, "seed of what the clients send; 0 takes a new one")

// howLong returns how long the load runs at each limit, from QUERATOR_MEMORY, and
// whether that is the whole load.
func howLong(t *testing.T) (during time.Duration, whole bool) {
	switch text := os.Getenv("QUERATOR_MEMORY"); text {
	case "":
		t.Skip("NOT RUN: it takes a memory cgroup and a quiet machine; see make memory")
		return 0, false
	case "short":
		return 10 * time.Second, false
	default:
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("QUERATOR_MEMORY: %v", err)
		}
		return d, true
	}
}

const mib = 1 << 20

// allForOne lets one user, who is all clients here, have all connections that there are.
const allForOne = "[limits]\nmax-user-connections = 1000\n"

// waitTimeout bounds waiting for a process that is expected to act.
const waitTimeout = time.Minute

// TestMemory runs the program in a memory cgroup that is as large as its
// memory-limit and its text together.
func TestMemory(t *testing.T) {
	howLong(t)
	for _, limit := range []int64{64 * mib, 32 * mib} {
		t.Run(fmt.Sprintf("%dMiB", limit/mib), func(t *testing.T) { underLimit(t, limit) })
	}
}

// newLoad returns the whole load in the long form, a smaller one in the short.
func newLoad(t *testing.T, socket string, seed uint64) (*memtest.Load, time.Duration) {
	during, whole := howLong(t)
	l := &memtest.Load{
		Socket: socket, Tally: memtest.NewTally(), Seed: seed, Backlog: 100_000, Queues: 200, LargeBody: 4_900_000,
		Large: 6, Fetchers: 2, Senders: 6, Readers: 10, Waiting: 40, Silent: 36, Programs: 2,
	}
	if whole {
		l.Backlog = 1_000_000
	}
	return l, during
}

// program builds the program and returns a path that starts it in the group,
// and the size of its file.
func program(t *testing.T, dir string) (binary string, size int64) {
	binary = filepath.Join(dir, "querator")
	// As it is released: what a debugger needs is no part of the program.
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/kapetan-io/querator-edge/cmd/querator")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	return binary, info.Size()
}

func underLimit(t *testing.T, limit int64) {
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, text := program(t, dir)
	group, err := memtest.NewCgroup(fmt.Sprintf("querator-memtest-%d", os.Getpid()), limit+text)
	if errors.Is(err, memtest.ErrNoCgroup) && os.Getenv("CI") != "true" {
		t.Skipf("NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Remove(); err != nil {
			t.Error(err)
		}
	})
	wrapper := filepath.Join(dir, "in-group")
	if err := group.Wrap(wrapper, binary); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "querator.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "memory-limit = %d\n%s", limit, allForOne), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &crashtest.Agent{Binary: wrapper, Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "s"),
		Args: []string{"--config", config}}
	p, err := a.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.Ready(waitTimeout); err != nil {
		t.Fatal(err)
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; %s, limit %s and %s of program", seed, group, size(limit), size(text))
	runLoad(t, p, group, seed, a.Socket)
}

// runLoad puts the load on a process and checks what became of both.
func runLoad(t *testing.T, p *crashtest.Process, group *memtest.Cgroup, seed uint64, socket string) {
	load, during := newLoad(t, socket, seed)
	watch := memtest.Watch(group)
	begin := time.Now()
	if err := load.SetUp(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, p.Stderr())
	}
	t.Logf("%d items and %d queues in %s", load.Backlog, load.Queues, time.Since(begin).Round(time.Second))
	report(t, "while they were made", watch.Max())
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(during, cancel)
	defer cancel()
	load.Run(ctx)
	most := watch.Max()
	report(t, fmt.Sprintf("in %s of load on %d connections", during, load.Connections()), most)
	t.Logf("\n%s", load.Tally.Report(during))
	if err := load.Check(t.Context()); err != nil {
		t.Errorf("%v\n%s", err, p.Stderr())
	}
	if err := watch.Stop(); err != nil {
		t.Error(err)
	}
	if most.Killed > 0 {
		t.Errorf("the kernel killed %d processes of the group", most.Killed)
	}
	for _, f := range load.Tally.Failures() {
		t.Error(f)
	}
	if t.Failed() {
		t.Log(p.Stderr())
	}
}

func report(t *testing.T, when string, m memtest.Memory) {
	t.Logf("%s, at most: anonymous %s, kernel %s, both at a time %s, file pages %s (%s of them dirty), all %s, limit met %d times", when,
		size(m.Anonymous), size(m.Kernel), size(m.Held), size(m.File), size(m.Dirty), size(max(m.Total, m.Peak)), m.Squeezed)
}

func size(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/mib) }
