package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// Messages become items of a queue on flash, once, also over a restart; status, metrics, test and problems tell of
// the downlink.
func TestDownlink(t *testing.T) {
	url, js := hubServer(t)
	_, err := js.AddStream(&nats.StreamConfig{
		Name: "QUERATOR-DOWN", Subjects: []string{"querator-down.>"}, Storage: nats.FileStorage,
		RePublish: &nats.RePublish{Source: "querator-down.>", Destination: "querator-bell.>", HeadersOnly: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	send := func(n int) {
		t.Helper()
		for range n {
			sent++
			if _, err := js.Publish("querator-down.dev.orders", fmt.Appendf(nil, "order %d", sent), nats.AckWait(20*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings := fmt.Sprintf("[[queue]]\nname = \"orders\"\n[uplink]\nurl = [%q]\ndevice = \"dev\"\nlinger = \"1ms\"\nqueues = []\n[[downlink]]\nqueue = \"orders\"\n", url)
	s := newService(t)
	s.configure(settings)
	c := &client.Client{Socket: s.path("q.sock")}
	defer c.Close()
	for range 2 {
		send(50)
		s.start()
		awaitTaken(t, c, sent)
		send(5)
		awaitTaken(t, c, sent)
		s.end()
	}
	s.start()
	st := awaitTaken(t, c, sent)
	if d := st.Downlinks[0]; d.State != "waiting" || d.Skipped+d.Missed != 0 || !d.Doorbell {
		t.Errorf("the downlink is %+v", d)
	}
	items, err := c.Lease(t.Context(), "orders", client.LeaseOptions{BatchSize: 1000})
	if err != nil || len(items) != sent {
		t.Fatalf("%d items, %v; want %d", len(items), err, sent)
	}
	for i, it := range items {
		if want := fmt.Sprint("order ", i+1); string(it.Payload) != want {
			t.Fatalf("item %d is %q, want %q", i, it.Payload, want)
		}
	}
	result, err := c.ControlUplink(t.Context(), "test", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range result.Findings {
		if strings.HasPrefix(f.Name, "downlink orders: ") {
			found++
			if !f.OK {
				t.Errorf("finding %+v", f)
			}
		}
	}
	if found != 7 {
		t.Errorf("%d findings about the downlink, want 7: %+v", found, result.Findings)
	}
}

// awaitTaken waits until the downlink has taken so many messages, and no more.
func awaitTaken(t *testing.T, c *client.Client, n int) *client.UplinkStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.Uplink(ctx)
		if err == nil && len(st.Downlinks) == 1 && st.Downlinks[0].Taken >= uint64(n) && st.Downlinks[0].State == "waiting" {
			if st.Downlinks[0].Taken != uint64(n) {
				t.Fatalf("%d messages are taken, want %d", st.Downlinks[0].Taken, n)
			}
			return st
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d messages were never taken: %+v, %v", n, st, err)
		}
	}
}

// A downlink whose stream is not there is a problem that status and metrics show.
func TestDownlinkTrouble(t *testing.T) {
	url, _ := hubServer(t)
	a := runAgent(t, fmt.Sprintf("[[queue]]\nname = \"orders\"\n[uplink]\nurl = [%q]\ndevice = \"dev\"\n[[downlink]]\nqueue = \"orders\"\n", url))
	a.eventually("it is in trouble", func(ctx context.Context) bool {
		s, err := a.Uplink(ctx)
		return err == nil && len(s.Downlinks) == 1 && s.Downlinks[0].Class == "no_stream"
	})
	status, err := a.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range status.Problems {
		found = found || p.About == "downlink orders" && strings.Contains(p.Text, "no such stream")
	}
	if !found {
		t.Errorf("problems: %+v", status.Problems)
	}
	page := a.get("/metrics")
	for _, want := range []string{`querator_downlink_well{queue="orders"} 0`, `querator_downlink_taken_total{queue="orders"} 0`} {
		if !strings.Contains(page, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}
