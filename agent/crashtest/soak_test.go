package crashtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
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
	t       *testing.T
	small   *diskLoad
	rand    *rand.Rand // of beside, which runs in one goroutine at a time
	scraps  string
	backups *backups
	halts   int
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
	s := newSoak(t)
	stop, filled := make(chan struct{}), make(chan struct{})
	seed := s.rand.Uint64()
	go func() { defer close(filled); s.small.room.fill(filepath.Join(s.scraps, "small"), seed, stop) }()
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
		t.Logf("after %s: %v", time.Since(begin).Round(time.Second), s)
		t.Logf("what the device held at the last cut is in %s: %v", image, s.Device.Dump(image))
		now := filepath.Join(s.scraps, "now")
		t.Logf("what the kernel shows of it now is in %s: %v", now, os.CopyFS(now, os.DirFS(s.Agent.Dir)))
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
	s.wantAll()
}

// wantAll checks that everything did go wrong.
func (s *soak) wantAll() {
	for what, n := range map[string]int{
		"power cut": s.Book.Totals().Cuts, "kill": s.Book.Totals().Kills, "failure of the device": s.Failed, "halt": s.halts,
		"refusal on the small disk": s.small.refused, "back-up": s.backups.whole,
	} {
		if n == 0 {
			s.t.Errorf("there was not one %s", what)
		}
	}
}

// newSoak makes both disks and the agent. All that is chosen at random hangs on the
// one seed that is printed.
func newSoak(t *testing.T) *soak {
	s := &soak{PowerCuts: newPowerCuts(t, flashfs.Journal), t: t, scraps: shortDir(t)}
	s.rand = rand.New(rand.NewPCG(s.Rand.Uint64(), 2))
	s.backups = &backups{t: t, agent: s.Agent, scraps: s.scraps, cut: map[string]int{}}
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
// The agent has ended then, or is about to.
func (s *soak) beside(ctx context.Context, p *crashtest.Process) {
	using, taking := rand.New(rand.NewPCG(s.rand.Uint64(), 11)), rand.New(rand.NewPCG(s.rand.Uint64(), 12))
	var all sync.WaitGroup
	all.Go(func() { s.small.use(p, using, ctx.Done()) })
	all.Go(func() { s.takeBackups(ctx, taking) })
	s.halt(ctx, p)
	all.Wait()
}

// takeBackups takes one back-up after the other.
func (s *soak) takeBackups(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		s.backups.take(r.IntN(2) == 0)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(r.IntN(300)) * time.Millisecond):
		}
	}
}

// halt stops the agent for a while, again and again.
func (s *soak) halt(ctx context.Context, p *crashtest.Process) {
	wait := func(most int) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Duration(s.rand.IntN(most)) * time.Millisecond):
			return true
		}
	}
	for wait(900) {
		s.small.room.isHalted(true)
		if p.Signal(syscall.SIGSTOP) == nil {
			s.halts++
			wait(400)
		}
		_ = p.Signal(syscall.SIGCONT) // It may have been killed.
		s.small.room.isHalted(false)
	}
}

// String is the summary.
func (s *soak) String() string {
	l := s.small
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%v; %d times calls of the device failed; on the small disk %d items produced, %d refused, %d completed, "+
		"%d times others held it for longer than leases and completes wait; %d halts; %v",
		s.Book.Totals(), s.Failed, l.produced, l.refused, len(l.done), l.starved, s.halts, s.backups)
}
