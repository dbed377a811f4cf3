package uplink

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/downlink"
	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Modes of publishing.
const (
	ModeAuto   = "auto"   // Batches where the server proves that it has them, else windows.
	ModeBatch  = "batch"  // Batches where the server proves that it has them, else singly.
	ModeWindow = "window" // Many at once, each behind the one before, where the stream has one replica; else singly.
	ModeSingle = "single" // One at a time, each fenced.
)

// Config is the whole list of settings. Zero values of numbers and durations mean the defaults, except where
// zero is said to mean off.
type Config struct {
	// Hub says how to reach the server. Hub.Device is the name of this device; Hub.Count is not used.
	Hub hub.Options
	// Stream is the name of the JetStream stream. Required.
	Stream string
	// Prefix is the first token of all subjects. Required.
	Prefix string
	// Format is event.FormatBinary, event.FormatStructured or event.FormatPacked.
	Format string
	// Payload is event.PayloadNone, event.PayloadMeta or event.PayloadFull.
	Payload string
	// MaxPayload is the largest payload that goes along, in bytes.
	MaxPayload int
	// Mode is ModeAuto, ModeBatch, ModeWindow or ModeSingle.
	Mode string
	// BatchEvents and BatchBytes bound a batch, and a window in bytes; Window is the most events of a window.
	BatchEvents int
	BatchBytes  int
	Window      int
	// Linger is how long an event may wait for others; 0: not at all.
	Linger time.Duration
	// Marker keeps the place of the last event on a subject of its own, for streams that forget events sooner
	// than an outage may last.
	Marker bool
	// Frugal leaves out what is not needed for the events to be right: the settings of the stream are not asked
	// for unless something went wrong.
	Frugal bool
	// Heartbeat is the time between heartbeats; 0: none.
	Heartbeat time.Duration
	// Budget bounds what goes over the network.
	Budget Budget
	// Downlinks bring items from streams into queues; none: nothing is done. Sink is where the items go, required with
	// Downlinks, and MaxItem the largest payload of an item, 0: 1 MiB.
	Downlinks []downlink.Config
	Sink      downlink.Sink
	MaxItem   int
	// StateFile keeps the budget used and a pause over restarts; empty: they are forgotten.
	StateFile string
	// EpochFile keeps over restarts which epochs this device has published with, so that the events of a queue that is
	// gone are known for its own; empty: that is forgotten.
	EpochFile string
	// Version is the agent's, for the heartbeat.
	Version string
	// Timing is for tests; zero values are the defaults.
	Timing Timing
}

// Budget bounds the bytes of the network in both directions, as TCP carries them; 0 means no bound.
type Budget struct {
	Rate     int64 // Bytes a second.
	PerDay   int64
	PerMonth int64
	// Windows are the times of day, by the local clock, in which the uplink may connect; none: always. A clock
	// that is not trusted opens them all, since the budget still holds.
	Windows []TimeWindow
}

// TimeWindow is a part of the day; one that ends before it begins goes over midnight.
type TimeWindow struct {
	From, To time.Duration // Since midnight.
}

// Timing are the times of the protocol.
type Timing struct {
	BackoffMin, BackoffMax time.Duration // Between connects, with full jitter.
	Stable                 time.Duration // A connection that held so long starts the back-off anew.
	HoldMin, HoldMax       time.Duration // After an error of the server.
	Reply                  time.Duration // For a receipt, and what the bytes take is added.
	Lookup                 time.Duration // For the answer to a request.
	FenceMin, FenceMax     time.Duration // Between reading back again and again.
	Spread                 time.Duration // A long backlog waits a random part of this after a connect.
	Drain                  time.Duration // For what is under way at the end.
	Wake                   time.Duration // At most one forced connect in this time.
	Verify                 time.Duration // Idle so long after events were sent, it looks whether the server still has them.
	VerifyLast             time.Duration // And so long after, once more.
	Log                    time.Duration // At most one line about trouble in this time.
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&t.BackoffMin, time.Second)
	set(&t.BackoffMax, 5*time.Minute)
	set(&t.Stable, time.Minute)
	set(&t.HoldMin, time.Second)
	set(&t.HoldMax, 5*time.Minute)
	set(&t.Reply, 30*time.Second)
	set(&t.Lookup, 30*time.Second)
	set(&t.FenceMin, 200*time.Millisecond)
	set(&t.FenceMax, 5*time.Second)
	set(&t.Spread, 30*time.Second)
	set(&t.Drain, 5*time.Second)
	set(&t.Wake, 30*time.Second)
	set(&t.Verify, 150*time.Second)           // A server syncs after two minutes; the outbox keeps events for five.
	set(&t.VerifyLast, 2*t.Verify-t.Verify/5) // Just before the five minutes are over.
	set(&t.Log, 5*time.Minute)
	return t
}

// Defaults of Config. Each batch costs a server a directory and a sync of its disk, whatever is in it, so large ones pay;
// what the link carries bounds them anyway.
const (
	DefaultBatchEvents = 500
	DefaultBatchBytes  = 256 << 10
	DefaultWindow      = 64
	DefaultMaxPayload  = 64 << 10
)

// ErrConfig says that settings cannot work.
var ErrConfig = errors.New("uplink configuration")

// withDefaults returns the configuration with every zero filled in, or ErrConfig.
func (c Config) withDefaults() (Config, error) {
	if c.Format == "" {
		c.Format = event.FormatBinary
	}
	if c.Payload == "" {
		c.Payload = event.PayloadNone
	}
	if c.Mode == "" {
		c.Mode = ModeAuto
	}
	if c.BatchEvents == 0 {
		c.BatchEvents = DefaultBatchEvents
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = DefaultBatchBytes
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = DefaultMaxPayload
	}
	c.Timing = c.Timing.withDefaults()
	return c, c.check()
}

func (c *Config) check() error {
	if err := c.Hub.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := event.CheckDevice(c.Hub.Device); err != nil {
		return fmt.Errorf("%w: device %q: %w", ErrConfig, c.Hub.Device, err)
	}
	if err := event.CheckDevice(c.Prefix); err != nil {
		return fmt.Errorf("%w: subject prefix %q: 1 to 64 of A-Z a-z 0-9 _ -", ErrConfig, c.Prefix)
	}
	if c.Stream == "" || strings.ContainsAny(c.Stream, " .*>\t\r\n/\\") {
		return fmt.Errorf("%w: stream %q is not the name of a stream", ErrConfig, c.Stream)
	}
	for _, v := range []struct {
		name, value string
		allowed     []string
	}{
		{"format", c.Format, []string{event.FormatBinary, event.FormatStructured, event.FormatPacked}},
		{"payload", c.Payload, []string{event.PayloadNone, event.PayloadMeta, event.PayloadFull}},
		{"mode", c.Mode, []string{ModeAuto, ModeBatch, ModeWindow, ModeSingle}},
	} {
		if !slices.Contains(v.allowed, v.value) {
			return fmt.Errorf("%w: %s %q is not one of %s", ErrConfig, v.name, v.value, strings.Join(v.allowed, ", "))
		}
	}
	if c.BatchEvents < 1 || c.BatchEvents > 1000 || c.Window < 1 || c.Window > 256 || c.BatchBytes < 1<<10 || c.BatchBytes > 1<<20 {
		return fmt.Errorf("%w: batches have 1 to 1000 events and 1 KiB to 1 MiB, windows 1 to 256 events", ErrConfig)
	}
	return nil
}
