package uplink

import (
	"context"
	"encoding/json"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// heartbeatData is the body of a heartbeat, on <prefix>-hb.<device>, outside of the subjects of events.
type heartbeatData struct {
	Device     string  `json:"device"`
	Version    string  `json:"version,omitempty"`
	At         string  `json:"at"`
	Trusted    bool    `json:"clock_trusted"`
	Every      float64 `json:"every_seconds"`
	Pending    uint64  `json:"pending"`
	OldestAge  float64 `json:"oldest_seconds"`
	Bytes      int64   `json:"bytes"`
	Delivered  uint64  `json:"delivered"`
	Lost       uint64  `json:"lost"`
	Partitions int     `json:"partitions"`
	Class      string  `json:"class,omitempty"`
}

// heartbeat sends one when it is due. It may be lost; nothing waits for it.
func (p *pump) heartbeat(ctx context.Context, c *hub.Conn) {
	if p.cfg.Heartbeat <= 0 || p.now().Before(p.beat) {
		return
	}
	p.beat = p.now().Add(p.cfg.Heartbeat)
	s := p.u.Status(ctx)
	trusted := p.u.meter.trusted == nil || p.u.meter.trusted()
	body, err := json.Marshal(heartbeatData{
		Device: p.cfg.Hub.Device, Version: p.cfg.Version, At: p.now().UTC().Format(time.RFC3339), Trusted: trusted,
		Every: p.cfg.Heartbeat.Seconds(), Pending: s.Pending, OldestAge: s.Oldest.Seconds(), Bytes: s.Bytes,
		Delivered: s.Delivered, Lost: s.Lost, Partitions: s.Partitions, Class: s.Class,
	})
	if err == nil {
		err = c.Heartbeat(HeartbeatSubject(p.cfg.Prefix, p.cfg.Hub.Device), body)
	}
	if err != nil {
		p.trouble(string(hub.Classify(err)), "no heartbeat was sent", err)
	}
}

// HeartbeatSubject is where the heartbeats of a device go.
func HeartbeatSubject(prefix, device string) string { return prefix + "-hb." + device }
