package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// reading is a payload of 256 bytes as sensors send them.
func reading(r *rand.Rand, n int) []byte {
	text := fmt.Appendf(make([]byte, 0, 300), `{"sensor":"boiler-%d","sequence":%d,"celsius":%.3f,"state":"heating","note":"`, r.IntN(20), n, 60+20*r.Float64())
	for len(text) < 254 {
		text = fmt.Appendf(text, "%x ", r.Uint32N(1<<16))
	}
	return append(text[:254], `"}`...)
}

// cycle has n items produced to q, leased and completed, and returns how long the
// complete took. Nothing of it may be refused.
func cycle(t *testing.T, p *crashtest.Process, n int, payload func() []byte) time.Duration {
	t.Helper()
	items := make([]client.ProduceItem, n)
	for i := range items {
		items[i].Payload = payload()
	}
	must(t, p.Client.Produce(t.Context(), "q", items...))
	got, err := p.Client.Lease(t.Context(), "q", client.LeaseOptions{BatchSize: n, Wait: waitTimeout})
	must(t, err)
	ids := make([]string, len(got))
	for i := range got {
		ids[i] = got[i].ID
	}
	if len(ids) != n {
		t.Fatalf("leased %d items, want %d", len(ids), n)
	}
	begin := time.Now()
	must(t, p.Client.Complete(t.Context(), "q", got[0].Partition, ids...))
	return time.Since(begin)
}

// costs returns what the partition of q has cost, and occupies.
func costs(t *testing.T, p *crashtest.Process) client.Usage {
	t.Helper()
	s, err := p.Client.Status(t.Context())
	must(t, err)
	for _, q := range s.Queues {
		if q.Info.Name == "q" {
			return q.Partitions[0].Usage
		}
	}
	t.Fatal("there is no queue q")
	return client.Usage{}
}

// mostMemory looks at the anonymous memory of a process until it is called off,
// and returns the most that there was.
func mostMemory(p *crashtest.Process) (stop func() int64) {
	end := make(chan struct{})
	var most int64
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, anonymousMemory(p.Pid()))
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	})
	return func() int64 {
		close(end)
		looking.Wait()
		return most
	}
}

// TestEventBacklog completes items while the server is gone, QUERATOR_EVENTS of
// them, by default 20,000 (3,000 with -short); then the agent is killed and started
// again, and has all events delivered. Its memory stays within the limit all the
// while.
func TestEventBacklog(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 3000
	}
	if text := os.Getenv("QUERATOR_EVENTS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		must(t, err)
	}
	const batch = 1000
	n -= n % batch
	a, r := newAgent(t), newRand(t)
	h := newHub(t, hubUp, r.Uint64())
	h.link.set(linkDown)
	must(t, h.forward(&crashtest.Rounds{Agent: a}))
	p := started(t, a)
	createQueue(t, p, plainQueue("q"))
	stop := mostMemory(p)
	for done := 0; done < n; done += batch {
		i := done
		cycle(t, p, batch, func() []byte { i++; return reading(r, i) })
	}
	filling := stop()
	s, err := p.Client.Uplink(t.Context())
	must(t, err)
	disk := costs(t, p).Disk
	if s.Pending != uint64(n) || s.Lost != 0 {
		t.Fatalf("%d events wait and %d are lost, want %d", s.Pending, s.Lost, n)
	}
	p.Kill()

	begin := time.Now()
	p = started(t, a)
	start := time.Since(begin)
	stop = mostMemory(p)
	h.link.set(linkUp)
	begin = time.Now()
	s, err = p.Client.ControlUplink(t.Context(), "flush", time.Hour)
	must(t, err)
	took := time.Since(begin)
	draining := stop()
	info, err := h.js.StreamInfo("QUERATOR")
	must(t, err)
	if s.Left != 0 || info.State.Msgs != uint64(n) {
		t.Errorf("%d events are left, the server has %d; want 0 and %d", s.Left, info.State.Msgs, n)
	}
	t.Logf("%d events: %d bytes of store each (%.1f MB); anonymous memory %.1f MB while they came, %.1f MB while they went; "+
		"started in %s after a kill; delivered in %s, %.0f a second", n, disk/int64(n), float64(disk)/1e6, float64(filling)/1e6,
		float64(draining)/1e6, start.Round(time.Millisecond), took.Round(time.Millisecond), float64(n)/took.Seconds())
	if most := max(filling, draining); most > maxAnonymous {
		t.Errorf("anonymous memory rose to %d bytes; memory-limit is %d", most, maxAnonymous)
	}
}

