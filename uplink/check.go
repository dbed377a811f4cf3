package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Finding is one thing that Test looked at.
type Finding struct {
	Name string // what was looked at
	OK   bool
	// Unknown: it could not be looked at, which need not be wrong.
	Unknown bool
	Text    string // what was found
	Fix     string // what to change, if it is not OK
}

// tester collects findings.
type tester struct {
	cfg   *Config
	found []Finding
}

func (t *tester) ok(name, format string, args ...any) {
	t.found = append(t.found, Finding{Name: name, OK: true, Text: fmt.Sprintf(format, args...)})
}

func (t *tester) bad(name, text, fix string) {
	t.found = append(t.found, Finding{Name: name, Text: text, Fix: fix})
}

func (t *tester) unknown(name, text string) {
	t.found = append(t.found, Finding{Name: name, Unknown: true, Text: text})
}

// testQueue is the queue of the subject that Test uses; nothing is stored on it.
const testQueue = "querator-test"

// Test connects beside the uplink, and looks at all that it needs: the login, the right to publish and to read
// back, and the settings of the stream. It stores nothing. Safe for use by any goroutine.
func (u *Uplink) Test(ctx context.Context) []Finding {
	t := &tester{cfg: u.cfg.Load()}
	c, err := hub.Dial(ctx, t.cfg.Hub)
	if err != nil {
		class := hub.ClassifyDial(err)
		t.bad("connection", err.Error(), dialFix(class))
		return t.found
	}
	defer c.Close()
	t.ok("connection", "%s, nats-server %s, messages up to %d bytes", c.URL(), c.Version(), c.MaxPayload())
	names := event.NewStream(t.cfg.Prefix, t.cfg.Hub.Device, testQueue, 0)
	if t.publishing(ctx, c, names) {
		t.readingBack(ctx, c, names)
	}
	if t.cfg.Heartbeat > 0 {
		t.heartbeats(c)
	}
	t.stream(ctx, c)
	t.downlinks(ctx, c)
	return t.found
}

func dialFix(class hub.Class) string {
	if class == hub.ClassAuth {
		return "check the login and certificate files of [uplink], and the clock; the server's log says who was refused"
	}
	return "check url, the network and the server"
}

// publishing publishes for a stream that cannot be: the server refuses it after it has checked everything else.
func (t *tester) publishing(ctx context.Context, c *hub.Conn, names event.Stream) bool {
	const name = "publish"
	m := &nats.Msg{Subject: names.Subject, Header: nats.Header{}}
	hub.ForStream(m, "querator-no-such-stream")
	err := c.Window(ctx, []*nats.Msg{m}, t.timeout())[0].Err
	var api *hub.APIError
	switch class := hub.Classify(err); {
	case errors.As(err, &api) && api.ErrCode == 10060:
		t.ok(name, "%s may be published", names.Subject)
		return true
	case class == hub.ClassDenied:
		t.bad(name, err.Error(), fmt.Sprintf("allow the device to publish %s.%s.> and to subscribe to _INBOX_%s.>", t.cfg.Prefix, names.Device, names.Device))
	case class == hub.ClassNoStream:
		t.bad(name, err.Error(), fmt.Sprintf("create a stream %s with the subjects %s.>", t.cfg.Stream, t.cfg.Prefix))
	case c.Deaf():
		t.bad(name, err.Error(), fmt.Sprintf("allow the device to subscribe to _INBOX_%s.>", names.Device))
	case err == nil:
		t.bad(name, "the server stored what it should have refused", "use nats-server 2.2 or later")
	default:
		t.bad(name, err.Error(), "see the server's log")
	}
	return false
}

func (t *tester) readingBack(ctx context.Context, c *hub.Conn, names event.Stream) {
	const name = "read back"
	if _, err := c.Last(ctx, t.cfg.Stream, names.Subject, t.timeout()); err != nil {
		t.bad(name, err.Error(), fmt.Sprintf("set allow_direct on the stream, and allow the device to publish "+
			"$JS.API.DIRECT.GET.%s.%s.%s.>", t.cfg.Stream, t.cfg.Prefix, names.Device))
		return
	}
	t.ok(name, "the last event of a subject can be read")
}

