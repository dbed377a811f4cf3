package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeQueue is a queue in memory on which each call takes a millisecond.
type fakeQueue struct {
	mu      sync.Mutex
	waiting int
	most    int
	leased  int
	calls   int
}

type fakeConn struct {
	q *fakeQueue
	n int
}

func (c *fakeConn) produce(batch [][]byte) error {
	time.Sleep(time.Millisecond)
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if c.q.calls++; c.q.calls%3 == 0 {
		return errBusy
	}
	c.q.waiting += len(batch)
	c.q.most = max(c.q.most, c.q.waiting)
	return nil
}

func (c *fakeConn) lease(n int, wait time.Duration) (int, error) {
	for end := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		c.q.mu.Lock()
		c.n = min(n, c.q.waiting)
		c.q.waiting -= c.n
		c.q.leased += c.n
		c.q.mu.Unlock()
		if c.n > 0 || !time.Now().Before(end) {
			return c.n, nil
		}
	}
}

func (c *fakeConn) complete() error {
	time.Sleep(time.Millisecond)
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.q.leased -= c.n
	return nil
}

func (c *fakeConn) close() {}

func TestLoad(t *testing.T) {
	st := &stage{Size: 64, Length: time.Second}
	synctest.Test(t, func(t *testing.T) {
		for _, s := range shapes {
			q := &fakeQueue{}
			dial := func() (conn, error) { return &fakeConn{q: q}, nil }
			run := func(w work) *outcome {
				o, err := s.load(w, st).run(t.Context(), dial)
				if err != nil {
					t.Fatal(err)
				}
				return o
			}
			made := run(produceOnly)
			if made.produced != int64(q.waiting) || made.completed != 0 || made.busy == 0 || made.produce.Count()*int64(s.Batch) != made.produced {
				t.Errorf("%s: produced %d, completed %d, busy %d, calls %d; %d wait", s.Name, made.produced, made.completed, made.busy, made.produce.Count(), q.waiting)
			}
			// All of it can be drained in that time, and the waiting at the end does not count.
			taken := run(drainOnly)
			if taken.completed != made.produced || q.waiting != 0 || q.leased != 0 || taken.elapsed > time.Second {
				t.Errorf("%s: drained %d of %d in %s", s.Name, taken.completed, made.produced, taken.elapsed)
			}
			q.most = 0
			l := s.load(both, st)
			flow := run(both)
			if left := flow.produced - flow.completed; left != int64(q.waiting) || q.leased != 0 || left > l.ahead+int64(s.Batch*s.Together) {
				t.Errorf("%s: %d produced, %d completed; %d wait", s.Name, flow.produced, flow.completed, q.waiting)
			}
			if flow.elapsed > time.Second+leaseWait || flow.completed == 0 {
				t.Errorf("%s: %d completed in %s", s.Name, flow.completed, flow.elapsed)
			}
		}
	})
}

func TestLoadFails(t *testing.T) {
	st := &stage{Size: 64, Length: time.Second}
	broken := errors.New("broken")
	l := shapes[alone].load(both, st)
	if _, err := l.run(t.Context(), func() (conn, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("a client that cannot be dialled: %v", err)
	}
	raw := &rawDisk{}
	if err := raw.start(t.Context(), t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	defer raw.kill()
	if _, err := shapes[apart].load(drainOnly, st).run(t.Context(), raw.dial); !errors.Is(err, errNotAQueue) {
		t.Errorf("a lease that fails: %v", err)
	}
}

// One stage with two peers, the agent's place taken by a queue in memory; what is written has to be well formed.
func TestReport(t *testing.T) {
	stage := &stage{Size: 256, Backlog: 1000, Shapes: shapes, Rounds: 2, Length: time.Second}
	r := newReport([]peer{&rawDisk{}, &agentPeer{}, &redis{always: true}, &redis{}}, machine{Model: `<&">`})
	r.expect(stage)
	for round := range stage.Rounds {
		for i, p := range r.peers {
			for _, key := range r.keys {
				s := sample{itemsPerSecond: float64(100 * (i + 1) * (round + 1)), memoryMost: 1 << 20}
				if key.Work == starting {
					s = sample{startSeconds: 0.25}
				}
				r.add(cellKey{key, p.name()}, s)
			}
		}
	}
	cases := r.cases()
	if len(cases) != 1+len(shapes)*len(works) {
		t.Fatalf("%d cases", len(cases))
	}
	best := cases[1].best()
	if best == nil || best.Peer != "redis always" || best.Querator.Median != 2.0/3 || best.Figures[itemsPerSecond] != (spread{450, 300, 600}) {
		t.Errorf("the best of the others: %+v", best)
	}
	var table strings.Builder
	if err := writeTables(&table, &r.machine, cases); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.67 x", "redis everysec *", "250ms", "8 + 8 clients", "1.00 MiB"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table has no %q", want)
		}
	}
	file := filepath.Join(t.TempDir(), "x.json")
	if err := writeJSON(file, cases); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || !json.Valid(text) {
		t.Errorf("JSON: %v", err)
	}
	wellFormed(t, drawCases(&r.machine, cases))
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("SVG: %v", err)
		}
	}
}