// TestServerGone has the same items complete in two agents by turns: one whose
// outbox is full several times over, since its server was never there, and one
// without an uplink. Nothing is refused, and a complete costs no more.
func TestServerGone(t *testing.T) {
	cycles, batch, size := 120, 50, 8<<10 // 48 MB, three times the outbox.
	r := newRand(t)
	h := newHub(t, hubGone, r.Uint64())
	noise := rand.NewChaCha8([32]byte(slices.Repeat([]byte{byte(r.Uint32())}, 32)))
	without, with := newAgent(t), newAgent(t)
	must(t, h.forward(&crashtest.Rounds{Agent: with}))
	procs := []*crashtest.Process{started(t, without), started(t, with)}
	var times [2][]time.Duration
	for _, p := range procs {
		createQueue(t, p, plainQueue("q"))
	}
	for range cycles {
		first := r.IntN(2)
		for _, i := range []int{first, 1 - first} {
			times[i] = append(times[i], cycle(t, procs[i], batch, func() []byte {
				payload := make([]byte, size)
				_, _ = noise.Read(payload) // Never fails.
				return payload
			}))
		}
	}
	s, err := procs[1].Client.Uplink(t.Context())
	must(t, err)
	if all := uint64(cycles * batch); s.Pending+s.Lost != all || s.Gaps != 0 {
		t.Errorf("%d events wait and %d are lost of %d, %d gaps are told: %+v", s.Pending, s.Lost, all, s.Gaps, s)
	}
	const outbox, segment = 16 << 20, 16 << 20
	if s.Connects > 0 || s.Pending == 0 || s.Pending*uint64(size) > outbox+segment || s.Bytes > outbox {
		t.Errorf("the uplink: %+v", s)
	}
	a, b := costs(t, procs[0]), costs(t, procs[1])
	for _, list := range times {
		slices.Sort(list)
	}
	t.Logf("a complete of %d items: median %s without, %s with an outbox that is full; %d and %d syncs, %d and %d bytes written; %d of %d events wait",
		batch, times[0][cycles/2], times[1][cycles/2], a.Syncs, b.Syncs, a.Written, b.Written, s.Pending, cycles*batch)
	// A gap is a commit of its own; they go together with many events at once.
	if b.Syncs > a.Syncs+a.Syncs/10+20 {
		t.Errorf("%d syncs with the server gone, %d without an uplink", b.Syncs, a.Syncs)
	}
	if b.Written > a.Written+a.Written/10 {
		t.Errorf("%d bytes written with the server gone, %d without an uplink", b.Written, a.Written)
	}
	if b.Disk > outbox+3*segment {
		t.Errorf("%d bytes on the disk with an outbox of %d", b.Disk, outbox)
	}
	h.link.set(linkUp)
	if after, err := procs[1].Client.ControlUplink(t.Context(), "flush", flushTimeout); err != nil || after.Left != 0 {
		t.Errorf("after the server came: %+v, %v", after, err)
	} else if after.Lost != s.Lost || after.Gaps == 0 {
		t.Errorf("%d events are lost in %d gaps after the server came, %d before", after.Lost, after.Gaps, s.Lost)
	}
	wantAll(t, h, uint64(cycles*batch), s.Pending)
}

// wantAll checks that the server has events of all of q in one row: so many, and
// gaps for the rest.
func wantAll(t *testing.T, h *hub, all, told uint64) {
	t.Helper()
	events, err := h.events()
	must(t, err)
	last, n := uint64(0), uint64(0)
	for i := range events {
		e := &events[i]
		first := e.Seq
		if e.Gap != nil {
			first = e.Gap.First
		} else {
			n++
		}
		if first != last+1 {
			t.Fatalf("event %d follows event %d", first, last)
		}
		last = e.Seq
	}
	if last != all || n != told {
		t.Errorf("events up to %d, %d of them told one by one; want %d and %d", last, n, all, told)
	}
}
