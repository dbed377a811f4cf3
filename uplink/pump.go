package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// pump moves events from the outboxes to the server. It belongs to the goroutine of Run.
type pump struct {
	u      *Uplink
	cfg    *Config
	src    Source
	report *reporter
	redial *backoff // between connects
	refuse *backoff // between tries after an error of the server
	size   *sizer
	packer event.Packer

	parts map[partKey]*progress
	order []*progress // in the order of the source
	turn  int         // the partition whose turn is next

	// Of the present connection:
	probed, atomic bool // batches were tried, and work
	deaf           bool // receipts do not reach us
	maxMessage     int
	hold           time.Time // nothing is sent before, whatever the partition
	room           time.Time // nothing is sent before, since the device has better things to do
	came           uint64    // events that have come since some were sent
	rendered       time.Time // when those that were sent last had been rendered
	unknown        int       // errors without an answer in a row

	alone bool // the stream is known to have one replica, so that windows can be used
	chain int  // the most events of a window, up to Config.Window; fewer while others publish much
	calm  int  // events that went out well since chain was set

	shaken bool      // something went wrong since an event was stored
	shook  time.Time // when an event was first stored after that: by another leader, perhaps, that lost others

	silent   int       // receipts that did not come for what arrived, in a row
	created  time.Time // when the stream was made, as far as the server says
	learnt   bool      // the settings of the stream are none of this login's business
	beat     time.Time // when the next heartbeat is due
	lastKick time.Time
	saved    time.Time
}

func newPump(u *Uplink) *pump {
	cfg := u.cfg.Load()
	t := &cfg.Timing
	p := &pump{
		u: u, src: u.src, report: newReporter(u.events.Report, t.Log),
		redial: newBackoff(t.BackoffMin, t.BackoffMax), refuse: newBackoff(t.HoldMin, t.HoldMax),
		parts: map[partKey]*progress{},
	}
	p.adopt(cfg)
	return p
}

// adopt takes settings over, between connections.
func (p *pump) adopt(cfg *Config) {
	if p.cfg == cfg {
		return
	}
	p.cfg, p.size, p.chain, p.calm = cfg, newSizer(cfg.BatchEvents, cfg.BatchBytes), cfg.Window, 0
	p.learnt = false // The login may be another one.
	p.redial.reset()
}

func (p *pump) now() time.Time { return time.Now() }

// begin forgets what was true of the connection before.
func (p *pump) begin(c *hub.Conn) {
	p.probed, p.atomic, p.alone, p.unknown, p.shaken = false, false, false, 0, false
	p.hold, p.room, p.maxMessage = time.Time{}, time.Time{}, c.MaxPayload()
	for _, g := range p.parts {
		g.failed()
		g.hold = time.Time{}
	}
	p.refresh()
	if p.backlog() > spreadBacklog && !p.u.flushing() {
		p.hold = p.now().Add(time.Duration(rand.Int64N(int64(p.cfg.Timing.Spread))))
	}
	if p.cfg.Heartbeat > 0 {
		p.beat = p.now()
	}
}

// learn asks for the settings of the stream. A device need not have the right, and what it then does not
// know only makes it more careful.
func (p *pump) learn(ctx context.Context, c *hub.Conn) {
	if p.cfg.Frugal || p.learnt {
		return
	}
	info, err := c.Info(ctx, p.cfg.Stream, p.infoTimeout())
	if err != nil {
		p.learnt = hub.Classify(err) == hub.ClassDenied // Not asked again.
		return
	}
	p.created, p.alone = info.Created, info.Config.Replicas == 1
	if info.Config.MaxMsgSize > 0 {
		p.maxMessage = min(p.maxMessage, info.Config.MaxMsgSize)
	}
}

// spreadBacklog is how many events a device has to hold to wait a random time after a connect: after an outage
// of the server all devices come at once.
const spreadBacklog = 10_000

// refresh takes over the partitions that there are now.
func (p *pump) refresh() {
	boxes := p.src.Outboxes()
	p.order = p.order[:0]
	seen := make(map[partKey]bool, len(boxes))
	for _, box := range boxes {
		key := partKey{box.Queue(), box.Partition()}
		seen[key] = true
		g := p.parts[key]
		if g == nil {
			g = &progress{key: key, names: event.NewStream(p.cfg.Prefix, p.cfg.Hub.Device, key.queue, key.partition)}
			p.parts[key] = g
		}
		g.box = box
		p.order = append(p.order, g)
	}
	for key := range p.parts {
		if !seen[key] {
			delete(p.parts, key)
		}
	}
}

// backlog counts the events that wait.
func (p *pump) backlog() uint64 {
	var n uint64
	for _, g := range p.order {
		if st, err := g.box.State(context.Background()); err == nil {
			n += st.Pending
		}
	}
	return n
}

