package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// Completed items arrive as events, in order and once, and those of queues that are not forwarded do not.
func TestUplinkDelivers(t *testing.T) {
	url, js := hubServer(t)
	for _, driver := range []string{"badger", "memory"} {
		t.Run(driver, func(t *testing.T) {
			device := "dev-" + driver
			a := runAgent(t, fmt.Sprintf(`[queue-storage]
driver = %q
[[partition-storage]]
name = "p"
driver = %q
[uplink]
url = [%q]
device = %q
queues = ["read*"]
payload = "full"
linger = "1ms"
`, driver, driver, url, device))
			for _, name := range []string{"readings", "other"} {
				if err := a.CreateQueue(t.Context(), client.QueueInfo{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, Partitions: 1}); err != nil {
					t.Fatal(err)
				}
				for i := range 30 {
					if err := a.Produce(t.Context(), name, client.ProduceItem{Payload: fmt.Appendf(nil, "%s %d", name, i)}); err != nil {
						t.Fatal(err)
					}
				}
				items, err := a.Lease(t.Context(), name, client.LeaseOptions{BatchSize: 30})
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range items {
					if err := a.Complete(t.Context(), name, 0, it.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
			if s, err := a.ControlUplink(t.Context(), "flush", time.Minute); err != nil || s.Left != 0 || s.Delivered != 30 {
				t.Fatalf("%+v, %v", s, err)
			}
			sub, err := js.SubscribeSync("querator."+device+".>", nats.OrderedConsumer())
			if err != nil {
				t.Fatal(err)
			}
			for i := range 30 {
				m, err := sub.NextMsg(20 * time.Second)
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf("readings %d", i)
				if got := m.Header["ce-sequence"][0]; got != fmt.Sprintf("%020d", i+1) || !strings.Contains(string(m.Data), want) {
					t.Errorf("event %s: %s, want %q", got, m.Data, want)
				}
			}
		})
	}
}
