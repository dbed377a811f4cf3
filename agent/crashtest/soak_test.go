package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

// soakConfig has two storages: on the device that loses its power and whose calls
// fail, and on a small one that others fill. New partitions go to the one with the
// greater affinity.
const soakConfig = `
memory-limit = "32MiB"
[limits]
max-in-flight-bytes = "32MiB"
[partition]
idle-close = "1s"
[[partition-storage]]
name = "badger-0"
storage-dir = %q
affinity = %d
[[partition-storage]]
name = "small"
storage-dir = %q
affinity = %d
`

// soak is what happens to one agent at the same time.
type soak struct {
	*crashtest.PowerCuts
	t      *testing.T
	small  *diskLoad
	rand   *rand.Rand // of beside, which runs in one goroutine at a time
	scraps string

	backups, brokenBackups, halts atomic.Int64
}

// TestSoak has everything go wrong at once, for QUERATOR_SOAK: one agent, with
// queues on a device that loses its power and whose calls fail, and on a small
// ext4 that others fill; kills, SIGTERM, SIGSTOP, back-ups, and a time since boot
// that begins anew with each power cut. It ends with a clean audit.
func TestSoak(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv("QUERATOR_SOAK"))
	if err != nil {
		t.Skip("QUERATOR_SOAK is not set to a duration; .ci/run soak sets it")
	}
	s, r := newSoak(t), newRand(t)
	stop, filled := make(chan struct{}), make(chan struct{})
	go func() { defer close(filled); fill(filepath.Join(s.scraps, "small"), r.Uint64(), stop) }()
	begin := time.Now()
	for last := begin; time.Since(begin) < long && !t.Failed(); {
		if err := s.Cut(t.Context()); err != nil {
			t.Error(err)
		}
		for _, problem := range s.Book.Problems() {
			t.Error(problem)
		}
		if time.Since(last) > time.Minute {
			last = time.Now()
			t.Logf("%s: %v", time.Since(begin).Round(time.Second), s)
		}
	}
	close(stop)
	<-filled
	if t.Failed() {
		image := filepath.Join(s.scraps, "image")
		t.Logf("what the device held at the last cut is in %s: %v", image, s.Device.Dump(image))
		return
	}
	must(t, s.Drain(t.Context()))
	for _, problem := range s.Book.Problems() {
		t.Error(problem)
	}
	p := started(t, s.Agent)
	s.small.drain(p, s.rand)
	wantClean(t, p, 0)
	wantNoneAside(t, s.PowerCuts)
	p.Kill()
	t.Logf("%s: %v", time.Since(begin).Round(time.Second), s)
}

func newSoak(t *testing.T) *soak {
	s := &soak{PowerCuts: newPowerCuts(t, flashfs.Journal), t: t, scraps: shortDir(t), rand: newRand(t)}
	small, config := filepath.Join(s.scraps, "small"), filepath.Join(s.scraps, "c.toml")
	mountExt4(t, small)
	configure := func(device, ext4 int) {
		text := fmt.Sprintf(soakConfig, filepath.Join(s.Agent.Dir, "partitions"), device, filepath.Join(small, "data"), ext4)
		must(t, os.WriteFile(config, []byte(text), 0o600))
	}
	configure(1, 1000000)
	s.Agent.Args = []string{"--config", config}
	p := started(t, s.Agent)
	s.small = newDiskLoad(t, p, "beside-small")
	wantClean(t, p, 0) // It waits until the partition is open.
	if _, err := os.Stat(filepath.Join(small, "data", "beside-small-000000-partition")); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	configure(1000000, 1)
	s.Beside, s.Failures = s.beside, true
	return s
}

// beside uses the small disk, halts the agent and takes back-ups, until ctx ends.
func (s *soak) beside(ctx context.Context, p *crashtest.Process) {
	r := rand.New(rand.NewPCG(s.rand.Uint64(), 11))
	used := make(chan struct{})
	go func() { defer close(used); s.small.use(p, r, ctx.Done()) }()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(s.rand.IntN(300)) * time.Millisecond):
		}
		switch {
		case ctx.Err() != nil:
		case s.rand.IntN(3) == 0:
			if s.backup(ctx) == nil {
				s.backups.Add(1)
			} else {
				s.brokenBackups.Add(1) // The agent has gone, or a storage fails.
			}
		case s.rand.IntN(3) == 0 && p.Signal(syscall.SIGSTOP) == nil:
			s.halts.Add(1)
			<-time.After(time.Duration(s.rand.IntN(400)) * time.Millisecond)
			_ = p.Signal(syscall.SIGCONT) // It may have been killed.
		}
	}
	_ = p.Signal(syscall.SIGCONT)
	<-used
}

// backup takes a back-up and has the program check it.
func (s *soak) backup(ctx context.Context) error {
	file := filepath.Join(s.scraps, "backup")
	defer os.Remove(file)
	cmd := command(s.t, s.scraps, "--socket", s.Agent.Socket, "backup", file)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ctx.Done():
		_ = cmd.Process.Kill() // It has ended by itself, or is not wanted.
		return errors.Join(ctx.Err(), <-ended)
	case err := <-ended:
		if err != nil {
			return err
		}
	}
	if out, err := command(s.t, s.scraps, "verify", file).CombinedOutput(); err != nil {
		s.t.Errorf("a back-up that was taken does not verify: %v\n%s", err, out)
	}
	return nil
}

// String is the summary.
func (s *soak) String() string {
	l := s.small
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%v; %d times calls of the device failed; on the small disk %d items produced, %d refused, %d completed; "+
		"%d halts, %d back-ups taken and verified, %d broken off", s.Book.Totals(), s.Failed, l.produced, l.refused, len(l.done),
		s.halts.Load(), s.backups.Load(), s.brokenBackups.Load())
}