func TestGrowthReport(t *testing.T) {
	o := options{rounds: 1, length: time.Second, full: true, sweeps: "items,queues"}
	var all []growthReport
	for _, s := range o.wantedSweeps() {
		r := growthReport{sweep: s}
		for i, p := range s.points {
			figures := make(map[caseKey]map[metric]spread)
			for _, sh := range p.stage.Shapes {
				for _, w := range works {
					figures[caseKey{p.stage.Size, p.stage.Backlog, sh.Name, w}] = map[metric]spread{
						latencyMetric("lease", "p50"): {Median: 0.25 * float64(i+1)}, itemsPerSecond: {Median: 4000},
					}
				}
			}
			r.figures = append(r.figures, figures)
		}
		all = append(all, r)
	}
	if len(all) != 2 || all[0].points[4].x != 10_000_000 || all[1].points[3].queues != 1000 {
		t.Fatalf("sweeps: %+v", all)
	}
	var table strings.Builder
	if err := all[0].table(&table); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(table.String()), " ")
	for _, want := range []string{"10,000,000 1.25 - -", "last : first 5.00 - -", " 4,000 "} {
		if !strings.Contains(got, want) {
			t.Errorf("the table has no %q:\n%s", want, table.String())
		}
	}
	if text, err := json.Marshal(growthJSON(&machine{}, all)); err != nil || !strings.Contains(string(text), `"what_grows":"queues"`) {
		t.Errorf("JSON: %v", err)
	}
	wellFormed(t, drawGrowth(&machine{}, all))
}

func TestPlan(t *testing.T) {
	o := options{sizes: "256, 4096", backlogs: "1000,1000000", rounds: 5, length: time.Second}
	stages, err := o.plan()
	if err != nil || len(stages) != 4 || stages[1].Rounds != 1 || len(stages[1].Shapes) != 1 || stages[2].Size != 4096 {
		t.Errorf("%v, %v", stages, err)
	}
	o.full = true
	if stages, err = o.plan(); err != nil || stages[1].Rounds != 5 || len(stages[1].Shapes) != len(shapes) {
		t.Errorf("%v, %v", stages, err)
	}
	for _, wrong := range []string{"", "x", "1,,2", "-1", "0"} {
		o.sizes = wrong
		if _, err := o.plan(); err == nil || !strings.Contains(err.Error(), "-sizes") {
			t.Errorf("sizes %q: %v", wrong, err)
		}
	}
	for name, want := range map[string]bool{"redis always": true, "beanstalkd -f 0": true, "beanstalkd": false, "nats": false} {
		if !wanted("", name) || wanted("redis, beanstalkd -f", name) != want {
			t.Errorf("%s: wanted %v, not %v", name, !want, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(v); got != want {
			t.Errorf("count(%g) is %s", v, got)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.01234: "0.0123", 0.5: "0.50", 12.34: "12.3", 1234: "1234"} {
		if got := short(v); got != want {
			t.Errorf("short(%g) is %s", v, got)
		}
	}
	p := newPayloads(300, 100, true)
	for _, at := range []int{0, 1, len(p), 1 << 30} {
		if b := p.batch(at, 100); len(b) != 100 || slices.ContainsFunc(b, func(x []byte) bool { return len(x) != 300 }) {
			t.Errorf("a batch of %d at %d", len(b), at)
		}
	}
}
