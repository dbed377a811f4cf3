package crashtest_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// rateSide is one of the agents whose completes are compared.
type rateSide struct {
	name  string
	agent *crashtest.Agent
	p     *crashtest.Process
	h     *hub // nil: no uplink
	// ratios are what the rate of each turn is of that without an uplink, alike those of processor time.
	ratios, work []float64
	// Of one turn:
	took time.Duration // the median complete
	cpu  time.Duration // of the agent
	late uint64        // events that were not delivered when it ended
}

// TestUplinkRate compares completing items in agents by turns: without an uplink,
// with one whose server takes events meanwhile, in a process that gets only what
// the others leave of the processors, as if it were on another machine; with one
// whose server has an equal share of them; and with one whose server was
// never there. QUERATOR_PAIRS says how many turns each has, by default 2 (1 with
// -short); it takes ten or more, on a machine that does nothing else, to believe the
// rates, which are then held against the goal. Events that were not delivered in a
// turn are before the next begins, which is not counted.
func TestUplinkRate(t *testing.T) {
	turns, cycles, judged := 2, 60, false
	if testing.Short() {
		turns = 1
	}
	if text := os.Getenv("QUERATOR_PAIRS"); text != "" {
		var err error
		turns, err = strconv.Atoi(text)
		must(t, err)
		cycles, judged = 600, turns >= 10
	}
	const batch, goal = 100, 0.9
	r := newRand(t)
	apart, err := startHubAt(t.TempDir(), hubUp, 1, serveApart)
	must(t, err)
	t.Cleanup(apart.close)
	sides := []*rateSide{
		{name: "no uplink"}, {name: "uplink", h: apart}, {name: "server on the same processors", h: newHub(t, hubUp, 1)},
		{name: "server gone", h: newHub(t, hubGone, 1)},
	}
	for _, s := range sides {
		if s.h != nil {
			s.h.linger, s.h.outbox = "", "1GiB" // The default, and room for all.
			s.h.direct = s.h.mode == hubUp
		}
		s.agent = newAgent(t)
		must(t, s.h.forward(&crashtest.Rounds{Agent: s.agent}))
		s.p = started(t, s.agent)
		createQueue(t, s.p, plainQueue("q"))
	}
	n := 0
	var late uint64
	for range turns {
		for _, i := range r.Perm(len(sides)) {
			sides[i].turn(t, cycles, batch, func() []byte { n++; return reading(r, n) })
		}
		for _, s := range sides {
			s.ratios = append(s.ratios, sides[0].took.Seconds()/s.took.Seconds())
			s.work = append(s.work, s.cpu.Seconds()/sides[0].cpu.Seconds())
		}
		late += sides[1].late
	}
	all := uint64(turns * cycles * batch)
	base := costs(t, sides[0].p)
	t.Logf("no uplink: %s for a complete of %d items, and %s of the agent's processor time for each item in the last turn",
		sides[0].took, batch, sides[0].cpu/time.Duration(cycles*batch))
	for _, s := range sides[1:] {
		slices.Sort(s.ratios)
		slices.Sort(s.work)
		c := costs(t, s.p)
		t.Logf("%s: completes at %.2f times the rate without, median of %d turns (%.2f to %.2f), with %.2f times the agent's processor time; %d syncs, %d without; %d bytes written, %d without",
			s.name, s.ratios[turns/2], turns, s.ratios[0], s.ratios[turns-1], s.work[turns/2], c.Syncs, base.Syncs, c.Written, base.Written)
		// What was delivered is written down every few seconds.
		if c.Syncs > base.Syncs+base.Syncs/10+20 || c.Written > base.Written+base.Written/5 {
			t.Errorf("%s: %+v, without an uplink %+v", s.name, c, base)
		}
		if judged && s.h != nil && (s.h == apart || s.h.mode == hubGone) && s.ratios[turns/2] < goal {
			t.Errorf("%s: completes at %.2f times the rate without an uplink, less than %.1f", s.name, s.ratios[turns/2], goal)
		}
		s.h.link.set(linkUp)
		s.deliver(t)
		wantAll(t, s.h, all, all)
	}
	t.Logf("%d of %d events were delivered while items were completed", all-late, all)
}

// turn has a side complete items.
func (s *rateSide) turn(t *testing.T, cycles, batch int, payload func() []byte) {
	t.Helper()
	times := make([]time.Duration, cycles)
	before := processorTime(t, s.p.Pid())
	for i := range times {
		times[i] = cycle(t, s.p, batch, payload)
	}
	s.cpu = processorTime(t, s.p.Pid()) - before
	slices.Sort(times)
	s.took, s.late = times[cycles/2], 0
	if s.h != nil {
		u, err := s.p.Client.Uplink(t.Context())
		must(t, err)
		s.late = u.Pending
	}
	s.deliver(t)
}

// processorTime returns what a process has used so far.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:13] { // In user mode, and in the kernel.
		n, err := strconv.ParseInt(field, 10, 64)
		must(t, err)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // A tick, on all that we run on.
}

// flushTimeout is far beyond what the events of a test need.
const flushTimeout = 5 * time.Minute

// deliver has the events delivered, unless the server is away.
func (s *rateSide) deliver(t *testing.T) {
	t.Helper()
	if s.h == nil || s.h.mode == hubGone && s.h.link.isDown() {
		return
	}
	if u, err := s.p.Client.ControlUplink(t.Context(), "flush", flushTimeout); err != nil || u.Left != 0 {
		t.Errorf("%s: events are left: %+v, %v", s.name, u, err)
	}
}
