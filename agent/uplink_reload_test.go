package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// TestReloadOfUplink: SIGHUP adds, changes and removes downlinks and changes the uplink; what needs a restart is named.
func TestReloadOfUplink(t *testing.T) {
	url, js := hubServer(t)
	_, err := js.AddStream(&nats.StreamConfig{Name: "QUERATOR-DOWN", Subjects: []string{"querator-down.>"}, Storage: nats.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	send := func(queue string, n int) {
		t.Helper()
		for range n {
			if _, err := js.Publish("querator-down.dev."+queue, []byte("x"), nats.AckWait(20*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings := func(uplink string, downlinks ...string) string {
		text := fmt.Sprintf("[[queue]]\nname = \"orders\"\n[[queue]]\nname = \"parcels\"\n[uplink]\nurl = [%q]\nlinger = \"1ms\"\n%s\n", url, uplink)
		for _, d := range downlinks {
			text += "[[downlink]]\ndoorbell = \"\"\npoll = \"1s\"\nqueue = \"" + d + "\"\n"
		}
		return text
	}
	const device = "device = \"dev\"\n"
	s := newService(t)
	s.configure(settings(device))
	s.start()
	c := &client.Client{Socket: s.path("q.sock")}
	defer c.Close()
	send("orders", 5)
	send("parcels", 3)
	reload := func(text, waits string) {
		t.Helper()
		s.configure(text)
		got := s.reload()
		if _, names, _ := strings.Cut(got, "waiting for a restart: "); strings.TrimSpace(names) != waits {
			t.Errorf("%q waits for a restart, want %q", got, waits)
		}
	}
	reload(settings(device, "orders"), "")
	awaitTaken(t, c, 5)
	reload(settings(device+"heartbeat = \"1h\"\nformat = \"structured\"\n", "parcels"), "")
	awaitTaken(t, c, 3) // That of the one downlink that there is.
	reload(settings("device = \"another\"\n", "parcels"), "uplink.device")
	send("parcels", 1)
	awaitTaken(t, c, 4)
	if st, err := c.Uplink(t.Context()); err != nil || st.Device != "dev" || len(st.Downlinks) != 1 || st.Downlinks[0].Queue != "parcels" {
		t.Errorf("the uplink is %+v, %v", st, err)
	}
	s.configure("") // An uplink that is taken away goes on until the restart.
	if got := s.reload(); !strings.Contains(got, "uplink.url") || !strings.Contains(got, "downlink") {
		t.Errorf("the uplink was taken away: %q", got)
	}
	send("parcels", 1)
	awaitTaken(t, c, 5)
}
