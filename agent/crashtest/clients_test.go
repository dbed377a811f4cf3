package crashtest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// maxAnonymous is what the agent may hold of memory that is not backed by files
// while clients misbehave, by default a memory-limit of 64 MiB.
const maxAnonymous = 64 << 20

// anonymousMemory returns the RssAnon of a process in bytes.
func anonymousMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// watch runs f while a quiet client uses the agent, and checks that this one is
// served and that the memory stays within bounds.
func watch(t *testing.T, p *crashtest.Process, f func(ctx context.Context)) {
	t.Helper()
	createQueue(t, p, plainQueue("quiet"))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		defer cancel()
		f(ctx)
	})
	var most atomic.Int64
	all.Go(func() {
		for ctx.Err() == nil {
			most.Store(max(most.Load(), anonymousMemory(p.Pid())))
			wait(ctx, 5*time.Millisecond)
		}
	})
	var slowest time.Duration
	rounds := 0
	for ctx.Err() == nil {
		begin := time.Now()
		if err := useQuietly(t.Context(), p); err != nil {
			t.Errorf("another client is not served: %v", err)
			break
		}
		slowest = max(slowest, time.Since(begin))
		rounds++
	}
	cancel()
	all.Wait()
	t.Logf("at most %.1f MiB anonymous memory; %d rounds of another client, the slowest took %s",
		float64(most.Load())/(1<<20), rounds, slowest.Round(time.Millisecond))
	if most.Load() > maxAnonymous {
		t.Errorf("anonymous memory rose to %d MiB, want at most %d MiB", most.Load()>>20, maxAnonymous>>20)
	}
	if rounds == 0 {
		t.Error("another client was never served")
	}
}

// useQuietly does what a well-behaved client does; it repeats what is refused as
// busy, for some time.
func useQuietly(ctx context.Context, p *crashtest.Process) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := p.Client.Produce(ctx, "quiet", client.ProduceItem{Payload: []byte("quiet")})
		if err == nil {
			break
		}
		if !errors.Is(err, client.ErrTryAgain) {
			return fmt.Errorf("produce: %w", err)
		}
	}
	for {
		items, err := p.Client.Lease(ctx, "quiet", client.LeaseOptions{Wait: 5 * time.Second})
		if errors.Is(err, client.ErrTryAgain) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lease: %w", err)
		}
		if err := p.Client.Complete(ctx, "quiet", items[0].Partition, items[0].ID); err != nil {
			return fmt.Errorf("complete: %w", err)
		}
		return nil
	}
}

// connect opens connections that are closed at the end of the test.
func connect(t *testing.T, a *crashtest.Agent, n int, write string) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range n {
		c, err := net.DialTimeout("unix", a.Socket, 10*time.Second)
		if err != nil {
			t.Fatalf("connection %d of %d: %v", len(conns), n, err)
		}
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte(write)) // What the agent does not take is no failure.
	}
	return conns
}

// request returns the text of a request whose body is said to have a length.
func request(path, body string, length int) string {
	return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, length, body)
}

func TestManyIdleConnections(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	watch(t, p, func(ctx context.Context) {
		conns := connect(t, a, 900, "")
		wait(ctx, time.Second)
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestHalfRequests(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	watch(t, p, func(ctx context.Context) {
		connect(t, a, 300, "POST /v1/queue.produce HTTP/1.1\r\nHost: ag")
		connect(t, a, 500, request("queue.produce", `{"queue_name":"quiet","items":[{"utf8":"`+strings.Repeat("x", 50_000), 4<<20))
		wait(ctx, 2*time.Second)
	})
}

// largeItems starts an agent with a queue of 40 items of 1 MiB.
func largeItems(t *testing.T) (*crashtest.Agent, *crashtest.Process) {
	a := newAgent(t)
	p := started(t, a)
	createQueue(t, p, plainQueue("large"))
	payload := make([]byte, 1<<20)
	rand.Read(payload)
	for range 40 {
		if err := p.Client.Produce(t.Context(), "large", client.ProduceItem{Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	return a, p
}

func TestListsThatNobodyReads(t *testing.T) {
	a, p := largeItems(t)
	watch(t, p, func(ctx context.Context) {
		body := `{"queue_name":"large","partition":0,"limit":1000}`
		connect(t, a, 100, request("storage/items.list", body, len(body)))
		wait(ctx, 2*time.Second)
	})
}

func TestLeasesThatNobodyReads(t *testing.T) {
	a, p := largeItems(t)
	watch(t, p, func(ctx context.Context) {
		for i := range 50 {
			body := fmt.Sprintf(`{"queue_name":"large","client_id":"c%d","batch_size":10,"request_timeout":"1s","lease_timeout":"50ms"}`, i)
			connect(t, a, 1, request("queue.lease", body, len(body)))
		}
		wait(ctx, 2*time.Second)
	})
}

func TestLargeBodiesInParallel(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	createQueue(t, p, plainQueue("large"))
	payload := make([]byte, 4_900_000)
	rand.Read(payload)
	taken, refused := 0, 0
	var mu sync.Mutex
	watch(t, p, func(ctx context.Context) {
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				for range 2 {
					err := p.Client.Produce(ctx, "large", client.ProduceItem{Payload: payload})
					mu.Lock()
					switch {
					case err == nil:
						taken++
					case errors.Is(err, client.ErrTryAgain), errors.Is(err, client.ErrFull):
						refused++
					default:
						t.Errorf("produce of %d bytes: %v", len(payload), err)
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
	})
	t.Logf("%d of %d large bodies were taken, %d refused", taken, taken+refused, refused)
	if taken == 0 {
		t.Error("no large body was taken")
	}
	stats, err := p.Client.Stats(t.Context(), "large")
	if err != nil || stats.Partitions[0].Total != taken {
		t.Errorf("%d items are there: %v", stats.Partitions[0].Total, err)
	}
}

// wait waits without using the agent.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
