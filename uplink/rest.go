package uplink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// errAgain ends a connection that is to be made anew.
var errAgain = errors.New("connecting anew was asked for")

// rest waits until there may be something to do. It returns an error if the connection ended.
func (p *pump) rest(ctx context.Context, c *hub.Conn, next time.Time) error {
	if p.cfg.Heartbeat > 0 && p.beat.Before(next) {
		next = p.beat
	}
	p.keep(false)
	timer := time.NewTimer(max(time.Until(next), 0))
	defer timer.Stop()
	changed := p.src.Changed()
	for {
		select {
		case <-timer.C:
			return nil
		case <-changed:
			// One look at all partitions for many commits.
			if wait := p.cfg.Linger / lookShare; time.Until(next) > wait {
				timer.Reset(wait)
			}
			changed = nil
		case <-p.u.poke:
			return nil
		case <-c.Closed():
			return fmt.Errorf("%w by the server or the network", hub.ErrClosed)
		case <-ctx.Done():
			return nil
		}
	}
}

// lookShare is how often outboxes are looked at in one linger.
const lookShare = 5

// trouble notes that something is wrong.
func (p *pump) trouble(class, text string, err error) {
	full := text
	if err != nil {
		full = text + ": " + err.Error()
	}
	p.u.change(func(s *Status) { s.Class, s.Error, s.LastError = class, full, full })
	p.report.send(p.now(), Report{Kind: class, Text: "uplink: " + text, Err: err})
}

// well notes that events are stored again.
func (p *pump) well() {
	mode := p.mode()
	changed := false
	p.u.change(func(s *Status) {
		changed = s.Class != "" && s.Class != ClassNoReceipts
		if changed {
			s.Class, s.Error = "", ""
		}
		s.Mode = mode
	})
	if changed {
		p.report.send(p.now(), Report{Kind: StateConnected, Good: true, Text: "uplink: events are stored again"})
	}
}

// mode is how events go out on this connection.
func (p *pump) mode() string {
	switch {
	case !p.mayBatch() && !p.mayWindow():
		return ModeSingle
	case p.mayBatch() && p.atomic:
		return ModeBatch
	case p.mayWindow() && p.alone && p.chain > 1:
		return ModeWindow
	}
	return ModeSingle
}

// alarm reports what somebody has to look into.
func (p *pump) alarm(g *progress, kind, text string, err error) {
	p.u.change(func(s *Status) { s.LastError = text })
	p.report.send(p.now(), Report{
		Kind: kind, Alarm: true, Text: "uplink: " + text, Queue: g.names.Queue, Partition: g.names.Partition, Err: err,
	})
}

// trouble says what a class of errors means, and what to do.
func trouble(class hub.Class) string {
	switch class {
	case hub.ClassTransport:
		return "no connection; events are kept"
	case hub.ClassAuth:
		return "the server and the device do not accept each other; check credentials and certificates"
	case hub.ClassUnknown:
		return "the server does not answer"
	case hub.ClassNoStream:
		return "no stream takes the events; create it, see `querator uplink test`"
	case hub.ClassFull:
		return "the stream or its account is full; events are kept"
	case hub.ClassBusy:
		return "the server is busy"
	case hub.ClassConfig:
		return "the stream does not fit; see `querator uplink test`"
	case hub.ClassDenied:
		return "the login lacks a right; see `querator uplink test`"
	}
	return "events could not be sent, and are sent again"
}
