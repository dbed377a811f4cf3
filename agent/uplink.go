package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// What the profile of an uplink gives.
const (
	standardLinger    = 500 * time.Millisecond
	standardPing      = 2 * time.Minute
	standardHeartbeat = 15 * time.Minute
	meteredLinger     = 10 * time.Second
	meteredPing       = 10 * time.Minute
	meteredRate       = 2 << 10
)

// uplinkState is the file in the data directory that keeps a pause and the used
// budget.
const uplinkState = "uplink.json"

// uplinkEpochs is the file beside it by which the device knows its own events
// when their queue is gone.
const uplinkEpochs = "uplink-epochs.json"

// outboxOptions are the engine's, nil without an uplink: then no events are
// written.
func outboxOptions(u *config.Uplink) *queue.OutboxOptions {
	if !u.On() {
		return nil
	}
	return &queue.OutboxOptions{
		Forward: func(name string) bool { return forwards(u.Queues, name) },
		Dead:    slices.Contains(u.Also, "dead"), Expired: slices.Contains(u.Also, "expired"),
		Dropped:  slices.Contains(u.Also, "dropped"),
		MaxBytes: int64(u.OutboxMaxBytes), MaxAge: u.OutboxMaxAge, Block: u.OnFull == config.OnFullBlock,
	}
}

// forwards reports whether one of the patterns fits a queue; "*" stands for any
// text.
func forwards(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return access.Match(pattern, name) })
}

// newUplink returns the uplink of the configuration, nil if there is none.
func (a *Agent) newUplink() (*uplink.Uplink, error) {
	c := &a.cfg.Uplink
	if !c.On() {
		return nil, nil
	}
	device, err := uplink.DeviceName(c.Device)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", config.ErrConfig, err)
	}
	u, err := uplink.New(a.uplinkConfig(a.cfg, device), &outboxes{a.service}, a.clock.Trusted, uplink.Events{Report: a.uplinkReport})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", config.ErrConfig, err)
	}
	return u, nil
}

// uplinkConfig are the settings of the uplink in a configuration.
func (a *Agent) uplinkConfig(all *config.Config, device string) uplink.Config {
	c := &all.Uplink
	cfg := uplink.Config{
		Hub: hub.Options{
			URLs: c.URL, Device: device, Name: "querator " + device,
			CredsFile: c.CredentialsFile, NKeyFile: c.NKeyFile, TokenFile: c.TokenFile, User: c.User, PasswordFile: c.PasswordFile,
			TLS: hub.TLSOptions{
				CAFile: c.TLSCAFile, CertFile: c.TLSCertFile, KeyFile: c.TLSKeyFile, ServerName: c.TLSServerName,
				HandshakeFirst: c.TLSFirst, ClockFloor: a.trust.floorTime,
			},
			ProxyPath: c.ProxyPath, PingInterval: c.Ping, Compress: c.Metered(),
		},
		Stream: c.Stream, Prefix: c.SubjectPrefix, Format: c.Format, Payload: c.Payload, MaxPayload: int(c.MaxPayload),
		Mode: c.Mode, BatchEvents: c.Batch, BatchBytes: int(c.BatchBytes), Window: c.Window, Linger: c.Linger,
		Marker: c.CursorMarker, Heartbeat: c.Heartbeat, Frugal: c.Metered(), Version: a.version,
		Budget:    uplink.Budget{Rate: int64(c.Rate), PerDay: int64(c.MaxPerDay), PerMonth: int64(c.MaxPerMonth)},
		StateFile: filepath.Join(a.cfg.DataDir, uplinkState), EpochFile: filepath.Join(a.cfg.DataDir, uplinkEpochs),
	}
	for _, hours := range c.Hours {
		from, to, _ := config.ParseHours(hours) // Validated.
		cfg.Budget.Windows = append(cfg.Budget.Windows, uplink.TimeWindow{From: from, To: to})
	}
	profile(&cfg, c.Metered())
	a.addDownlinks(&cfg, all)
	return cfg
}

// uplinkLive are the settings of the uplink that a reload puts into effect. The
// rest says which events these are and what the engine keeps of them, and waits for
// a restart: device, stream, subject-prefix, queues, also, outbox-max-bytes,
// outbox-max-age, on-full.
func uplinkLive() []string {
	return []string{
		"uplink.url", "uplink.credentials-file", "uplink.nkey-file", "uplink.token-file", "uplink.user", "uplink.password-file",
		"uplink.tls-ca-file", "uplink.tls-cert-file", "uplink.tls-key-file", "uplink.tls-server-name", "uplink.tls-first",
		"uplink.proxy-path", "uplink.profile", "uplink.format", "uplink.payload", "uplink.max-payload", "uplink.mode",
		"uplink.batch", "uplink.batch-bytes", "uplink.window", "uplink.cursor-marker", "uplink.linger", "uplink.ping",
		"uplink.heartbeat", "uplink.rate", "uplink.max-per-day", "uplink.max-per-month", "uplink.hours", "downlink",
	}
}

// reloadUplink puts changed settings of the uplink and its downlinks into effect.
func (a *Agent) reloadUplink(_ context.Context, c *config.Config) error {
	return a.uplink.Reload(a.uplinkConfig(c, a.uplink.Device()))
}