func (t *tester) heartbeats(c *hub.Conn) {
	const name = "heartbeat"
	subject := HeartbeatSubject(t.cfg.Prefix, t.cfg.Hub.Device)
	if err := c.MayPublish(subject, t.timeout()); err != nil {
		t.bad(name, err.Error(), "allow the device to publish "+subject)
		return
	}
	t.ok(name, "%s may be published", subject)
}

// stream looks at the settings, if the login may see them.
func (t *tester) stream(ctx context.Context, c *hub.Conn) {
	const name = "stream"
	info, err := c.Info(ctx, t.cfg.Stream, t.timeout())
	if err != nil {
		var api *hub.APIError
		if errors.As(err, &api) {
			t.bad(name, err.Error(), "create the stream "+t.cfg.Stream)
			return
		}
		t.unknown(name, fmt.Sprintf("the settings cannot be seen (%v); to have them checked, allow the device to publish $JS.API.STREAM.INFO.%s", err, t.cfg.Stream))
		return
	}
	c1 := &info.Config
	t.setting("subjects", covers(c1.Subjects, t.cfg.Prefix+"."+t.cfg.Hub.Device+".x.0"), fmt.Sprint(c1.Subjects), "add "+t.cfg.Prefix+".> to its subjects")
	t.setting("retention", c1.Retention == "limits", c1.Retention, "create it anew with retention limits: consumers must not delete events")
	t.setting("discard", c1.Discard == "new", c1.Discard, "set discard to new: with old, a full stream deletes events and tells nobody")
	t.setting("storage", c1.Storage == "file", c1.Storage, "create it anew with file storage")
	t.setting("sealed", !c1.Sealed, fmt.Sprint(c1.Sealed), "a sealed stream takes nothing; create another one")
	t.setting("receipts", !c1.NoReceipts, fmt.Sprint(!c1.NoReceipts), "set no_ack to false")
	t.setting("direct gets", c1.AllowDirect, fmt.Sprint(c1.AllowDirect), "set allow_direct")
	t.setting("atomic batches", c1.AllowAtomic || !mayAtomic(c.Version()), fmt.Sprint(c1.AllowAtomic), "set allow_atomic; without it events go out singly or in small windows, which is slower")
	t.setting("dedupe window", c1.Duplicates >= leastDedupe, c1.Duplicates.String(), "set duplicate_window to 15m")
	t.setting("largest message", c1.MaxMsgSize <= 0 || c1.MaxMsgSize >= leastMessage, fmt.Sprint(c1.MaxMsgSize), "raise max_msg_size to 4096 at least")
	t.setting("messages a subject", c1.MaxPerSubject <= 0, fmt.Sprint(c1.MaxPerSubject), "remove max_msgs_per_subject: older events are deleted")
	if t.cfg.Marker {
		t.setting("cursor marker", c1.AllowRollup && c1.AllowTTL, fmt.Sprint(c1.AllowRollup && c1.AllowTTL), "set allow_rollup_hdrs and allow_msg_ttl")
	}
}

// What a stream should have at least.
const (
	leastDedupe  = 2 * time.Minute
	leastMessage = 4096
)

func (t *tester) setting(name string, ok bool, value, fix string) {
	f := Finding{Name: "stream: " + name, OK: ok, Text: value}
	if !ok {
		f.Fix = fix
	}
	t.found = append(t.found, f)
}

// mayAtomic reports whether servers of a version have atomic batches.
func mayAtomic(version string) bool {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	return major > 2 || major == 2 && minor >= 12
}

// covers reports whether one of the subjects of a stream takes a subject.
func covers(subjects []string, subject string) bool {
	return slices.ContainsFunc(subjects, func(s string) bool { return hub.Covers(s, subject) })
}

// timeout is how long each request of a test may take.
func (t *tester) timeout() time.Duration { return min(10*time.Second, t.cfg.Timing.Lookup) }
