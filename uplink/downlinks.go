package uplink

import (
	"context"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/downlink"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// rateSeconds is how many seconds of the rate one pull of a downlink may take, so that events get their turn.
const rateSeconds = 10

// leastPull is the least that a pull asks for, in bytes.
const leastPull = 4 << 10

// downlinkOptions are what the downlinks share under these settings.
func (u *Uplink) downlinkOptions(cfg *Config) downlink.Options {
	pull := downlink.DefaultPullBytes
	if rate := cfg.Budget.Rate; rate > 0 {
		pull = int(min(int64(pull), max(leastPull, rate*rateSeconds)))
	}
	report := newReporter(u.events.Report, cfg.Timing.Log)
	return downlink.Options{
		Device: cfg.Hub.Device, Sink: cfg.Sink, MaxPayload: cfg.MaxItem, PullBytes: pull, Gather: cfg.Linger,
		Wait: func() time.Duration { return u.meter.rateWait(time.Now()) },
		Report: func(r downlink.Report) {
			if r.Queue == "" { // No downlink of the status has it.
				u.change(func(s *Status) { s.LastError = r.Text })
			}
			report.send(time.Now(), Report{Kind: r.Kind, Queue: r.Queue, Text: r.Text, Err: r.Err, Alarm: r.Alarm, Good: r.Kind == downlink.ClassNone})
		},
		Timing: downlink.Timing{
			Request: cfg.Timing.Lookup, Quiet: cfg.Timing.Reply, HoldMin: cfg.Timing.HoldMin, HoldMax: cfg.Timing.HoldMax,
			Leave: cfg.Timing.Drain,
		},
	}
}

// useDownlinks lets the downlinks use a connection, until the function that it returns is called. When ctx has ended,
// that waits until they have left it.
func (u *Uplink) useDownlinks(ctx context.Context, c *hub.Conn) (end func()) {
	if u.down.Idle() {
		return func() {}
	}
	r, err := c.NewReader()
	if err != nil {
		return func() {} // The connection has ended, which the pump learns by itself.
	}
	u.down.Use(r)
	return func() {
		if ctx.Err() != nil {
			<-u.downEnded
		}
		u.down.Use(nil)
	}
}

// downlinks looks at the rights that the downlinks need, and at the settings of their streams.
func (t *tester) downlinks(ctx context.Context, c *hub.Conn) {
	if len(t.cfg.Downlinks) == 0 {
		return
	}
	r, err := c.NewReader()
	if err != nil {
		t.bad("downlink", err.Error(), "try again")
		return
	}
	for _, cfg := range t.cfg.Downlinks {
		for _, f := range downlink.Test(ctx, r, t.cfg.Hub.Device, cfg, t.timeout()) {
			t.found = append(t.found, Finding{
				Name: "downlink " + strings.TrimSpace(cfg.Queue) + ": " + f.Name, OK: f.Fix == "", Text: f.Text, Fix: f.Fix,
			})
		}
	}
}