// profile fills in what is not set.
func profile(c *uplink.Config, metered bool) {
	set := func(d *time.Duration, standard, otherwise time.Duration) {
		if *d == 0 && metered {
			*d = otherwise
		} else if *d == 0 {
			*d = standard
		}
	}
	set(&c.Linger, standardLinger, meteredLinger)
	set(&c.Hub.PingInterval, standardPing, meteredPing)
	set(&c.Heartbeat, standardHeartbeat, 0)
	if c.Budget.Rate == 0 && metered {
		c.Budget.Rate = meteredRate
	}
}

// outboxes is the engine as a source of events.
type outboxes struct{ *queue.Service }

// Outboxes implements uplink.Source.
func (o *outboxes) Outboxes() []uplink.Outbox {
	all := o.Service.Outboxes()
	list := make([]uplink.Outbox, len(all))
	for i := range all {
		list[i] = all[i]
	}
	return list
}

// uplinkReport logs what the uplink has to say, which it does rarely.
func (a *Agent) uplinkReport(r uplink.Report) {
	level := zerolog.WarnLevel
	switch {
	case r.Alarm:
		level = zerolog.ErrorLevel
	case r.Good:
		level = zerolog.InfoLevel
	}
	e := a.log.WithLevel(level).Str("kind", r.Kind)
	if r.Queue != "" {
		e = e.Str("queue", r.Queue).Int("partition", r.Partition)
	}
	if r.Left > 0 {
		e = e.Int("left-out", r.Left)
	}
	e.Err(r.Err).Msg(r.Text)
}

// uplinkCalls serves the calls of the API.
type uplinkCalls struct {
	u      *uplink.Uplink
	device string
}

// Status implements api.Uplink.
func (c *uplinkCalls) Status(ctx context.Context, s *pb.UplinkStatusResponse) {
	st := c.u.Status(ctx)
	s.State, s.Since, s.Class, s.Error, s.LastError = st.State, st.Since.String(), st.Class, st.Error, st.LastError
	s.Device, s.Url, s.ServerVersion, s.Mode = c.device, st.URL, st.ServerVersion, st.Mode
	s.Connects, s.Delivered, s.Resent, s.Conflicts = st.Connects, st.Delivered, st.Resent, st.Conflicts
	s.Shortened, s.Gaps, s.Lost = st.Shortened, st.Gaps, st.Lost
	s.Partitions, s.Pending, s.Bytes, s.Blocked = int32(st.Partitions), st.Pending, st.Bytes, int32(st.Blocked)
	if st.Pending > 0 {
		s.Oldest = st.Oldest.Truncate(time.Second).String()
	}
	s.BytesOut, s.BytesIn, s.DayBytes, s.MonthBytes = st.BytesOut, st.BytesIn, st.DayBytes, st.MonthBytes
	s.Downlinks = downlinksToWire(st.Downlinks)
}

// Control implements api.Uplink.
func (c *uplinkCalls) Control(ctx context.Context, action api.UplinkAction, s *pb.UplinkStatusResponse) error {
	switch action {
	case api.UplinkPause:
		return c.u.Pause()
	case api.UplinkResume:
		return c.u.Resume()
	case api.UplinkReconnect:
		c.u.Reconnect()
	case api.UplinkFlush:
		s.Left = c.u.Flush(ctx)
	case api.UplinkTest:
		for _, f := range c.u.Test(ctx) {
			s.Findings = append(s.Findings, &pb.UplinkFinding{Name: f.Name, Ok: f.OK, Unknown: f.Unknown, Text: f.Text, Fix: f.Fix})
		}
	}
	return nil
}

// uplinkAPI is what the API works on; nil without an uplink.
func (a *Agent) uplinkAPI() api.Uplink {
	if a.uplink == nil {
		return nil
	}
	return &uplinkCalls{a.uplink, a.uplink.Device()}
}

// runUplink delivers events until ctx ends.
func (a *Agent) runUplink(ctx context.Context) {
	if err := a.uplink.Run(ctx); err != nil {
		a.log.Error().Err(err).Msg("the uplink ended; events are kept")
	}
}

// uplinkProblems returns what a person should look after.
func (a *Agent) uplinkProblems(ctx context.Context) []api.Problem {
	if a.uplink == nil {
		return nil
	}
	st := a.uplink.Status(ctx)
	var list []api.Problem
	warn := func(hint, format string, args ...any) {
		list = append(list, api.Problem{About: "uplink", Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	switch {
	case st.State == uplink.StateStopped:
		warn("give each device a name of its own, then: querator uplink resume", "stopped: %s", st.Error)
	case st.Error != "" && st.Pending > 0:
		warn("querator uplink test says what to change; events are kept until then", "%s; %d events wait", st.Error, st.Pending)
	}
	if st.Blocked > 0 {
		warn("bring the uplink back, raise outbox-max-bytes, or set on-full to drop-oldest",
			"%d partitions refuse completes: their outbox is full", st.Blocked)
	}
	return append(list, downlinkProblems(st.Downlinks)...)
}
