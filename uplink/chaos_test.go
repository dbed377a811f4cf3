package uplink_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// TestChaos has all faults at random, for QUERATOR_CHAOS (a duration; some seconds unless set), and in the end
// every event on the server once and in order. QUERATOR_CHAOS_SEED replays the faults of a run.
func TestChaos(t *testing.T) {
	t.Parallel()
	length := 6 * time.Second
	if testing.Short() {
		length = 2 * time.Second
	}
	if text := os.Getenv("QUERATOR_CHAOS"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeBatch, uplink.ModeSingle, uplink.ModeWindow} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			if text := os.Getenv("QUERATOR_CHAOS_SEED"); text != "" {
				seed, _ = strconv.ParseUint(text, 10, 64)
			}
			t.Logf("QUERATOR_CHAOS_SEED=%d", seed)
			newChaos(t, mode, seed).run(length)
		})
	}
}

// chaos is one run.
type chaos struct {
	*bench
	stream map[string]any // its settings
	mode   string
	rng    *rand.Rand
	device *running
	boss   *nats.Conn
	counts map[string]int
}

// maxCopied is how many messages a stream may have that is sent again as a whole, or copied whenever that is the fault.
const maxCopied = 20_000

func newChaos(t *testing.T, mode string, seed uint64) *chaos {
	// The read-back and the fence have to do without the server's memory of identities.
	stream := map[string]any{"duplicate_window": (500 * time.Millisecond).Nanoseconds()}
	c := &chaos{bench: newBench(t, stream), stream: stream, mode: mode, rng: rand.New(rand.NewPCG(seed, 9)), counts: map[string]int{}}
	c.src.boxes = append(c.src.boxes, newSource(c.truth, partName{"gamma", 1}).boxes...)
	c.src.boxes[2].poke = c.src.poke
	c.boss = c.admin()
	return c
}

func (c *chaos) start() {
	cfg := c.config()
	cfg.Mode = c.mode
	cfg.Timing.Reply, cfg.Timing.Lookup, cfg.Timing.Drain = 400*time.Millisecond, 400*time.Millisecond, 20*time.Millisecond
	cfg.Hub.PingInterval, cfg.Hub.WriteTimeout, cfg.Hub.DialTimeout = 200*time.Millisecond, time.Second, time.Second
	c.device = run(c.t, cfg, c.src, nil)
}

// run makes faults for a while, then heals everything and checks.
func (c *chaos) run(length time.Duration) {
	c.start()
	end := time.Now().Add(length)
	for time.Now().Before(end) {
		c.produce(1 + c.rng.IntN(60))
		c.fault()
		c.wait(5, 60)
		c.heal()
		c.wait(1, 40)
		if c.rng.IntN(4) == 0 {
			c.device.drained(c.src)
		}
	}
	c.heal()
	c.device.drained(c.src)
	c.proxy.deliver() // What was held of connections long gone.
	c.proxy.cut()     // With the next connection it looks whether the server still has what it acknowledged.
	c.produce(5)
	c.device.drained(c.src)
	eventually(c.t, "what the server lost is there again", func() bool { return check(c.truth, readStream(c.t, c.boss)).lost == 0 })
	v := c.exact()
	c.t.Logf("%d events, faults %v", v.messages, c.counts)
	if v.messages == 0 {
		c.t.Error("nothing happened")
	}
}

// wait lets some milliseconds pass.
func (c *chaos) wait(least, most int) {
	<-time.After(time.Duration(least+c.rng.IntN(most-least)) * time.Millisecond)
}

// heal ends all faults of the network.
func (c *chaos) heal() {
	c.proxy.set(func() {
		held := c.proxy.up.hold || c.proxy.down.hold || c.proxy.up.swallow || c.proxy.down.swallow
		c.proxy.up, c.proxy.down, c.proxy.refuse = faults{}, faults{}, false
		if held { // What was held or swallowed does not come in the middle of a later connection.
			go c.proxy.cut()
		}
	})
}

// fault makes one.
func (c *chaos) fault() {
	p := c.proxy
	faults := []struct {
		name string
		do   func()
	}{
		{"cut", p.cut},
		{"cut in the middle of a message", func() {
			at := 500 + c.rng.IntN(20_000)
			p.set(func() { p.up.after = func(total int) bool { return total > at } })
		}},
		{"receipts swallowed, then cut", func() {
			p.set(func() { p.down.swallow = true })
			c.produce(20)
			c.wait(10, 50)
			p.cut()
		}},
		{"black hole", func() { p.set(func() { p.up.swallow, p.down.swallow = true, true }) }},
		{"half open", func() { p.set(func() { p.up.hold, p.down.hold = true, true }) }},
		{"zombie", func() {
			p.set(func() { p.up.hold = true })
			c.produce(10)
			c.wait(10, 40)
			p.cut()
			p.set(func() { p.up.hold = false })
			c.wait(10, 100)
			p.deliver()
		}},
		{"refused", func() {
			p.set(func() { p.refuse = true })
			p.cut()
			c.wait(20, 100)
		}},
		{"slow", func() { p.set(func() { p.up.rate, p.down.rate = 30_000, 30_000 }) }},
		{"not read", func() { p.set(func() { p.up.stop = true }) }},
		{"server restarted", func() {
			c.stop()
			c.bench.stand.start()
		}},
		{"server set back", c.setServerBack},
		{"stream wiped", c.wipe},
		{"stream full", func() {
			c.limit(int(streamSeq(c.t, c.boss)) + 1 + c.rng.IntN(30))
			c.produce(20)
			c.wait(10, 100)
			c.limit(-1)
		}},
		{"device killed", c.killDevice},
		{"older server", func() {
			p.set(func() { p.up.change = old })
			p.cut()
		}},
	}
	f := faults[c.rng.IntN(len(faults))]
	c.counts[f.name]++
	f.do()
}

// setServerBack has the server forget what it acknowledged in the last moments, as a power cut does, and that with it
// which identities it knew.
func (c *chaos) setServerBack() {
	if streamSeq(c.t, c.boss) > maxCopied && c.rng.IntN(20) > 0 {
		c.counts["server set back"]--
		return
	}
	image := c.image()
	defer os.RemoveAll(image)
	c.produce(20)
	c.wait(10, 100)
	c.setBack(image)
}

// limit sets how many messages the stream may have.
func (c *chaos) limit(messages int) {
	c.stream["max_msgs"] = messages
	updateStream(c.t, c.boss, c.stream)
}

// wipe deletes the stream and creates it anew.
func (c *chaos) wipe() {
	if streamSeq(c.t, c.boss) > maxCopied {
		c.counts["stream wiped"]--
		return
	}
	api(c.t, c.boss, "STREAM.DELETE.QUERATOR", nil)
	c.wait(1, 60)
	createStream(c.t, c.boss, c.stream)
}

// killDevice ends the uplink at any moment, and forgets what was not on flash.
func (c *chaos) killDevice() {
	c.device.stop()
	for _, box := range c.src.boxes {
		if c.rng.IntN(2) == 0 {
			box.saveDelivered()
		}
		box.restart()
	}
	c.start()
}
