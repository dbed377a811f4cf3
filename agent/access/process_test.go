package access_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/queue"
)

// patience is far longer than anything here takes.
const patience = 20 * time.Second

// watching runs the watcher of a guard, and returns what it tells of.
func watching(t testing.TB, g *access.Guard) <-chan uint64 {
	t.Helper()
	ended := make(chan uint64, 10000)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- g.Watch(ctx, func(holders ...uint64) {
			for _, h := range holders {
				ended <- h
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := g.Holders(); n != 0 {
			t.Errorf("%d processes are still watched", n)
		}
	})
	return ended
}

// awaitEnd waits for the end of one holder.
func awaitEnd(t testing.TB, ended <-chan uint64, want uint64) {
	t.Helper()
	select {
	case got := <-ended:
		if got != want {
			t.Fatalf("holder %d has ended, want %d", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("nobody tells of the end of holder %d", want)
	}
}

// none asserts that nobody ends for a moment.
func none(t testing.TB, ended <-chan uint64) {
	t.Helper()
	select {
	case got := <-ended:
		t.Fatalf("holder %d has ended", got)
	case <-time.After(30 * time.Millisecond):
	}
}

func hold(t testing.TB, g *access.Guard, p *access.Peer) *access.Process {
	t.Helper()
	process, err := g.Hold(p)
	if err != nil {
		t.Fatal(err)
	}
	return process
}

func TestEndOfAProcess(t *testing.T) {
	path, l := socket(t)
	g := access.New(access.Options{Shares: access.Shares{Holders: 100}})
	ended := watching(t, g)
	first, _ := helper(t, "connect "+path, nil)
	p1 := accept(t, g, l)
	second, _ := helper(t, "connect "+path, nil)
	p2 := accept(t, g, l)
	h1, h2 := hold(t, g, p1), hold(t, g, p2)
	if h1.Holder() == h2.Holder() || hold(t, g, p1) != h1 || g.Holders() != 2 {
		t.Fatalf("holders %d, %d and %d; %d are watched", h1.Holder(), h2.Holder(), hold(t, g, p1).Holder(), g.Holders())
	}
	none(t, ended)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, ended, h1.Holder())
	// It is a zombie, whose number is not free yet; it counts as ended all the same.
	if !h1.Ended() || h2.Ended() || g.Holders() != 1 {
		t.Errorf("ended: %t, %t; %d are watched", h1.Ended(), h2.Ended(), g.Holders())
	}
	if _, err := g.Hold(p1); !errors.Is(err, access.ErrNoProcess) {
		t.Errorf("a connection of a process that has ended: %v", err)
	}
	none(t, ended)
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, ended, h2.Holder())
}

// One process with many connections is one holder.
func TestConnectionsOfOneProcess(t *testing.T) {
	path, l := socket(t)
	g := access.New(access.Options{Shares: access.Shares{Holders: 100}})
	watching(t, g)
	var first uint64
	for range 20 {
		c, err := connectAs(path, who{uid: os.Geteuid(), gid: os.Getegid()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h := hold(t, g, accept(t, g, l)).Holder()
		if first == 0 {
			first = h
		}
		if h != first {
			t.Errorf("a connection of holder %d, want %d", h, first)
		}
	}
	if g.Holders() != 1 {
		t.Errorf("%d processes are watched", g.Holders())
	}
}

// A process that has ended before it leases, and one whose connection another process has.
func TestProcessThatEndedBefore(t *testing.T) {
	path, l := socket(t)
	g := access.New(access.Options{Shares: access.Shares{Holders: 100}})
	ended := watching(t, g)
	cmd, _ := helper(t, "connect "+path, nil)
	p := accept(t, g, l)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := g.Hold(p); !errors.Is(err, access.ErrNoProcess) {
		t.Errorf("got %v, want ErrNoProcess", err)
	}
	none(t, ended)
	if _, err := g.Hold(nil); !errors.Is(err, access.ErrNoProcess) {
		t.Errorf("nobody: got %v, want ErrNoProcess", err)
	}
}

// One user cannot use up the bound of processes.
func TestBoundOfProcesses(t *testing.T) {
	path, l := socket(t)
	g := access.New(access.Options{Shares: access.Shares{Holders: 2}})
	ended := watching(t, g)
	var all []*access.Process
	var cmds []*exec.Cmd
	for range 2 {
		cmd, _ := helper(t, "connect "+path, nil)
		cmds = append(cmds, cmd)
		all = append(all, hold(t, g, accept(t, g, l)))
	}
	helper(t, "connect "+path, nil)
	late := accept(t, g, l)
	if _, err := g.Hold(late); !errors.Is(err, queue.ErrOverloaded) {
		t.Errorf("got %v, want that there are too many", err)
	}
	if err := cmds[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, ended, all[0].Holder())
	hold(t, g, late)
}

// A process with the number of one that has ended is somebody else: its life and its end concern nobody's leases,
// and its unit is not that of the other.
func TestNumberThatIsUsedAgain(t *testing.T) {
	needRoot(t)
	g := access.New(access.Options{Shares: access.Shares{Holders: 100}})
	ended := watching(t, g)
	for try := range 100 {
		path, l := socket(t)
		cmd, _ := helper(t, "connect "+path, nil)
		p := accept(t, g, l)
		h := hold(t, g, p)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		awaitEnd(t, ended, h.Holder())
		_ = cmd.Wait()
		again := startAs(t, cmd.Process.Pid, path)
		if again == nil {
			continue // Another process was faster.
		}
		p2 := accept(t, g, l)
		if p2.PID != p.PID {
			t.Fatalf("try %d: the number is %d, want %d", try, p2.PID, p.PID)
		}
		if _, err := g.Hold(p); !errors.Is(err, access.ErrNoProcess) {
			t.Errorf("the connection of the old process: %v", err)
		}
		h2 := hold(t, g, p2)
		if h2.Holder() == h.Holder() || h2.Ended() || !h.Ended() {
			t.Errorf("the new process is holder %d, the old one was %d", h2.Holder(), h.Holder())
		}
		none(t, ended)
		if err := again.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		awaitEnd(t, ended, h2.Holder())
		return
	}
	t.Fatal("no process got the number of another one in 100 tries")
}

// startAs starts a helper that connects, with this number; nil if it got another one.
func startAs(t *testing.T, pid int, path string) *exec.Cmd {
	t.Helper()
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
		t.Skipf("NOT RUN: the number of the next process cannot be chosen here: %v", err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVariable+"=connect "+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if cmd.Process.Pid != pid {
		return nil
	}
	return cmd
}

// How long it takes until somebody knows that a process was killed.
func BenchmarkEndOfAProcess(b *testing.B) {
	path, l := socket(b)
	g := access.New(access.Options{Shares: access.Shares{Holders: 1000}})
	ended := watching(b, g)
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), helperVariable+"=connect "+path)
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		h := hold(b, g, accept(b, g, l))
		b.StartTimer()
		begin := time.Now()
		_ = cmd.Process.Signal(syscall.SIGKILL)
		awaitEnd(b, ended, h.Holder())
		took = append(took, time.Since(begin))
		b.StopTimer()
		in.Close()
		_ = cmd.Wait()
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
