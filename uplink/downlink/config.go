package downlink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Values of Config.Start.
const (
	StartAll = "all" // Everything that the stream has for the device.
	StartNew = "new" // What is published after the first look.
)

// Config is one downlink.
type Config struct {
	// Queue is where the items go; one downlink a queue. Required.
	Queue string
	// Stream and Subject say what they are made of; "{device}" and "{queue}" in Subject and Doorbell are replaced,
	// the queue in the form of a token of a subject. Required.
	Stream, Subject string
	// Doorbell is a subject of core NATS that is rung when there is something; empty: none.
	Doorbell string
	// Poll is the time between looks, at least a second.
	Poll time.Duration
	// Start is StartAll or StartNew; it decides only when the queue has never taken from this stream and subject.
	Start string
}

// Sink is where items go. Its methods are called by the goroutine of Run. Their errors are kinds of package
// queue.
type Sink interface {
	// Mark returns how far the queue has taken the feed, and whether the queue is paused.
	Mark(ctx context.Context, queueName, feed string) (mark queue.FeedMark, paused bool, err error)
	// Take is queue.TakeFeed: the items and the mark, or neither. The payloads must not be changed any more.
	Take(ctx context.Context, queueName string, from, to queue.FeedMark, items []queue.Item) error
}

// Options are what all downlinks of a device share.
type Options struct {
	// Device is the name of the device. Required.
	Device string
	Sink   Sink // Required.
	// MaxPayload is the largest payload of an item; 0: 1 MiB.
	MaxPayload int
	// PullBytes bounds what is pulled at once, unless a single message is larger; 0: 256 KiB.
	PullBytes int
	// Gather is the least time between looks that a doorbell causes.
	Gather time.Duration
	// Wait returns how long the budget asks to wait before anything more is pulled; may be nil.
	Wait func() time.Duration
	// Report is told what an operator should know, rarely; may be nil. It is called by the goroutine of Run.
	Report func(Report)
	Timing Timing
}

// Report is something that an operator should know of a downlink.
type Report struct {
	Kind  string // a class of package hub, one of the Class or Alarm constants; ClassNone when trouble is over
	Queue string
	Text  string
	Err   error
	Alarm bool // somebody should look into it
}

// Timing are the times of the protocol; zero values are the defaults.
type Timing struct {
	Request          time.Duration // For an answer; 30 s.
	Quiet            time.Duration // Silence in the middle of a pull; 30 s.
	HoldMin, HoldMax time.Duration // After an error of the server; 1 s to 5 min.
	FullMin, FullMax time.Duration // While the queue takes nothing; 0.5 s to 10 s.
	Renew            time.Duration // Age at which a consumer is made anew; 24 h.
	Leave            time.Duration // For removing consumers at the end; 5 s.
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&t.Request, 30*time.Second)
	set(&t.Quiet, 30*time.Second)
	set(&t.HoldMin, time.Second)
	set(&t.HoldMax, 5*time.Minute)
	set(&t.FullMin, 500*time.Millisecond)
	set(&t.FullMax, 10*time.Second)
	set(&t.Renew, 24*time.Hour)
	set(&t.Leave, 5*time.Second)
	return t
}

// Defaults and bounds.
const (
	// PullMessages is the most messages of one pull, and items of one commit.
	PullMessages      = hub.MaxPull
	DefaultPullBytes  = 256 << 10
	DefaultMaxPayload = 1 << 20
	minPoll           = time.Second
	// headerRoom is what a message may have beside its payload: servers take headers of 64 KiB.
	headerRoom = 72 << 10
	// maxSubject is the longest subject, in bytes.
	maxSubject = 255
	// leastIdle is the shortest time that a server keeps a consumer that is not used.
	leastIdle = 5 * time.Minute
)

// ErrConfig says that settings cannot work.
var ErrConfig = errors.New("downlink configuration")

// resolve checks a configuration and replaces what stands for names.
func (c Config) resolve(device string) (Config, error) {
	names := event.NewStream("", device, c.Queue, 0)
	token := names.Token()
	for _, s := range []*string{&c.Subject, &c.Doorbell} {
		*s = strings.NewReplacer("{device}", device, "{queue}", token).Replace(*s)
	}
	switch {
	case c.Queue == "":
		return c, fmt.Errorf("%w: a downlink without a queue", ErrConfig)
	case c.Stream == "" || len(c.Stream) > maxSubject || strings.ContainsAny(c.Stream, " .*>\t\r\n/\\"):
		return c, fmt.Errorf("%w: queue %q: stream %q is not the name of a stream", ErrConfig, c.Queue, c.Stream)
	case !isSubject(c.Subject):
		return c, fmt.Errorf("%w: queue %q: %q is not a subject", ErrConfig, c.Queue, c.Subject)
	case c.Doorbell != "" && !isSubject(c.Doorbell):
		return c, fmt.Errorf("%w: queue %q: doorbell %q is not a subject", ErrConfig, c.Queue, c.Doorbell)
	case c.Poll < minPoll:
		return c, fmt.Errorf("%w: queue %q: poll is %s; at least %s", ErrConfig, c.Queue, c.Poll, minPoll)
	case c.Start != StartAll && c.Start != StartNew:
		return c, fmt.Errorf("%w: queue %q: start %q is not one of %s, %s", ErrConfig, c.Queue, c.Start, StartAll, StartNew)
	}
	return c, nil
}

// isSubject reports whether one can subscribe to it.
func isSubject(s string) bool {
	if s == "" || len(s) > maxSubject || strings.ContainsAny(s, " \t\r\n{}") {
		return false
	}
	for token := range strings.SplitSeq(s, ".") {
		if token == "" {
			return false
		}
	}
	return true
}

// feed is the name of the mark.
func (c *Config) feed() string { return c.Stream + " " + c.Subject }

// consumer is what reads it.
func (c *Config) consumer(device string) hub.Consumer {
	return hub.Consumer{
		Stream: c.Stream, Subject: c.Subject, Name: device + "=" + event.NewStream("", device, c.Queue, 0).Token(),
		Idle: max(leastIdle, 2*c.Poll+time.Minute),
	}
}
