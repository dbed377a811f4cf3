package crashtest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

// seriesCuts is how many cuts are made on one device before it begins anew.
const seriesCuts = 25

// needFUSE ends the test where power cuts cannot be made. On the machines that
// judge changes, and when cuts were asked for, that is a failure.
func needFUSE(t *testing.T) {
	t.Helper()
	d, err := flashfs.Start(t.TempDir(), flashfs.Journal)
	if err == nil {
		err = errors.Join(d.Close(), crashtest.CheckBoot(t.TempDir()))
	}
	if err == nil {
		return
	}
	if !errors.Is(err, flashfs.ErrWordSize) && os.Getenv("CI") == "true" || os.Getenv("QUERATOR_CUTS") != "" {
		t.Fatalf("the power cannot be cut here: %v", err)
	}
	t.Skipf("the power was NOT cut, since that cannot be done here: %v", err)
}

// TestPowerCut cuts the power at random moments. QUERATOR_CUTS says how often;
// without it, as often as about 10 s allow (3 s with -short). Two devices are used
// at a time, each in series of cuts whose seeds are printed; -seed repeats one. In
// three of four series there is an uplink: one that works, one whose network comes
// and goes, and one whose server comes when all is over.
func TestPowerCut(t *testing.T) {
	needFUSE(t)
	cuts, until := 1<<30, time.Now().Add(8*time.Second)
	if testing.Short() {
		until = time.Now().Add(2 * time.Second)
	}
	if text := os.Getenv("QUERATOR_CUTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("QUERATOR_CUTS: %v", err)
		}
		cuts, until = n, time.Now().Add(24*time.Hour)
	}
	s := &sums{left: cuts, until: until}
	begin := time.Now()
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			for n := uint64(0); s.goesOn(); n++ {
				seed := *seedFlag
				if seed == 0 {
					seed = newSeed(2*n + uint64(i))
				}
				if !powerSeries(t, s, seed) || *seedFlag != 0 {
					s.stop.Store(true)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%v in %s", s, time.Since(begin).Round(time.Second))
	if s.totals.Cuts >= 2*seriesCuts && s.journals == 0 {
		t.Error("no cut was made while a journal was in use, so that its part is not tested")
	}
	if s.totals.Cuts >= 2*seriesCuts && s.carried == 0 {
		t.Error("no cut has left a value log with records of a journal, so that its part is not tested")
	}
	if s.totals.Cuts >= 4*seriesCuts && s.usedAgain == 0 {
		t.Error("no cut has left a value log that was used again, so that its part is not tested")
	}
}

// newPowerCuts mounts a device for a test.
func newPowerCuts(t *testing.T, model flashfs.Model) *crashtest.PowerCuts {
	t.Helper()
	needFUSE(t)
	c, err := crashtest.NewPowerCuts(t.Context(), program, shortDir(t), model, newRand(t))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// TestPowerCutNotices leaves syncs out on purpose: a check that cannot fail checks
// nothing.
func TestPowerCutNotices(t *testing.T) {
	for name, test := range map[string]struct {
		model flashfs.Model
		calls []string
	}{
		"fdatasync":           {flashfs.Journal, []string{flashfs.CallFdatasync}},
		"sync of a directory": {flashfs.Strict, []string{flashfs.CallFsyncDir}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newPowerCuts(t, test.model)
			must(t, c.Device.SetRules(&flashfs.Rule{Calls: test.calls}))
			p := started(t, c.Agent)
			for range 50 { // Until there are items that can be lost.
				useOnce(t, c.Rounds, p)
				if _, items := firstItems(t, p); len(items) > 0 {
					break
				}
			}
			must(t, c.CutAll(p))
			c.Book.Patience = time.Second
			p = started(t, c.Agent)
			must(t, c.Book.Check(t.Context(), p))
			const want = "is lost; its produce was acknowledged"
			if problems := strings.Join(c.Book.Problems(), "\n"); !strings.Contains(problems, want) {
				t.Errorf("nobody noticed that syncs were left out; the problems are: %s", problems)
			}
		})
	}
}

// TestFirstStart cuts the power right after the first item of a new agent, on the
// file system that promises least.
func TestFirstStart(t *testing.T) {
	c := newPowerCuts(t, flashfs.Strict)
	must(t, c.CutAll(started(t, c.Agent)))
	p := started(t, c.Agent)
	must(t, c.Book.Check(t.Context(), p))
	must(t, p.Client.Produce(t.Context(), "single", client.ProduceItem{Payload: []byte("one")}))
	must(t, c.CutAll(p))
	p = started(t, c.Agent)
	items, err := p.Client.ListItems(t.Context(), "single", 0, client.Page{})
	must(t, err)
	if len(items) != 1 || string(items[0].Payload) != "one" || len(c.Book.Problems()) > 0 {
		t.Errorf("%d items are there; %v", len(items), c.Book.Problems())
	}
}

// sums adds up what all series did.
type sums struct {
	until time.Time
	stop  atomic.Bool

	mu     sync.Mutex
	left   int // cuts
	totals crashtest.Totals
	starts []time.Duration
	lost   flashfs.Outcome
	kept   flashfs.Outcome
	// journals that recovery had to go by, value logs with a past, and those that carry
	// records
	journals, usedAgain, carried int
}

func (s *sums) goesOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left > 0 && time.Now().Before(s.until) && !s.stop.Load()
}

