package access

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// On a kernel that gives no descriptor of a process later, it is opened by its number when it connects.
func TestOlderKernel(t *testing.T) {
	g := New(Options{Shares: Shares{Holders: 10}})
	g.opens = true
	ended := make(chan uint64, 10)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- g.Watch(ctx, func(holders ...uint64) {
			for _, h := range holders {
				ended <- h
			}
		})
	}()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "QUERATOR_ACCESS_HELPER=connect "+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := g.Greet(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Leave(p)
	process, err := g.Hold(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.KnowsUnits(); err == nil {
		t.Error("the units of processes are known")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ended:
		if got != process.Holder() {
			t.Errorf("holder %d has ended, want %d", got, process.Holder())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody tells of the end")
	}
	_ = cmd.Wait()
	if _, err := g.Hold(p); !errors.Is(err, ErrNoProcess) {
		t.Errorf("after its end: %v", err)
	}
	// The peer's own copy of the descriptor must not wake the watcher for ever.
	select {
	case got := <-ended:
		t.Errorf("holder %d has ended again", got)
	case <-time.After(30 * time.Millisecond):
	}
}
