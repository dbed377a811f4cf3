package crashtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/wallclock"
)

// board is a machine whose clocks the test sets: the time of day, that since boot,
// and the id of the boot. No clock is synchronised unless the test says so.
type board struct {
	*crashtest.Process
	t     *testing.T
	agent *crashtest.Agent
	clock *wallclock.Clock
	boots int
	dir   string
}

// newBoard boots a machine and starts an agent, with a configuration or none.
func newBoard(t *testing.T, config string, now time.Time) *board {
	t.Helper()
	if err := crashtest.CheckBoot(t.TempDir()); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("NOT RUN: %v", err)
	}
	a := newAgent(t)
	b := &board{t: t, agent: a, clock: &wallclock.Clock{Program: program}, dir: filepath.Dir(a.Dir)}
	a.Launch = b.clock.Start
	if config != "" {
		file := filepath.Join(b.dir, "c.toml")
		must(t, os.WriteFile(file, []byte(config), 0o600))
		a.Args = []string{"--config", file}
	}
	b.boot(now)
	return b
}

// boot begins a run of the kernel at that time of day, and starts the agent.
func (b *board) boot(now time.Time) {
	b.t.Helper()
	b.boots++
	boot, err := crashtest.NewBoot(b.dir, b.boots, time.Minute)
	must(b.t, err)
	b.agent.Boot = boot
	b.clock.Set(now)
	b.start()
}

func (b *board) start() {
	b.t.Helper()
	b.Process = started(b.t, b.agent)
}

// step steps the time of day while the agent runs.
func (b *board) step(now time.Time) {
	b.t.Helper()
	must(b.t, b.clock.Step(now))
	s, err := b.Client.Status(b.t.Context())
	must(b.t, err)
	if off := s.Clock.Now.Sub(b.clock.Now()).Abs(); off > time.Hour {
		b.t.Fatalf("the agent says that it is %s, and it is %s", s.Clock.Now, b.clock.Now())
	}
}

// kill ends the agent without a warning and starts it again, in the same boot, so
// much later.
func (b *board) kill(later time.Duration) {
	b.t.Helper()
	b.Kill()
	b.agent.Boot = b.agent.Boot.Later(later)
	b.start()
}

// end ends the agent in order, so that it writes down how late it is.
func (b *board) end() {
	b.t.Helper()
	must(b.t, b.Signal(syscall.SIGTERM))
	if code, err := b.Wait(waitTimeout); code != 0 || err != nil {
		b.t.Fatalf("the agent ended with %d, %v", code, err)
	}
}

// produce adds items, each of which has a source id of its own.
func (b *board) produce(queue string, payloads ...string) {
	b.t.Helper()
	for _, text := range payloads {
		must(b.t, b.Client.Produce(b.t.Context(), queue, client.ProduceItem{Payload: []byte(text), SourceID: "id of " + text}))
	}
}

// lease leases items that must have these payloads, and are leased for the n-th
// time.
func (b *board) lease(queue string, timeout time.Duration, n int, payloads ...string) []client.Item {
	b.t.Helper()
	o := client.LeaseOptions{BatchSize: len(payloads), LeaseTimeout: timeout, Wait: 2 * time.Minute}
	items, err := b.Client.Lease(b.t.Context(), queue, o)
	must(b.t, err)
	var got []string
	for _, it := range items {
		got = append(got, string(it.Payload))
		if it.Attempts != n {
			b.t.Errorf("%s is leased for the %d. time, want %d", it.Payload, it.Attempts, n)
		}
	}
	if !slices.Equal(got, payloads) {
		b.t.Fatalf("leased %q, want %q", got, payloads)
	}
	return items
}

func (b *board) complete(items []client.Item) {
	b.t.Helper()
	for _, it := range items {
		must(b.t, b.Client.Complete(b.t.Context(), it.Queue, it.Partition, it.ID))
	}
}

// holds compares what a queue holds.
func (b *board) holds(queue string, total, leased, scheduled int) client.PartitionStats {
	b.t.Helper()
	s, err := b.Client.Stats(b.t.Context(), queue)
	must(b.t, err)
	p := s.Partitions[0]
	if p.Total != total || p.Leased != leased || p.Scheduled != scheduled {
		b.t.Fatalf("the queue "+queue+" holds %d items, %d of them leased, and %d scheduled; want %d, %d, %d",
			p.Total, p.Leased, p.Scheduled, total, leased, scheduled)
	}
	return p
}

// createQueues makes the queue, with leases and lives that are longer than a test, and a
// second one beside it.
func (b *board) createQueues() {
	b.t.Helper()
	for _, name := range []string{"q", "other"} {
		createQueue(b.t, b.Process, client.QueueInfo{Name: name, LeaseTimeout: longLease, ExpireTimeout: 24 * time.Hour, Partitions: 1})
	}
}

// audit has the agent count everything, at the end of a test.
func (b *board) audit() {
	b.t.Helper()
	if out, err := exec.Command(program, "--socket", b.agent.Socket, "audit").CombinedOutput(); err != nil {
		b.t.Errorf("querator audit: %v\n%s", err, out)
	}
}

// trusted compares what the agent thinks of the clock.
func (b *board) trusted(want bool) {
	b.t.Helper()
	s, err := b.Client.Status(b.t.Context())
	must(b.t, err)
	if s.Clock.Trusted != want {
		b.t.Fatalf("at %s the clock is trusted: %v (%s)", s.Clock.Now, s.Clock.Trusted, s.Clock.Reason)
	}
}

// longLease is longer than a test takes.
const longLease = time.Hour

// years is about so many.
func years(n int) time.Duration { return time.Duration(n) * 365 * 24 * time.Hour }