// take takes one of the cuts that are left.
func (s *sums) take() bool {
	if !s.goesOn() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left--
	return true
}

func (s *sums) add(c *crashtest.PowerCuts) {
	t := c.Book.Totals()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Cuts += t.Cuts
	s.totals.Kills += t.Kills
	s.totals.Operations += t.Operations
	s.totals.Acknowledged += t.Acknowledged
	s.totals.Completed += t.Completed
	s.totals.Unknown += t.Unknown
	s.totals.Checked += t.Checked
	s.totals.Events += t.Events
	s.totals.Gapped += t.Gapped
	s.starts = append(s.starts, c.Starts...)
	s.journals += c.Journals
	s.usedAgain += c.UsedAgain
	s.carried += c.Carried
	s.lost.Pages += c.Lost.Pages
	s.lost.Names += c.Lost.Names
	s.kept.Pages += c.Kept.Pages
	s.kept.TornPages += c.Kept.TornPages
	s.kept.Names += c.Kept.Names
}

// String is the summary line.
func (s *sums) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.starts)
	text := fmt.Sprintf("%v; of what was not synced, %d pages lost and %d kept (%d torn), %d changes of directories lost and %d kept",
		s.totals, s.lost.Pages, s.kept.Pages, s.kept.TornPages, s.lost.Names, s.kept.Names)
	text += fmt.Sprintf("; %d journals in use, %d value logs with a past, %d with records of a journal", s.journals, s.usedAgain, s.carried)
	if n := len(s.starts); n > 0 {
		text += fmt.Sprintf("; %d starts, median %s, slowest %s", n,
			s.starts[n/2].Round(time.Millisecond), s.starts[n-1].Round(time.Millisecond))
	}
	return text
}

func numModels() uint64 { return uint64(len(flashfs.Models())) }

// newSeed returns the seed of series n; the ways of having an uplink take turns.
func newSeed(n uint64) uint64 {
	seed, all := rand.Uint64(), numModels()*hubModes
	return seed - seed%all + seed%numModels() + numModels()*((n+uint64(hubUp))%hubModes)
}

// powerSeries makes a series of cuts on a new device.
func powerSeries(t *testing.T, s *sums, seed uint64) bool {
	model, mode := flashfs.Models()[seed%numModels()], hubMode(seed/numModels()%hubModes)
	t.Logf("seed %d, model %s, %s (repeat with: go test ./agent/crashtest -run '%s$' -seed %d)", seed, model, mode, t.Name(), seed)
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Error(err)
		return false
	}
	c, err := crashtest.NewPowerCuts(t.Context(), program, dir, model, rand.New(rand.NewPCG(seed, 3)))
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return false
	}
	h, err := startHub(filepath.Join(dir, "hub"), mode, seed)
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return false
	}
	ok := cutAgain(t, s, c, h, seed)
	h.close()
	s.add(c)
	if !ok {
		image := dir + "-image"
		t.Logf("what the last cut has left is in %s: %v", image, errors.Join(os.Mkdir(image, 0o700), c.Device.Dump(image)))
	}
	if err := errors.Join(c.Close(), os.RemoveAll(dir)); err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return false
	}
	return ok
}

func cutAgain(t *testing.T, s *sums, c *crashtest.PowerCuts, h *hub, seed uint64) bool {
	ctx, flaps := t.Context(), rand.New(rand.NewPCG(seed, 5))
	ok := func(err error) bool {
		problems := c.Book.Problems()
		for _, p := range problems {
			t.Errorf("seed %d, after %d cuts: %s", seed, c.Book.Totals().Cuts, p)
		}
		if err != nil {
			t.Errorf("seed %d, after %d cuts: %v", seed, c.Book.Totals().Cuts, err)
		}
		return err == nil && len(problems) == 0
	}
	if h != nil {
		c.MayDrop = h.mode == hubGone
		if !ok(c.Configure(h.settings())) {
			return false
		}
	}
	for range seriesCuts {
		if !s.take() {
			break
		}
		h.flap(flaps)
		for before := c.Book.Totals().Cuts; c.Book.Totals().Cuts == before; {
			if !ok(c.Cut(ctx)) {
				return false
			}
		}
	}
	return ok(c.Drain(ctx)) && ok(h.check(t, c.Rounds))
}
