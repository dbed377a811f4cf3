package crashtest_test

import (
	"bufio"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// worker starts "querator work" with a command that runs until the worker ends, and returns when it has an item.
func worker(t *testing.T, a *crashtest.Agent, queue string, leaseTimeout time.Duration) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, "work", queue, "--socket", a.Socket, "--lease-timeout", leaseTimeout.String(),
		"--", "sh", "-c", "echo leased; exec tail --pid=$PPID -f /dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // While it is a zombie, its command runs on.
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "leased\n" {
		t.Fatalf("the worker says %q, %v", line, err)
	}
	return cmd
}

// killed kills a worker and returns how long it took until its item, leased for the n-th time, was offered again.
func killed(t *testing.T, p *crashtest.Process, w *exec.Cmd, queue string, n int) time.Duration {
	t.Helper()
	type answer struct {
		items []client.Item
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		items, err := p.Client.Lease(t.Context(), queue, client.LeaseOptions{Wait: time.Minute})
		got <- answer{items, err}
	}()
	waitFor(t, "two leases wait", func() bool {
		s, err := p.Client.Stats(t.Context(), queue)
		return err == nil && s.LeaseWaiting == 2 // The worker looks ahead.
	})
	begin := time.Now()
	if err := w.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	a := <-got
	took := time.Since(begin)
	_ = w.Wait()
	if a.err != nil || len(a.items) != 1 || a.items[0].Attempts != n {
		t.Fatalf("leased %+v, %v; want an item with attempt %d", a.items, a.err, n)
	}
	if err := p.Client.Retry(t.Context(), queue, a.items[0].Partition, client.RetryItem{ID: a.items[0].ID}); err != nil {
		t.Fatal(err)
	}
	return took
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
		wait(t.Context(), 2*time.Millisecond)
	}
}

// A worker that is killed gives its item back at once, not when its lease of an hour ends.
func TestWorkersThatAreKilled(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	createQueue(t, p, plainQueue("q"))
	if err := p.Client.Produce(t.Context(), "q", client.ProduceItem{Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	var took []time.Duration
	for round := range rounds {
		took = append(took, killed(t, p, worker(t, a, "q", time.Hour), "q", 2*round+2))
	}
	slices.Sort(took)
	t.Logf("offered again after p50 %s, p99 %s, in %d rounds", took[rounds/2], took[rounds*99/100], rounds)
	if took[rounds/2] > 100*time.Millisecond { // The median: other tests keep this one from the processor.
		t.Errorf("half of the items are offered again after more than 100 ms: %v", took)
	}
}

// An agent that was restarted knows the holders again from the first time that they extend their leases.
func TestHoldersAfterARestart(t *testing.T) {
	a := newAgent(t)
	p := started(t, a)
	createQueue(t, p, plainQueue("q"))
	if err := p.Client.Produce(t.Context(), "q", client.ProduceItem{Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	const leaseTimeout = 12 * time.Second // A third of it is when the worker extends.
	w := worker(t, a, "q", leaseTimeout)
	if holders(t, p) != "1" {
		t.Fatalf("%s processes are watched", holders(t, p))
	}
	deadline := func() time.Time {
		items, err := p.Client.ListItems(t.Context(), "q", 0, client.Page{Limit: 1})
		if err != nil || len(items) != 1 {
			return time.Time{}
		}
		return items[0].LeaseDeadline
	}
	first := deadline()
	p.Kill()
	p = started(t, a)
	waitFor(t, "the worker extends its lease", func() bool { return deadline().After(first) })
	if took := killed(t, p, w, "q", 2); took > leaseTimeout*2/3 {
		t.Errorf("the item was offered again after %s only", took)
	}
}

// holders returns how many processes the agent watches.
func holders(t *testing.T, p *crashtest.Process) string {
	t.Helper()
	resp, err := p.HTTP.Get("http://agent/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %d, %v", resp.StatusCode, err)
	}
	_, rest, _ := strings.Cut(string(text), "\nquerator_lease_holders ")
	n, _, _ := strings.Cut(rest, "\n")
	return n
}
