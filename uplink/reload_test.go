package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// settings are those that the bench starts with, for a reload.
func (b *downBench) settings(queues ...string) uplink.Config {
	cfg := configFor(b.proxy.url())
	for _, q := range queues {
		cfg.Downlinks = append(cfg.Downlinks, downlink.Config{
			Queue: q, Stream: "QUERATOR-DOWN", Subject: "querator-down.{device}.{queue}",
			Doorbell: "querator-bell.{device}.{queue}", Poll: time.Hour, Start: downlink.StartAll,
		})
	}
	return cfg
}

func (b *downBench) reload(cfg uplink.Config) {
	b.t.Helper()
	if err := b.device.Reload(cfg); err != nil {
		b.t.Fatal(err)
	}
}

// parcels makes a second queue, and returns how many items it has.
func (b *downBench) parcels() func() int {
	b.t.Helper()
	info := b.queue().Info()
	info.Name = "parcels"
	if err := b.svc.Create(context.Background(), info); err != nil {
		b.t.Fatal(err)
	}
	q, err := b.svc.Queue("parcels")
	if err != nil {
		b.t.Fatal(err)
	}
	return func() int {
		items, err := q.List(context.Background(), &queue.ListRequest{Limit: 10_000})
		if err != nil {
			b.t.Fatal(err)
		}
		return len(items)
	}
}

func (b *downBench) sendParcel() {
	b.t.Helper()
	b.publish(&nats.Msg{Subject: "querator-down.dev.parcels", Data: []byte("parcel")})
}

// consumers is how many the server has.
func (b *downBench) consumers() int {
	b.t.Helper()
	return int(api(b.t, b.boss, "STREAM.INFO.QUERATOR-DOWN", nil)["state"].(map[string]any)["consumer_count"].(float64))
}

// TestReloadDownlinks adds, removes and changes downlinks while the uplink is at work, from none to two: each takes
// from where its queue is, and one that is gone takes nothing.
func TestReloadDownlinks(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	parcels := b.parcels()
	b.config = func(c *uplink.Config) { c.Downlinks = nil }
	b.start()
	b.send(20)
	b.sendParcel()
	eventually(t, "it is connected", func() bool { return b.device.Status(t.Context()).State == uplink.StateConnected })

	b.reload(b.settings("orders")) // The first.
	b.exact(1)
	b.reload(b.settings("orders", "parcels")) // One more.
	eventually(t, "the parcel is taken", func() bool { return parcels() == 1 })
	b.send(5)
	b.exact(1)

	b.reload(b.settings("parcels")) // One less.
	eventually(t, "one downlink is left", func() bool { return len(b.device.Status(t.Context()).Downlinks) == 1 })
	b.send(10)
	b.sendParcel()
	eventually(t, "another parcel is taken", func() bool { return parcels() == 2 })
	eventually(t, "its consumer is gone", func() bool { return b.consumers() == 1 })
	if n := len(b.held()); n != 25 {
		t.Errorf("a downlink that is gone took something: %d items, not 25", n)
	}

	changed := b.settings("parcels", "orders") // Back, and without a doorbell.
	changed.Downlinks[1].Doorbell, changed.Downlinks[1].Poll = "", time.Second
	b.reload(changed)
	b.send(3)
	b.exact(1)
	wrong := b.settings("orders", "orders")
	if err := b.device.Reload(wrong); !errors.Is(err, uplink.ErrConfig) {
		t.Errorf("two downlinks of a queue: %v", err)
	}
	b.reload(b.settings()) // None.
	eventually(t, "none is left", func() bool { return len(b.device.Status(t.Context()).Downlinks) == 0 })
	eventually(t, "nor a consumer", func() bool { return b.consumers() == 0 })
	b.reload(b.settings("orders"))
	b.send(1)
	b.exact(1)
	eventually(t, "one consumer is there", func() bool { return b.consumers() == 1 })
	if n := len(b.device.all()); n > 0 {
		for _, r := range b.device.all() {
			if !r.Good {
				t.Errorf("trouble: %+v", r)
			}
		}
	}
}

// TestReloadAtAnyMoment reloads while messages come: each becomes an item once, and in order.
func TestReloadAtAnyMoment(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	b := newDownBench(t, nil)
	b.parcels()
	b.start()
	for range 25 {
		b.send(1 + rng.IntN(30))
		sets := [][]string{{"orders"}, {"orders", "parcels"}, {"parcels", "orders"}, {"parcels"}, {}}
		cfg := b.settings(sets[rng.IntN(len(sets))]...)
		for i := range cfg.Downlinks {
			if rng.IntN(2) == 0 {
				cfg.Downlinks[i].Doorbell, cfg.Downlinks[i].Poll = "", time.Second
			}
		}
		b.reload(cfg)
	}
	b.reload(b.settings("orders"))
	b.exact(1)
}

// TestReloadUplink changes the settings of the uplink while it is at work.
func TestReloadUplink(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := run(t, b.config(), b.src, nil)
	b.produce(20)
	r.drained(b.src)

	other := newProxy(t, b.addr()) // Another way to the server.
	cfg := b.config()
	cfg.Hub.URLs, cfg.Mode, cfg.BatchEvents, cfg.Heartbeat = []string{other.url()}, uplink.ModeSingle, 3, 0
	cfg.Hub.Device, cfg.Prefix, cfg.Stream = "another", "other", "OTHER" // These stay.
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes the other way", func() bool { return other.connects() == 1 })
	b.produce(20)
	r.drained(b.src)
	if s := r.Status(t.Context()); s.Mode != uplink.ModeSingle || s.Connects != 2 || s.URL != other.url() {
		t.Errorf("status %+v", s)
	}
	bad := cfg
	bad.Mode = "none"
	if err := r.Reload(bad); !errors.Is(err, uplink.ErrConfig) {
		t.Errorf("a mode that is not known: %v", err)
	}
	// A budget that is used up holds events back, and one that is not lets them go, whatever went before.
	cfg.Budget = uplink.Budget{PerDay: 1}
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget is used up", func() bool { return r.Status(t.Context()).State == uplink.StateBudget })
	b.produce(5)
	cfg.Budget = uplink.Budget{Rate: 1 << 20}
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	r.drained(b.src)
	if v := b.exact(); v.messages != 90 {
		t.Errorf("%d messages, not 90", v.messages)
	}
	for _, rep := range r.all() {
		if !rep.Good {
			t.Errorf("trouble: %+v", rep)
		}
	}
}

// TestReloadFormat changes how events are written, in the middle of a backlog.
func TestReloadFormat(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	b.produce(40)
	r := run(t, cfg, b.src, nil)
	r.drained(b.src)
	cfg.Format, cfg.Payload = event.FormatStructured, event.PayloadMeta
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is connected again", func() bool { return r.Status(t.Context()).Connects == 2 })
	b.produce(10)
	r.drained(b.src)
	kinds := map[string]int{}
	for _, m := range rawStream(t, b.admin()) {
		kinds[m.Header.Get("Content-Type")]++
	}
	if got := fmt.Sprint(kinds); got != "map[:80 application/cloudevents+json:20]" {
		t.Errorf("events in the forms %s", got)
	}
}
