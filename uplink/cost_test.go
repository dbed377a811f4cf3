package uplink_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// endless is an outbox that makes its events up when they are read, so that it costs no memory.
type endless struct {
	head, delivered, fence atomic.Uint64
	changed                chan struct{}
}

func (e *endless) Outboxes() []uplink.Outbox { return []uplink.Outbox{e} }
func (e *endless) Changed() <-chan struct{}  { return e.changed }
func (e *endless) Queue() string             { return "readings" }
func (e *endless) Partition() int            { return 0 }

func (e *endless) State(context.Context) (queue.OutboxState, error) {
	head, delivered := e.head.Load(), e.delivered.Load()
	return queue.OutboxState{
		Epoch: 7, Head: head, Delivered: delivered, Fence: e.fence.Load(), Retained: delivered + 1, Pending: head - delivered,
		Epochs: []queue.EpochStart{{Epoch: 7, First: 1}},
	}, nil
}

func (e *endless) Read(_ context.Context, after uint64, maxEvents int, _ int64, _ bool) ([]queue.Event, error) {
	head := e.head.Load()
	list := make([]queue.Event, 0, maxEvents)
	for seq := after + 1; seq <= head && len(list) < maxEvents; seq++ {
		list = append(list, queue.Event{
			Epoch: 7, Seq: seq, Type: queue.EventCompleted, PayloadSize: 256, Boot: "boot",
			Item: queue.Item{ID: queue.NewID(seq, queue.Tag{1}), Attempts: 1, CreatedAt: time.Now()},
			At:   queue.Instant{Wall: time.Now().UnixNano()},
		})
	}
	return list, nil
}

func (e *endless) Delivered(_ context.Context, seq, fence uint64) error {
	e.delivered.Store(seq)
	e.fence.Store(fence)
	return nil
}

// cost is what an uplink alone in its process takes.
type cost struct {
	Before, Idle, Draining int64 // anonymous memory, in bytes
	Seconds                float64
	Work                   float64 // processor time while draining, in seconds
}

// measureCost is the child process of TestCost: an uplink against the server at url, first without anything to
// do, then with events.
func measureCost(url string, events uint64) {
	src := &endless{changed: make(chan struct{}, 1)}
	var c cost
	debug.FreeOSMemory()
	c.Before = anonymous()
	cfg := configFor(url)
	cfg.Payload, cfg.Timing = event.PayloadNone, uplink.Timing{Spread: time.Millisecond}
	u, err := uplink.New(cfg, src, nil, uplink.Events{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	waitFor(func() bool { return u.Status(ctx).State == uplink.StateConnected })
	debug.FreeOSMemory()
	c.Idle = anonymous()
	begin, worked := time.Now(), processorTime()
	src.head.Store(events)
	src.changed <- struct{}{}
	waitFor(func() bool {
		c.Draining = max(c.Draining, anonymous())
		return src.delivered.Load() == events
	})
	c.Seconds, c.Work = time.Since(begin).Seconds(), (processorTime() - worked).Seconds()
	cancel()
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(c)
}

// processorTime returns what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func waitFor(ok func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		<-tick.C
	}
}

// anonymous returns the memory of this process that is no file, in bytes.
func anonymous() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var kb int64
		if n, _ := fmt.Sscanf(lines.Text(), "RssAnon: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

// TestCost drains 100,000 events, with the uplink in a process of its own, and bounds the memory that it takes.
func TestCost(t *testing.T) {
	events := 100_000
	if testing.Short() {
		events = 5_000
	}
	s := newStand(t, nil)
	createStream(t, s.admin(), nil)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "QUERATOR_TEST_COST_URL=nats://"+s.addr(), fmt.Sprint("QUERATOR_TEST_COST_EVENTS=", events))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	var c cost
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events in %.2f s, with %.1f us of processor time each; idle %.2f MB more, draining %.2f MB more", events, c.Seconds, c.Work*1e6/float64(events),
		float64(c.Idle-c.Before)/1e6, float64(c.Draining-c.Before)/1e6)
	if n := streamSeq(t, s.admin()); n != uint64(events) {
		t.Errorf("%d events on the server, not %d", n, events)
	}
	if raceEnabled {
		return // Memory is another matter there, and so is time.
	}
	// By the clock it depends on what else this machine does; make uplink-drain holds that against the goal.
	if c.Work > 10 || os.Getenv("QUERATOR_DRAIN") != "" && c.Seconds > 10 {
		t.Errorf("%d events took %.2f s, and %.2f s of processor time", events, c.Seconds, c.Work)
	}
	if c.Idle-c.Before > 1_500_000 {
		t.Errorf("idle it takes %d bytes more than before", c.Idle-c.Before)
	}
	if c.Draining-c.Before > 8_000_000 {
		t.Errorf("draining it takes %d bytes more than before", c.Draining-c.Before)
	}
}
