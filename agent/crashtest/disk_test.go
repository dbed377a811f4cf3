package crashtest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// ext4Disk makes an ext4 of 24 MB on a loop device and an agent whose data is on
// it.
func ext4Disk(t *testing.T) *crashtest.Agent {
	a := newAgent(t)
	mountExt4(t, a.Dir)
	return a
}

// mountExt4 makes the directory and mounts an ext4 of 24 MB there.
func mountExt4(t *testing.T, dir string) {
	t.Helper()
	image := dir + ".img"
	for _, args := range [][]string{
		{"truncate", "-s", "24000000", image}, {"mkfs.ext4", "-q", "-m", "0", image}, {"mkdir", dir}, {"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("this test needs root, mkfs.ext4 and loop devices: %q: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
}

// diskLoad is one producer and one consumer of numbered items, and what they
// know of each.
type diskLoad struct {
	t     *testing.T
	queue string
	room  room // on the disk that the queue is on

	mu                          sync.Mutex
	next                        uint64
	acked                       map[uint64]bool // produced, not known to be completed
	maybe                       map[uint64]bool // the answer to produce or complete was lost
	done                        map[uint64]bool // completed
	produced, refused, restarts int
	// starved counts leases, completes and retries that were refused since others held
	// the disk for longer than such a request has to wait.
	starved int
}

// newDiskLoad creates the queue.
func newDiskLoad(t *testing.T, p *crashtest.Process, queue string) *diskLoad {
	t.Helper()
	info := plainQueue(queue)
	info.LeaseTimeout = 2 * time.Second
	createQueue(t, p, info)
	return &diskLoad{t: t, queue: queue, acked: map[uint64]bool{}, maybe: map[uint64]bool{}, done: map[uint64]bool{}}
}

// isGone reports whether the agent has ended, or is about to.
func isGone(err error) bool {
	return errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrShutdown)
}

// leaseWait is for how long a lease waits for items; longer than for room.
const leaseWait = 3 * time.Second

// refuses judges the refusal of a request about items that are there, sent at that
// time. It reports false when the error is another one than want of room.
func (l *diskLoad) refuses(what string, sent time.Time, err error) bool {
	if !errors.Is(err, client.ErrFull) {
		return false
	}
	if bad := l.room.judge(sent, time.Now(), leaseWait); bad != "" {
		l.t.Errorf("%s was refused for want of room, but %s: %v", what, bad, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starved++
	return true
}

// produce adds one item. It reports whether the agent is there.
func (l *diskLoad) produce(ctx context.Context, p *crashtest.Process, r *rand.Rand) bool {
	l.mu.Lock()
	n := l.next
	l.next++
	l.mu.Unlock()
	payload := make([]byte, 8+r.IntN(30<<10))
	binary.BigEndian.PutUint64(payload, n)
	for i := 8; i+8 <= len(payload); i += 8 {
		binary.BigEndian.PutUint64(payload[i:], r.Uint64())
	}
	err := p.Client.Produce(context.WithoutCancel(ctx), l.queue, client.ProduceItem{Payload: payload})
	l.mu.Lock()
	defer l.mu.Unlock()
	var e *client.Error
	switch {
	case err == nil:
		if !l.done[n] { // It may be completed before the answer is here.
			l.acked[n] = true
		}
		l.produced++
	case errors.As(err, &e) && e.Code == 454 && e.Message != "" && errors.Is(err, client.ErrFull):
		l.refused++
	case isGone(err):
		l.maybe[n] = true
		return false
	default:
		l.t.Errorf("produce was refused with %v, want 454 and a reason", err)
	}
	return true
}

// consume leases some items and completes or gives back all of them. The lease
// ends with ctx.
func (l *diskLoad) consume(ctx context.Context, p *crashtest.Process, r *rand.Rand) bool {
	sent := time.Now()
	items, err := p.Client.Lease(ctx, l.queue, client.LeaseOptions{BatchSize: 1 + r.IntN(10), Wait: leaseWait})
	ctx = context.WithoutCancel(ctx)
	switch {
	case errors.Is(err, client.ErrEmpty), l.refuses("a lease", sent, err):
		return true
	case isGone(err), errors.Is(err, context.Canceled):
		return false
	case err != nil:
		l.t.Errorf("lease failed: %v", err)
		return true
	}
	var ids []string
	l.mu.Lock()
	for _, it := range items {
		n := binary.BigEndian.Uint64(it.Payload)
		if l.done[n] || !l.acked[n] && !l.maybe[n] && n >= l.next {
			l.t.Errorf("item %d was leased, which was completed or never produced", n)
		}
		ids = append(ids, it.ID)
	}
	l.mu.Unlock()
	if r.IntN(8) == 0 {
		sent = time.Now()
		err := p.Client.Retry(ctx, l.queue, items[0].Partition, client.RetryItem{ID: ids[0]})
		if err != nil && !isGone(err) && !l.refuses("a retry", sent, err) {
			l.t.Errorf("retry failed: %v", err)
		}
		items, ids = items[1:], ids[1:]
	}
	if len(ids) == 0 {
		return true
	}
	sent = time.Now()
	err = p.Client.Complete(ctx, l.queue, items[0].Partition, ids...)
	if l.refuses("a complete", sent, err) {
		return true // The leases lapse.
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		n := binary.BigEndian.Uint64(it.Payload)
		switch {
		case err == nil:
			delete(l.acked, n)
			delete(l.maybe, n)
			l.done[n] = true
		case isGone(err):
			delete(l.acked, n)
			l.maybe[n] = true
		}
	}
	if err != nil && !isGone(err) && !errors.Is(err, client.ErrLeaseLost) {
		l.t.Errorf("complete failed: %v", err)
	}
	return err == nil || !isGone(err)
}

// use loads an agent until stop is closed or it has gone.
func (l *diskLoad) use(p *crashtest.Process, r *rand.Rand, stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var all sync.WaitGroup
	for i, step := range []func(context.Context, *crashtest.Process, *rand.Rand) bool{l.produce, l.produce, l.consume} {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
		all.Go(func() {
			for ctx.Err() == nil && step(ctx, p, own) {
			}
		})
	}
	ended := make(chan struct{})
	go func() { defer close(ended); all.Wait() }()
	select {
	case <-stop:
	case <-ended:
	}
	cancel()
	<-ended
}

// run loads an agent until the time is over, then kills it if kill is set.
func (l *diskLoad) run(p *crashtest.Process, r *rand.Rand, long time.Duration, kill bool) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); l.use(p, r, stop) }()
	<-time.After(long)
	if _, err := p.Client.Status(l.t.Context()); err != nil {
		l.t.Errorf("there is no status on a full disk: %v\n%s", err, p.Stderr())
	}
	if kill {
		p.Kill()
		l.restarts++
	}
	close(stop)
	<-ended
}

