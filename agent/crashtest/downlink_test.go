package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

// orders is a server with a stream of orders for a device, to which more are added all the time.
type orders struct {
	*hub
	sent    atomic.Int64
	sending sync.WaitGroup
	stop    chan struct{}
}

// downSettings are those of the device, whose queue has no other items.
const downSettings = `
[[queue]]
name = "orders"
[uplink]
url = [%q]
device = "dev"
linger = "10ms"
[[downlink]]
queue = "orders"
poll = "1s"
`

func newOrders(t *testing.T, seed uint64) *orders {
	t.Helper()
	o := &orders{hub: newHub(t, hubUp, seed), stop: make(chan struct{})}
	const stream = `{"name":"QUERATOR-DOWN","subjects":["querator-down.>"],"retention":"limits","storage":"file","num_replicas":1,` +
		`"discard":"new","republish":{"src":"querator-down.>","dest":"querator-bell.>","headers_only":true}}`
	if _, err := o.nc.Request("$JS.API.STREAM.CREATE.QUERATOR-DOWN", []byte(stream), waitTimeout); err != nil {
		t.Fatal(err)
	}
	o.sending.Go(func() {
		r := rand.New(rand.NewPCG(seed, 7))
		for {
			select {
			case <-o.stop:
				return
			case <-time.After(time.Duration(r.IntN(4)) * time.Millisecond):
			}
			for range 1 + r.IntN(5) {
				n := o.sent.Add(1)
				if _, err := o.js.Publish("querator-down.dev.orders", fmt.Appendf(nil, "order %d", n), nats.AckWait(waitTimeout)); err != nil {
					t.Errorf("order %d: %v", n, err)
					return
				}
			}
		}
	})
	t.Cleanup(o.end)
	return o
}

func (o *orders) settings() string { return fmt.Sprintf(downSettings, "nats://"+o.link.address()) }

// end ends the sending.
func (o *orders) end() {
	select {
	case <-o.stop:
	default:
		close(o.stop)
	}
	o.sending.Wait()
}

// state returns how many orders the device has taken, as its mark says, and how many were produced, as its ledger
// says.
func (o *orders) state(t *testing.T, p *crashtest.Process) (taken, skipped uint64, held []string) {
	t.Helper()
	s, err := p.Client.Uplink(t.Context())
	must(t, err)
	page := client.Page{Limit: 1000}
	for {
		items, err := p.Client.ListItems(t.Context(), "orders", 0, page)
		must(t, err)
		if page.Pivot != "" && len(items) > 0 {
			items = items[1:]
		}
		for i := range items {
			held = append(held, string(items[i].Payload))
		}
		if len(items) < 999 {
			return s.Downlinks[0].Taken, s.Downlinks[0].Skipped, held
		}
		page.Pivot = items[len(items)-1].ID
	}
}

// exact waits until everything is taken, and sees that each order is there once and in order. The mark counts every
// message that was taken, so that it would show one that was taken twice and recognised by its source id.
func (o *orders) exact(t *testing.T, p *crashtest.Process) {
	t.Helper()
	o.end()
	want := uint64(o.sent.Load())
	eventually(t, func() bool {
		taken, _, _ := o.state(t, p)
		return taken >= want
	})
	taken, skipped, held := o.state(t, p)
	if taken != want || skipped != 0 || uint64(len(held)) != want {
		t.Errorf("%d orders were sent; the mark says that %d were taken and %d skipped, and %d are held", want, taken, skipped, len(held))
	}
	for i, text := range held {
		if text != fmt.Sprint("order ", i+1) {
			t.Fatalf("%q is in place %d", text, i+1)
		}
	}
	t.Logf("%d orders", want)
}

// eventually waits until something is so.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	end := time.Now().Add(waitTimeout)
	for !ok() {
		if time.Now().After(end) {
			t.Error("never came")
			return
		}
		wait(t.Context(), 20*time.Millisecond)
	}
}

// TestDownlinkKill ends the agent with SIGKILL again and again while orders come: each becomes an item once.
func TestDownlinkKill(t *testing.T) {
	rnd := newRand(t)
	o := newOrders(t, rnd.Uint64())
	a := &crashtest.Agent{Binary: program, Dir: shortDir(t) + "/d", Socket: shortDir(t) + "/s"}
	file := filepath.Join(t.TempDir(), "c.toml")
	must(t, os.WriteFile(file, []byte(o.settings()), 0o600))
	a.Args = []string{"--config", file}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		p, err := a.Start()
		must(t, err)
		if rnd.IntN(4) > 0 {
			must(t, p.Ready(waitTimeout))
		}
		wait(t.Context(), time.Duration(rnd.IntN(300))*time.Millisecond)
		p.Kill()
	}
	o.exact(t, started(t, a))
}

// TestDownlinkPowerCut cuts the power again and again while orders come, and anything that was not synced is lost: each
// order becomes an item once.
func TestDownlinkPowerCut(t *testing.T) {
	c := newPowerCuts(t, flashfs.Strict)
	o := newOrders(t, c.Rand.Uint64())
	must(t, c.Configure(o.settings()))
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		p := started(t, c.Agent)
		before, _, _ := o.state(t, p)
		if c.Rand.IntN(2) == 0 {
			eventually(t, func() bool {
				after, _, _ := o.state(t, p)
				return after > before
			})
		}
		wait(t.Context(), time.Duration(c.Rand.IntN(150))*time.Millisecond)
		must(t, c.CutAll(p))
	}
	o.exact(t, started(t, c.Agent))
}
