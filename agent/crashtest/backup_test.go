package crashtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// command makes a command line of the program, with a home of its own.
func command(t *testing.T, home string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// querator runs a command line and returns what it wrote.
func querator(t *testing.T, home string, args ...string) string {
	t.Helper()
	out, err := command(t, home, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// stored returns how often each payload is in a queue.
func stored(t *testing.T, p *crashtest.Process, queue string) map[string]int {
	t.Helper()
	found := make(map[string]int)
	info, err := p.Client.QueueInfo(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	for part := range info.Partitions {
		page := client.Page{Limit: 1000}
		for {
			items, err := p.Client.ListItems(t.Context(), queue, part, page)
			if err != nil {
				t.Fatal(err)
			}
			if len(items) > 0 && items[0].ID == page.Pivot {
				items = items[1:]
			}
			if len(items) == 0 {
				break
			}
			for i := range items {
				found[string(items[i].Payload)]++
			}
			page.Pivot = items[len(items)-1].ID
		}
	}
	return found
}

// shift is a load whose acknowledgements are noted: what was produced, and what
// may be completed.
type shift struct {
	mu       sync.Mutex
	produced map[string]bool
	taken    map[string]bool // complete was asked for
}

func (s *shift) note(set map[string]bool, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		set[n] = true
	}
}

func (s *shift) copyOf(set map[string]bool) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(map[string]bool, len(set))
	for n := range set {
		c[n] = true
	}
	return c
}

// work produces and completes until the context ends.
func (s *shift) work(ctx context.Context, c *client.Client, rnd *rand.Rand) error {
	for n := 0; ctx.Err() == nil; n++ {
		var items []client.ProduceItem
		var names []string
		for i := range 1 + rnd.IntN(50) {
			names = append(names, fmt.Sprintf("%d-%d-%s", n, i, strings.Repeat("x", rnd.IntN(500))))
			items = append(items, client.ProduceItem{Payload: []byte(names[i])})
		}
		if err := c.Produce(ctx, "q", items...); err != nil {
			return err
		}
		s.note(s.produced, names)
		if rnd.IntN(3) > 0 {
			continue
		}
		leased, err := c.Lease(ctx, "q", client.LeaseOptions{BatchSize: 1 + rnd.IntN(60), Wait: 50 * time.Millisecond})
		if errors.Is(err, client.ErrEmpty) {
			continue
		}
		if err != nil {
			return err
		}
		var ids []string
		names = nil
		for i := range leased {
			if rnd.IntN(4) > 0 {
				ids = append(ids, leased[i].ID)
				names = append(names, string(leased[i].Payload))
			}
		}
		s.note(s.taken, names)
		if len(ids) > 0 {
			if err := c.Complete(ctx, "q", leased[0].Partition, ids...); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestBackupUnderLoad takes back-ups while the agent works, kills it, restores
// them on other devices, and looks for what must be there.
func TestBackupUnderLoad(t *testing.T) {
	rnd := newRand(t)
	a := newAgent(t)
	p := started(t, a)
	home := t.TempDir()
	q := plainQueue("q")
	q.Partitions = 2
	createQueue(t, p, q)
	s := &shift{produced: map[string]bool{}, taken: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	seed := rnd.Uint64()
	working.Go(func() {
		if err := s.work(ctx, p.Client, rand.New(rand.NewPCG(seed, 2))); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	var files []string
	type moment struct{ produced, taken map[string]bool }
	var moments []moment
	for n := range 3 {
		meanwhile(t.Context(), time.Duration(100+rnd.IntN(400))*time.Millisecond)
		file := filepath.Join(home, fmt.Sprintf("%d.backup", n))
		args := []string{"--socket", a.Socket, "backup", file}
		if n > 0 {
			args = append(args, "--since", files[n-1])
		}
		m := moment{produced: s.copyOf(s.produced)}
		querator(t, home, args...)
		m.taken = s.copyOf(s.taken)
		files, moments = append(files, file), append(moments, m)
	}
	stop()
	working.Wait()
	made := s.copyOf(s.produced)
	p.Kill()
	for n := range files {
		to := newAgent(t)
		args := append([]string{"restore", "--data-dir", to.Dir}, files[:n+1]...)
		if n == 2 { // Killed in the middle, at first.
			for range 3 {
				cmd := command(t, home, args...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				meanwhile(t.Context(), time.Duration(rnd.IntN(60))*time.Millisecond)
				_ = cmd.Process.Kill() // It may have ended.
				if cmd.Wait() == nil {
					args = nil
					break
				}
			}
		}
		if args != nil {
			querator(t, home, args...)
		}
		restored := started(t, to)
		found := stored(t, restored, "q")
		for name := range moments[n].produced {
			if found[name] == 0 && !moments[n].taken[name] {
				t.Fatalf("back-up %d lacks %.20q, which was acknowledged before and not completed", n, name)
			}
		}
		for name, times := range found {
			if times != 1 || !made[name] {
				t.Fatalf("back-up %d has %.20q %d times", n, name, times)
			}
		}
		querator(t, home, "--socket", to.Socket, "audit")
		restored.Kill()
		querator(t, home, "verify", to.Dir)
	}
}

// meanwhile waits for a time that says nothing: for something to be in the middle.
func meanwhile(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// TestMove moves a queue to another agent over connections that break, while
// either agent or the move itself is killed again and again.
func TestMove(t *testing.T) {
	rnd := newRand(t)
	from, to := newAgent(t), newAgent(t)
	home := t.TempDir()
	here, there := started(t, from), started(t, to)
	createQueue(t, here, plainQueue("q"))
	createQueue(t, there, plainQueue("q"))
	want := make(map[string]int)
	for n := range 60 {
		var items []client.ProduceItem
		for i := range 100 {
			it := client.ProduceItem{Payload: fmt.Appendf(nil, "%d", 100*n+i), Kind: "k", Encoding: "e", Reference: "r"}
			if i%10 == 0 {
				it.SourceID = "own-" + string(it.Payload)
			}
			items = append(items, it)
			want[string(it.Payload)] = 1
		}
		if err := here.Client.Produce(t.Context(), "q", items...); err != nil {
			t.Fatal(err)
		}
	}
	link := newLink(t, to.Socket, rnd.Uint64())
	args := []string{"--socket", from.Socket, "--timeout", "5s", "move", "q", "--to", link.address(),
		"--lease-timeout", "10m", "-b", "37"}
	for range 8 {
		link.set(linkBreaks)
		cmd := command(t, home, args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 1 + rnd.IntN(2) {
			meanwhile(t.Context(), time.Duration(50+rnd.IntN(200))*time.Millisecond)
			switch rnd.IntN(3) {
			case 0:
				here.Kill()
				here = started(t, from)
			case 1:
				there.Kill()
				there = started(t, to)
			}
		}
		_ = cmd.Process.Kill() // It may have ended.
		_ = cmd.Wait()
		t.Logf("%d items are there; %s", len(stored(t, there, "q")), out.String())
	}
	link.set(linkUp)
	t.Log(querator(t, home, args...)) // It goes on with what was on its way.
	giveBack(t, here)                 // What a move was leased whose journal did not know of it yet.
	t.Log(querator(t, home, args...))
	if left := stored(t, here, "q"); len(left) > 0 {
		t.Errorf("%d items are left", len(left))
	}
	found := stored(t, there, "q")
	for name := range want {
		if found[name] != 1 {
			t.Errorf("item %s is there %d times", name, found[name])
		}
	}
	if len(found) != len(want) {
		t.Errorf("%d items are there, want %d", len(found), len(want))
	}
	items, err := there.Client.ListItems(t.Context(), "q", 0, client.Page{Limit: 1})
	if err != nil || len(items) != 1 || items[0].Kind != "k" || items[0].Encoding != "e" || items[0].Reference != "r" || items[0].SourceID == "" {
		t.Errorf("%v: %+v", err, items)
	}
	querator(t, home, "--socket", from.Socket, "audit")
	querator(t, home, "--socket", to.Socket, "audit")
}

// giveBack gives all leased items of q back.
func giveBack(t *testing.T, p *crashtest.Process) {
	t.Helper()
	items, err := p.Client.ListItems(t.Context(), "q", 0, client.Page{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range items {
		if items[i].IsLeased {
			if err := p.Client.Retry(t.Context(), "q", 0, client.RetryItem{ID: items[i].ID}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
