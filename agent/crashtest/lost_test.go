package crashtest_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
	"github.com/kapetan-io/querator-edge/queue"
)

// lostItems is how many items the tests of this file produce, lostSize their
// size: more than two segments, which have 16 MiB.
const (
	lostItems = 400
	lostSize  = 100 << 10
)

// TestPassingReadError has reading and opening fail for a moment: at the start,
// and while items are leased. Nothing is taken for lost, and nothing set aside.
func TestPassingReadError(t *testing.T) {
	c := newPowerCuts(t, flashfs.Journal)
	r := newRand(t)
	p := fillSegments(t, c, r)
	must(t, c.CutAll(p)) // So that the kernel has nothing in memory.
	for i := range 8 {
		rule := flashfs.Rule{
			Calls: []string{flashfs.CallRead, flashfs.CallOpen}, Error: syscall.EIO, Under: "/data/partitions/single-000000-partition",
			Skip: r.IntN(60), Times: 1 + r.IntN(3),
		}
		must(t, c.Device.SetRules(&rule))
		p := started(t, c.Agent)
		got := listAll(t, p)
		if len(got) != lostItems {
			t.Errorf("try %d: %d items are there, want %d", i, len(got), lostItems)
		}
		must(t, c.Device.SetRules())
		wantNoneAside(t, c)
		wantClean(t, p, 0)
		must(t, c.CutAll(p))
	}
}

// TestLostBlocks has a file that cannot be read any more. The agent starts, loses
// what is in the file, says so, and serves the rest.
func TestLostBlocks(t *testing.T) {
	c := newPowerCuts(t, flashfs.Journal)
	p := fillSegments(t, c, newRand(t))
	must(t, c.CutAll(p))
	logs, err := filepath.Glob(filepath.Join(c.Agent.Dir, "partitions/single-000000-partition/*/*.vlog"))
	must(t, err)
	if len(logs) < 2 {
		t.Fatalf("there are the value logs %q only", logs)
	}
	lost := strings.TrimPrefix(logs[0], c.Device.Dir)
	must(t, c.Device.SetRules(&flashfs.Rule{Calls: []string{flashfs.CallRead}, Error: syscall.EIO, Under: lost}))
	p = started(t, c.Agent)
	got := listAll(t, p)
	if len(got) >= lostItems || len(got) < lostItems/4 {
		t.Errorf("%d items of %d are there, although the first of %d value logs cannot be read", len(got), lostItems, len(logs))
	}
	wantClean(t, p, lostItems-len(got))
	if !strings.Contains(p.Stderr(), "lost") {
		t.Errorf("the log does not say that something is lost:\n%s", p.Stderr())
	}
	must(t, c.CutAll(p))
	p = started(t, c.Agent)
	if again := listAll(t, p); len(again) != len(got) {
		t.Errorf("after a restart %d items are there, before %d", len(again), len(got))
	}
	wantClean(t, p, lostItems-len(got))
}

func fillSegments(t *testing.T, c *crashtest.PowerCuts, r *rand.Rand) *crashtest.Process {
	t.Helper()
	config := filepath.Join(shortDir(t), "c.toml")
	must(t, os.WriteFile(config, []byte("memory-limit = \"32MiB\"\n"), 0o600))
	c.Agent.Args = []string{"--config", config}
	p := started(t, c.Agent)
	for n := 0; n < lostItems; n += 20 {
		var batch []client.ProduceItem
		for i := range 20 {
			payload := make([]byte, lostSize)
			for at := 8; at < len(payload); at += 8 {
				binary.BigEndian.PutUint64(payload[at:], r.Uint64())
			}
			binary.BigEndian.PutUint64(payload, uint64(n+i))
			batch = append(batch, client.ProduceItem{Payload: payload})
		}
		must(t, p.Client.Produce(t.Context(), "single", batch...))
	}
	return p
}

// listAll returns the numbers of all items, which are in order.
func listAll(t *testing.T, p *crashtest.Process) []uint64 {
	t.Helper()
	var got []uint64
	for page := (client.Page{Limit: 20}); ; {
		items, err := p.Client.ListItems(t.Context(), "single", 0, page)
		must(t, err)
		for _, it := range items {
			n := binary.BigEndian.Uint64(it.Payload)
			if len(got) > 0 && n <= got[len(got)-1] || len(it.Payload) != lostSize || bytes.Count(it.Payload[8:], []byte{0}) > lostSize/8 {
				t.Errorf("item %d comes after %v, or has changed", n, got[max(0, len(got)-1):])
			}
			got = append(got, n)
		}
		if len(items) == 0 {
			return got
		}
		last, err := queue.ParseID(items[len(items)-1].ID)
		must(t, err)
		page.Pivot = queue.NewID(last.Seq()+1, last.Tag()).String()
	}
}

// wantNoneAside checks that no quarantine holds anything.
func wantNoneAside(t *testing.T, c *crashtest.PowerCuts) {
	t.Helper()
	aside, err := filepath.Glob(filepath.Join(c.Agent.Dir, "*/*/quarantine/*"))
	must(t, err)
	if len(aside) > 0 {
		t.Errorf("%q were set aside", aside)
	}
}

// wantClean has the agent count everything.
func wantClean(t *testing.T, p *crashtest.Process, quarantined int) {
	t.Helper()
	audits, err := p.Client.Audit(t.Context(), "")
	must(t, err)
	sum := uint64(0)
	for _, a := range audits {
		if a.Failure != "" || len(a.Differences) > 0 {
			t.Errorf("the audit found %+v", a)
		}
		sum += uint64(a.Ledger.Quarantined)
	}
	if sum != uint64(quarantined) {
		t.Errorf("%d items are quarantined, want %d", sum, quarantined)
	}
}
