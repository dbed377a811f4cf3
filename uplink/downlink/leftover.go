package downlink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// leftover is a consumer that is not used any more, and may still be on the server.
type leftover struct {
	consumer hub.Consumer
	made     bool      // the server has said that it made it; else it may come yet
	until    time.Time // by then the server has found it idle
	after    time.Time // it is not looked for before

	tried uint64    // the connection over which it was looked for last, as numbered by Use
	next  time.Time // it is not looked for before over that
	hold  holder    // between tries over that
}

// leftovers are removed one after the other, each until the server has said that it is gone. It is safe for use by any
// goroutine; the leftovers themselves belong to the goroutine of Run.
type leftovers struct {
	mu   sync.Mutex
	list []*leftover
}

// Bounds of what is left.
const (
	// maxLeft bounds the leftovers; beyond it the oldest is left to the server.
	maxLeft = 256
	// removeTimeout is the longest that the feeds wait for the removal of a leftover, if Timing.Request is not shorter.
	removeTimeout = 10 * time.Second
	// late is how long bytes of a connection that has ended may take to reach the server.
	late = 10 * time.Minute
)

// add notes a consumer. made says that the server has said that it is there.
func (l *leftovers) add(c hub.Consumer, made bool) {
	o := &leftover{consumer: c, made: made, until: time.Now().Add(c.Idle + late)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, o)
	l.list = slices.Delete(l.list, 0, max(0, len(l.list)-maxLeft))
}

func (l *leftovers) drop(o *leftover) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(x *leftover) bool { return x == o })
}

func (l *leftovers) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list) == 0
}

// due returns what is to be removed now, nil for nothing, and else when to look again. It forgets what the server has
// removed by itself.
func (l *leftovers) due(use uint64, now time.Time) (o *leftover, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(x *leftover) bool { return now.After(x.until) })
	at = now.Add(idleLook)
	for _, o := range l.list {
		when := o.after
		if o.tried == use && o.next.After(when) {
			when = o.next
		}
		if !now.Before(when) {
			return o, at
		}
		if when.Before(at) {
			at = when
		}
	}
	return nil, at
}

// tidy removes one leftover. It returns whether it did something, and else when there will be something to do.
func (d *Downlink) tidy(ctx context.Context) (did bool, at time.Time) {
	now := time.Now()
	d.mu.Lock()
	r, use := d.reader, d.uses
	d.mu.Unlock()
	o, at := d.left.due(use, now)
	if o == nil || r == nil {
		return false, at
	}
	if wait := d.o.Wait(); wait > 0 {
		return false, now.Add(wait)
	}
	if o.tried != use {
		o.tried, o.hold = use, holder{least: d.o.Timing.HoldMin, most: d.o.Timing.HoldMax}
	}
	d.remove(ctx, r, o)
	return true, at
}

// leave removes the consumers that there are, when everything ends, as far as that goes in Timing.Leave.
func (d *Downlink) leave(ctx context.Context) {
	for _, f := range d.feeds {
		f.drop()
	}
	ctx, cancel := context.WithTimeout(ctx, d.o.Timing.Leave)
	defer cancel()
	for ctx.Err() == nil {
		if did, _ := d.tidy(ctx); !did {
			return
		}
	}
}

// remove asks the server to remove a leftover, and notes what it says.
func (d *Downlink) remove(ctx context.Context, r *hub.Reader, o *leftover) {
	found, err := r.Remove(ctx, o.consumer, min(d.o.Timing.Request, removeTimeout))
	now := time.Now()
	switch class := hub.Classify(err); {
	case err == nil && (found || o.made):
		d.left.drop(o)
	case err == nil: // That it be made may be on its way still.
		o.made, o.after = true, now.Add(late)
	case class == hub.ClassTransport, class == hub.ClassUnknown, class == hub.ClassNoStream, class == hub.ClassBusy:
		o.next = now.Add(o.hold.next())
	default:
		o.next = o.until // Or over the next connection.
		d.o.Report(Report{
			Kind: AlarmLeft, Alarm: true, Err: err,
			Text: fmt.Sprintf("downlink: consumer %s of stream %s is not needed any more and cannot be removed; the server does it "+
				"when it has been idle for %s; see `querator uplink test`", o.consumer.Name, o.consumer.Stream, o.consumer.Idle),
		})
	}
}