// drain completes all items and checks that none is missing.
func (l *diskLoad) drain(p *crashtest.Process, r *rand.Rand) {
	late := time.Now().Add(waitTimeout)
	for len(l.acked) > 0 && time.Now().Before(late) && !l.t.Failed() {
		l.consume(l.t.Context(), p, r)
	}
	if len(l.acked) > 0 {
		l.t.Errorf("%d items that were acknowledged cannot be leased", len(l.acked))
	}
}

// TestDiskFilledOnExt4 runs an agent on a small disk that somebody else fills and
// clears at random moments, and kills it in between. QUERATOR_DISK says how long;
// it takes root.
func TestDiskFilledOnExt4(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv("QUERATOR_DISK"))
	if err != nil {
		t.Skip("QUERATOR_DISK is not set to a duration; .ci/run disk sets it")
	}
	a, r := ext4Disk(t), newRand(t)
	p := started(t, a)
	l := newDiskLoad(t, p, "q")
	stop, filled := make(chan struct{}), make(chan struct{})
	seed := r.Uint64()
	go func() { defer close(filled); l.room.fill(a.Dir, seed, stop) }()
	for until := time.Now().Add(long); time.Now().Before(until) && !t.Failed(); {
		kill := r.IntN(3) == 0
		l.run(p, r, time.Duration(300+r.IntN(1200))*time.Millisecond, kill)
		if kill {
			p = started(t, a) // Also when the disk is full.
		}
	}
	close(stop)
	<-filled
	l.drain(p, r)
	wantClean(t, p, 0)
	t.Logf("%d items produced, %d refused, %d completed, %d kills; %d times others held the disk for longer than leases and completes wait",
		l.produced, l.refused, len(l.done), l.restarts, l.starved)
	if l.produced == 0 || l.refused == 0 {
		t.Error("the disk was never full, or always")
	}
}
