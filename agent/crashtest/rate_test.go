package crashtest_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// rateSide is one of the agents whose completes are compared.
type rateSide struct {
	name   string
	agent  *crashtest.Agent
	p      *crashtest.Process
	h      *hub // nil: no uplink
	ratios []float64
}

// TestUplinkRate compares completing items in three agents by turns: without an
// uplink, with one, and with one whose server was never there. QUERATOR_PAIRS says
// how many turns each has, by default 2 (1 with -short); it takes ten or more, on a machine that
// does nothing else, to believe the rates. Events that were not delivered in a turn
// are before the next begins, which is not counted.
func TestUplinkRate(t *testing.T) {
	turns := 2
	if testing.Short() {
		turns = 1
	}
	if text := os.Getenv("QUERATOR_PAIRS"); text != "" {
		var err error
		turns, err = strconv.Atoi(text)
		must(t, err)
	}
	const cycles, batch = 60, 100
	r := newRand(t)
	sides := []*rateSide{{name: "no uplink"}, {name: "uplink", h: newHub(t, hubUp, 1)}, {name: "server gone", h: newHub(t, hubGone, 1)}}
	for _, s := range sides {
		if s.h != nil {
			s.h.linger = "" // The default.
		}
		s.agent = newAgent(t)
		must(t, s.h.forward(&crashtest.Rounds{Agent: s.agent}))
		s.p = started(t, s.agent)
		createQueue(t, s.p, plainQueue("q"))
	}
	n := 0
	for range turns {
		var took [3]time.Duration
		for _, i := range r.Perm(len(sides)) {
			s := sides[i]
			times := make([]time.Duration, cycles)
			for j := range times {
				times[j] = cycle(t, s.p, batch, func() []byte { n++; return reading(r, n) })
			}
			slices.Sort(times)
			took[i] = times[cycles/2]
			s.deliver(t)
		}
		for i, s := range sides {
			s.ratios = append(s.ratios, took[0].Seconds()/took[i].Seconds())
		}
	}
	all := uint64(turns * cycles * batch)
	base := costs(t, sides[0].p)
	for _, s := range sides[1:] {
		slices.Sort(s.ratios)
		c := costs(t, s.p)
		t.Logf("%s: completes at %.2f times the rate without, median of %d turns (%.2f to %.2f); %d syncs, %d without; %d bytes written, %d without",
			s.name, s.ratios[turns/2], turns, s.ratios[0], s.ratios[turns-1], c.Syncs, base.Syncs, c.Written, base.Written)
		// What was delivered is written down every few seconds.
		if c.Syncs > base.Syncs+base.Syncs/10+20 || c.Written > base.Written+base.Written/5 {
			t.Errorf("%s: %+v, without an uplink %+v", s.name, c, base)
		}
		s.h.link.set(linkUp)
		s.deliver(t)
		wantAll(t, s.h, all, all)
	}
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
