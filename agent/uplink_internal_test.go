package agent

// An internal test: what a profile gives.

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
)

func TestProfiles(t *testing.T) {
	standard, metered := uplink.Config{}, uplink.Config{}
	profile(&standard, false)
	profile(&metered, true)
	if standard.Linger != 500*time.Millisecond || standard.Hub.PingInterval != 2*time.Minute || standard.Heartbeat != 15*time.Minute || standard.Budget.Rate != 0 {
		t.Errorf("standard: %+v", standard)
	}
	if metered.Linger != 10*time.Second || metered.Hub.PingInterval != 10*time.Minute || metered.Heartbeat != 0 || metered.Budget.Rate != 2048 {
		t.Errorf("metered: %+v", metered)
	}
	own := uplink.Config{Linger: time.Second, Heartbeat: time.Hour, Budget: uplink.Budget{Rate: 10}}
	own.Hub.PingInterval = time.Minute
	want := own
	profile(&own, true)
	if own.Linger != want.Linger || own.Heartbeat != want.Heartbeat || own.Hub.PingInterval != want.Hub.PingInterval || own.Budget.Rate != want.Budget.Rate {
		t.Errorf("what is set counts: %+v", own)
	}
}