// serve sends until the connection ends, ctx ends or the uplink is to disconnect. The error is nil unless the
// connection is of no use any more.
func (p *pump) serve(ctx context.Context, c *hub.Conn) error {
	inner, cancel := lingering(ctx, p.cfg.Timing.Drain)
	defer cancel()
	p.begin(c)
	p.learn(inner, c)
	for ctx.Err() == nil {
		if p.u.mustDisconnect(p.now()) {
			return nil
		}
		if err := p.kicked(c); err != nil {
			return err
		}
		p.heartbeat(ctx, c)
		p.refresh()
		busy, next, err := p.round(ctx, inner, c)
		if err != nil {
			return err
		}
		if !busy {
			if err := p.rest(ctx, c, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// lingering returns a context that ends a while after ctx does, so that receipts of what is under way can come.
func lingering(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return inner, func() { stop(); cancel() }
}

// round gives every partition one turn. It returns whether anything was done, and else when to look again.
func (p *pump) round(ctx, inner context.Context, c *hub.Conn) (busy bool, next time.Time, err error) {
	next = p.now().Add(idleLook)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for range p.order {
		if ctx.Err() != nil {
			return false, next, nil
		}
		if p.turn++; p.turn >= len(p.order) {
			p.turn = 0
		}
		if wait := p.u.meter.rateWait(p.now()); wait > 0 {
			sooner(p.now().Add(wait))
			return false, next, nil
		}
		if until := p.waitFor(); p.now().Before(until) {
			sooner(until)
			return false, next, nil
		}
		g := p.order[p.turn]
		if p.now().Before(g.hold) {
			sooner(g.hold)
			continue
		}
		did, at, err := p.step(inner, c, g)
		p.deaf = c.Deaf()
		if err != nil {
			if err := p.handle(g, err); err != nil {
				return false, next, err
			}
			busy = true
			continue
		}
		busy = busy || did
		if !at.IsZero() {
			sooner(at)
		}
	}
	return busy, next, nil
}

// idleLook is how often everything is looked at when nothing happens.
const idleLook = time.Minute

// step does one thing for a partition: it reads back, or sends what is due. at is when something will be due.
func (p *pump) step(ctx context.Context, c *hub.Conn, g *progress) (did bool, at time.Time, err error) {
	st, err := g.box.State(ctx)
	if err != nil {
		return false, at, &sourceError{err}
	}
	if g.epoch != st.Epoch {
		g.renew(st.Epoch)
	}
	if st.Head > g.head {
		p.came += st.Head - g.head
	}
	g.head = st.Head
	if !g.ready {
		if !g.wants(&st) {
			return false, at, nil
		}
		return true, at, p.readBack(ctx, c, g, &st)
	}
	if g.missing != nil {
		return true, at, p.send(ctx, c, g, []queue.Event{*g.missing})
	}
	if st.Head <= g.tail {
		if g.owed != "" {
			return true, at, p.mark(ctx, c, g, g.owed)
		}
		return p.idle(ctx, c, g, &st)
	}
	if g.since.IsZero() {
		g.since = p.now()
	}
	if due := g.since.Add(p.cfg.Linger); !g.behind() && st.Head-g.tail < uint64(p.cfg.BatchEvents) &&
		p.now().Before(due) && !p.u.flushing() {
		return false, due, nil
	}
	begin := p.now()
	events, err := g.box.Read(ctx, g.tail, p.size.events, int64(p.size.bytes), p.withPayload())
	if err != nil {
		return false, at, &sourceError{err}
	}
	if len(events) == 0 {
		return false, at, nil
	}
	events = p.whole(g, &st, events)
	err = p.send(ctx, c, g, events)
	p.makeRoom(&st, len(events), begin)
	return true, at, err
}

// What makes room for completes.
const (
	// roomShare is how many times as long as it has worked the pump waits while items are being completed.
	roomShare = 40
	// roomMost is the longest that it waits for that, after one batch.
	roomMost = time.Second
	// roomAge is the age of the oldest event from which on it does not.
	roomAge = time.Minute
)

// makeRoom has the pump wait before it sends more if about as many events come as it sends: then the device is at
// work, and completing an item must not take longer since the one before is being told of. It does not wait when
// events have waited for long, or when they take much of their room; nor when somebody waits for them.
//
// What it does for a batch is reading, rendering and handing over. The last takes about as long as the others, but where
// the network is slow, and then it is no work.
func (p *pump) makeRoom(st *queue.OutboxState, events int, begin time.Time) {
	came := p.came
	p.came = 0
	if 4*came < uint64(events) || st.Pressing || st.Full || st.OldestAge > roomAge || p.u.flushing() {
		return
	}
	if work := 2 * p.rendered.Sub(begin); work > 0 {
		p.room = begin.Add(work + min(roomShare*work, roomMost))
	}
}

// waitFor is until when nothing is sent.
func (p *pump) waitFor() time.Time {
	if p.room.After(p.hold) && !p.u.flushing() {
		return p.room
	}
	return p.hold
}

// idle looks whether the server still has what it acknowledged, and does so again while the outbox keeps the events
// and can send them again: after the server was in trouble, a while after the last event was sent, since a server
// acknowledges before its disk has it, and a last time before the outbox lets go of them.
func (p *pump) idle(ctx context.Context, c *hub.Conn, g *progress, st *queue.OutboxState) (did bool, at time.Time, err error) {
	due := !g.verify.IsZero() && !p.now().Before(g.verify)
	kept := st.Retained <= st.Delivered
	if !due && !(kept && g.looked.Before(p.shook)) {
		return false, g.verify, nil
	}
	if due {
		g.verify = time.Time{}
		if last := g.sent.Add(p.cfg.Timing.VerifyLast); kept && !p.cfg.Frugal && p.now().Before(last) {
			g.verify = last
		}
	}
	return true, at, p.readBack(ctx, c, g, st)
}

// whole makes sure that nothing is left out in silence: where the outbox skips events without a gap, one is made.
func (p *pump) whole(g *progress, st *queue.OutboxState, events []queue.Event) []queue.Event {
	first := &events[0]
	if first.Type == queue.EventGap && first.Gap.First <= g.tail {
		gap := *first.Gap // A part of it turned out to be delivered.
		gap.First = g.tail + 1
		first.Gap = &gap
	}
	begin := first.Seq
	if first.Type == queue.EventGap {
		begin = first.Gap.First
	}
	if begin > g.tail+1 {
		return []queue.Event{*lostEvent(st, g.tail+1, begin-1)}
	}
	return events
}

// handle decides what an error of a partition means. It returns an error if the connection is to be given up.
func (p *pump) handle(g *progress, err error) error {
	var source *sourceError
	switch {
	case errors.As(err, &source):
		p.trouble(string(classSource), "the outbox cannot be read", err)
		g.hold = p.now().Add(p.cfg.Timing.HoldMin)
		g.failed()
		return nil
	case errors.Is(err, errIdentity):
		p.u.stop(err)
		p.alarm(g, AlarmIdentity, "two devices use one name; the uplink has stopped, and events are kept", err)
		return err
	case errors.Is(err, context.Canceled):
		return nil
	}
	g.failed()
	g.since = time.Time{}
	p.shaken = true
	class := hub.Classify(err)
	hold := p.holdFor(g, class)
	if hold > 0 && class != hub.ClassFence && class != hub.ClassDuplicate {
		p.trouble(string(class), trouble(class), err)
	}
	switch class {
	case hub.ClassTransport, hub.ClassAuth:
		p.size.lost()
		return err
	case hub.ClassUnknown:
		if !p.deaf {
			p.size.lost()
		}
		if p.unknown++; p.unknown >= 3 {
			return err
		}
	case hub.ClassBroken:
		p.size.lost()
	case hub.ClassFence, hub.ClassDuplicate, hub.ClassTooLarge:
		g.hold = p.now().Add(hold)
		return nil
	}
	p.hold = p.now().Add(hold)
	return nil
}

// classSource is the class of errors of the outbox.
const classSource hub.Class = "outbox"

// holdFor says how long to wait after an error, and notes what it teaches.
func (p *pump) holdFor(g *progress, class hub.Class) time.Duration {
	t := &p.cfg.Timing
	switch class {
	case hub.ClassFence:
		p.u.change(func(s *Status) { s.Conflicts++ })
		if g.conflicts++; g.conflicts <= 1 {
			return 0
		}
		if g.conflicts > 3 {
			p.alarm(g, AlarmConflict, "the server refuses the fence again and again: somebody else publishes on the subject, or a replica lags", nil)
		}
		return min(t.FenceMin<<min(g.conflicts-2, 10), t.FenceMax)
	case hub.ClassDuplicate:
		g.singly = max(g.singly, g.tail+uint64(p.cfg.BatchEvents))
		return 0
	case hub.ClassTooLarge:
		if g.poison == g.tail+1 && g.poisonLevel == poisonGap {
			p.trouble(string(hub.ClassConfig), "the stream does not even take a gap event; raise its max-msg-size to 4 KiB", nil)
			return t.HoldMax
		}
		g.tooLarge()
		return 0
	case hub.ClassNoBatch:
		p.probed, p.atomic = true, false
		return 0
	case hub.ClassUnknown, hub.ClassBroken, hub.ClassTransport, hub.ClassAuth:
		return 0
	case hub.ClassDenied, hub.ClassConfig:
		return t.HoldMax
	}
	if class == hub.ClassBusy {
		return min(t.HoldMin+p.refuse.next(), t.HoldMax/10)
	}
	return min(t.HoldMin+p.refuse.next(), t.HoldMax)
}

// tooLarge has less said of the event that is next, if it was alone; else it is sent alone first.
func (g *progress) tooLarge() {
	if next := g.tail + 1; g.singly < next {
		g.singly = next
		return
	} else if g.poison != next {
		g.poison, g.poisonLevel = next, poisonPayload
		return
	}
	g.poisonLevel = min(g.poisonLevel+1, poisonGap)
}
