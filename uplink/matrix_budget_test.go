package uplink_test

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
)

// What the network may carry, and when.

func TestBudgetEndsTheConnection(t *testing.T) {
	t.Parallel()
	for name, budget := range map[string]uplink.Budget{"day": {PerDay: 40_000}, "month": {PerMonth: 40_000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			cfg := b.config()
			cfg.StateFile = t.TempDir() + "/uplink.json"
			cfg.Budget = budget
			b.produce(1000)
			r := run(t, cfg, b.src, nil)
			spent := func() bool { return r.Status(t.Context()).State == uplink.StateBudget }
			eventually(t, "the budget is used up", spent)
			if s := r.Status(t.Context()); s.MonthBytes < 40_000 || s.MonthBytes > 500_000 || s.Pending == 0 {
				t.Errorf("status %+v", s)
			}
			r.stop()
			before := b.proxy.connects()
			r = run(t, cfg, b.src, nil)
			eventually(t, "it is still used up", spent)
			if b.proxy.connects() != before {
				t.Error("it connected again after a restart")
			}
			r.stop()
			cfg.Budget = uplink.Budget{}
			r = run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.exact()
		})
	}
}

func TestByteRate(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	const rate = 40_000
	cfg.Budget.Rate, cfg.BatchBytes = rate, 16<<10
	b.produce(400)
	begin := time.Now()
	r := run(t, cfg, b.src, nil)
	r.drained(b.src)
	took := time.Since(begin)
	s := r.Status(t.Context())
	// What a silent link has saved up, five seconds' worth, and one batch come on top.
	if most := uint64(rate*(took.Seconds()+5)) + 2*16<<10; s.BytesOut+s.BytesIn > most {
		t.Errorf("%d bytes in %s at %d bytes a second, not %d", s.BytesOut+s.BytesIn, took, rate, most)
	}
	if s.BytesOut < 6*rate {
		t.Errorf("only %d bytes went out, which says nothing about the rate", s.BytesOut)
	}
	b.exact()
}

func TestTimeWindows(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	y, m, d := time.Now().Date()
	sinceMidnight := time.Since(time.Date(y, m, d, 0, 0, 0, 0, time.Local))
	at := func(ahead time.Duration) time.Duration { return (sinceMidnight + ahead) % (24 * time.Hour) }
	cfg.Budget.Windows = []uplink.TimeWindow{{From: at(6 * time.Hour), To: at(12 * time.Hour)}}
	b.produce(30)
	r := run(t, cfg, b.src, nil)
	eventually(t, "it is closed", func() bool { return r.Status(t.Context()).State == uplink.StateClosed })
	if left := r.Status(t.Context()).Pending; left != 60 || b.proxy.connects() != 0 {
		t.Errorf("%d connections outside of the window, %d events wait", b.proxy.connects(), left)
	}
	r.stop()
	// A clock that nobody trusts opens all windows.
	r = run(t, cfg, b.src, func() bool { return false })
	r.drained(b.src)
	r.stop()
	cfg.Budget.Windows = append(cfg.Budget.Windows, uplink.TimeWindow{From: at(-6*time.Hour + 24*time.Hour), To: at(3 * time.Hour)})
	b.produce(30)
	r = run(t, cfg, b.src, nil)
	r.drained(b.src)
	b.exact()
}
