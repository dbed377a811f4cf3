package uplink

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// send publishes the next events of a partition, in the way that the server has proven to know, and moves the
// tail. The error is that of the first event that was not stored, as far as is known.
func (p *pump) send(ctx context.Context, c *hub.Conn, g *progress, events []queue.Event) error {
	p.noteEpochs(ctx, g, events)
	if p.cfg.Format == event.FormatPacked {
		m, err := p.pack(g, events)
		if err != nil {
			return err
		}
		return p.sendWindow(ctx, c, g, []*message{m})
	}
	switch {
	case events[0].Seq <= g.singly || c.Deaf(): // Without receipts nothing can be proven.
		events = events[:1]
	case p.mayBatch() && !p.probed:
		return p.probe(ctx, c, g, events[:1])
	case p.mayBatch() && p.atomic:
		all, err := p.messages(g, events, p.size.bytes)
		if err != nil {
			return err
		}
		if len(all) == 1 && !p.cfg.Marker {
			return p.sendWindow(ctx, c, g, all)
		}
		return p.sendBatch(ctx, c, g, all)
	case p.mayWindow() && p.alone:
		events = events[:min(len(events), p.chain)]
	default:
		events = events[:1]
	}
	all, err := p.messages(g, events, p.size.bytes)
	if err != nil {
		return err
	}
	return p.sendWindow(ctx, c, g, all)
}

// noteEpochs has the epochs of events on flash before the events are on the way, and those of the other partitions that
// have events, so that it is one write for all of them. That it cannot be written keeps no event back.
func (p *pump) noteEpochs(ctx context.Context, g *progress, events []queue.Event) {
	known := true
	for i := range events {
		if i == 0 || events[i].Epoch != events[i-1].Epoch {
			known = known && p.u.epochs.has(g.key, events[i].Epoch)
		}
	}
	if known {
		return
	}
	for _, o := range p.order {
		if st, err := o.box.State(ctx); err == nil && st.Head > max(o.tail, st.Delivered) {
			p.u.epochs.add(o.key, st.Epoch)
		}
	}
	for i := range events {
		p.u.epochs.add(g.key, events[i].Epoch)
	}
	p.saveEpochs()
}

func (p *pump) saveEpochs() {
	if err := p.u.epochs.save(); err != nil {
		p.trouble(string(classSource), "the state of the uplink cannot be written", err)
	}
}

func (p *pump) mayBatch() bool {
	return p.cfg.Format != event.FormatPacked && (p.cfg.Mode == ModeAuto || p.cfg.Mode == ModeBatch)
}

func (p *pump) mayWindow() bool { return p.cfg.Mode == ModeAuto || p.cfg.Mode == ModeWindow }

// probe sends one event as a batch of one. A server that knows no batches stores it all the same, and its
// receipt does not count; one that has them switched off refuses it. No batch of more is ever sent before.
func (p *pump) probe(ctx context.Context, c *hub.Conn, g *progress, events []queue.Event) error {
	all, err := p.messages(g, events, p.size.bytes)
	if err != nil {
		return err
	}
	m := all[0]
	hub.Fence(m.nats, g.fence)
	r := c.Batch(ctx, []*nats.Msg{m.nats}, p.size.timeout(p.cfg.Timing.Reply, m.size))
	if hub.Classify(r.Err) == hub.ClassNoBatch {
		p.probed, p.atomic = true, false
		return nil // The event goes out in the next round.
	}
	if r.Err != nil {
		return r.Err
	}
	p.probed, p.atomic = true, r.Batch != "" && r.Count == 1
	if err := p.stored(ctx, g, all, r.Seq, r.Duplicate); err != nil || !p.cfg.Marker {
		return err
	}
	return p.mark(ctx, c, g, g.lastID(all))
}

// sendBatch sends messages that are stored together or not at all.
func (p *pump) sendBatch(ctx context.Context, c *hub.Conn, g *progress, all []*message) error {
	list := make([]*nats.Msg, 0, len(all)+1)
	bytes := 0
	for _, m := range all {
		list = append(list, m.nats)
		bytes += m.size
	}
	hub.Fence(list[0], g.fence)
	fence := uint64(0)
	if p.cfg.Marker { // The last of the batch, so the one before it is the last event.
		list = append(list, p.marker(g, g.lastID(all)))
		fence--
	}
	begin := p.now()
	r := c.Batch(ctx, list, p.size.timeout(p.cfg.Timing.Reply, bytes))
	if r.Err != nil {
		return r.Err
	}
	p.size.took(bytes, p.now().Sub(begin))
	return p.stored(ctx, g, all, r.Seq+fence, false)
}

// markerSize is about what a marker has of bytes.
const markerSize = 256

// marker is the message that keeps the place of the last event when the event itself is gone.
func (p *pump) marker(g *progress, id string) *nats.Msg {
	m := &nats.Msg{Subject: g.names.MarkerSubject(), Header: nats.Header{}}
	hub.Marker(m, id)
	hub.ForStream(m, p.cfg.Stream)
	return m
}

// lastID returns the identity of the last event of the messages.
func (g *progress) lastID(all []*message) string {
	events := all[len(all)-1].events
	last := &events[len(events)-1]
	return g.names.ID(last.Epoch, last.Seq)
}

// mark publishes the marker that names the last event that the server has, where it was not in a batch with it. If what
// became of it is not known, it is owed.
func (p *pump) mark(ctx context.Context, c *hub.Conn, g *progress, id string) error {
	g.owed = id
	err := p.window(ctx, c, []*message{{nats: p.marker(g, id), size: markerSize}})[0].Err
	switch hub.Classify(err) {
	case hub.ClassTransport, hub.ClassUnknown, hub.ClassBusy:
	default:
		g.owed = ""
	}
	return err
}

// window publishes messages one behind the other.
func (p *pump) window(ctx context.Context, c *hub.Conn, all []*message) []hub.Receipt {
	list := make([]*nats.Msg, len(all))
	bytes := 0
	for i, m := range all {
		list[i] = m.nats
		bytes += m.size
	}
	begin := p.now()
	receipts := c.Window(ctx, list, p.size.timeout(p.cfg.Timing.Reply, bytes))
	if receipts[len(receipts)-1].Err == nil {
		p.size.took(bytes, p.now().Sub(begin))
	}
	return receipts
}

// sendWindow sends messages as a window, and moves the tail over those with receipts. The first is fenced on the last
// one of the subject; each of the others is refused unless the last message of the stream is the one before it. So if
// one is not stored, for whatever reason, none behind it is, and what is last on the subject says all. Where others
// publish into the same stream meanwhile, windows get smaller. With replicas a server remembers the identity of what
// it refused so, for the whole dedupe window, and then takes it from nobody; so there are no windows.
func (p *pump) sendWindow(ctx context.Context, c *hub.Conn, g *progress, all []*message) error {
	hub.Fence(all[0].nats, g.fence)
	for i, m := range all[1:] {
		hub.Behind(m.nats, all[i].nats)
	}
	receipts := p.window(ctx, c, all)
	good := 0
	for good < len(receipts) && receipts[good].Err == nil {
		good++
	}
	if good > 0 {
		last := receipts[good-1]
		if err := p.stored(ctx, g, all[:good], last.Seq, last.Duplicate); err != nil {
			return err
		}
	}
	if good == len(all) {
		if p.calm += good; p.calm >= p.cfg.Window {
			p.chain, p.calm = min(2*p.chain, p.cfg.Window), 0
		}
		if p.cfg.Marker {
			return p.mark(ctx, c, g, g.lastID(all))
		}
		return nil
	}
	if good > 0 && hub.Classify(receipts[good].Err) == hub.ClassFence {
		p.chain, p.calm = max(p.chain/2, 1), 0
		if !receipts[good-1].Duplicate && allRefused(receipts[good:]) {
			return nil // Somebody else published; what is last on the subject is known all the same.
		}
	}
	return receipts[good].Err
}

// allRefused reports whether the server has said of every message that another one is last.
func allRefused(receipts []hub.Receipt) bool {
	return !slices.ContainsFunc(receipts, func(r hub.Receipt) bool {
		return !r.Known || hub.Classify(r.Err) != hub.ClassFence
	})
}

// stored moves the tail over events that the server has; fence is the sequence of the last of them. known says that
// the server had it before: then it need not be the last on the subject, and the fence stays as it is; if that
// is wrong, the next event is refused.
func (p *pump) stored(ctx context.Context, g *progress, all []*message, fence uint64, known bool) error {
	last := all[len(all)-1].last()
	events := 0
	for _, m := range all {
		events += len(m.events)
	}
	p.published(g, all, events, known)
	g.delivered(last)
	if !known {
		g.fence, g.singly = fence, 0
	}
	g.owed = "" // Of earlier events.
	g.sent = p.now()
	g.looked, g.verify = g.sent, g.sent.Add(p.cfg.Timing.Verify)
	if g.missing != nil && last >= g.missing.Seq {
		g.missing = nil
	}
	if g.resent > 0 && !g.told && !known {
		g.told = true
		p.alarm(g, AlarmRegressed, fmt.Sprintf("the server lost events that it had acknowledged; they are sent again up to %d", g.resent), nil)
	}
	again := g.resent // The outbox counts no gap up to there any more.
	if g.behind() {
		p.countGaps(all, again)
		return nil
	}
	g.resent = 0
	err := p.save(ctx, g, last, fence)
	p.countGaps(all, again) // After the outbox has: Status adds both.
	return err
}

// countGaps counts gap events that the server has stored, and what was lost in them; those up to event number again
// were stored before.
func (p *pump) countGaps(all []*message, again uint64) {
	for _, m := range all {
		for i := range m.events {
			e := &m.events[i]
			switch {
			case e.Type == queue.EventGap && (e.Seq > again || e.Gap.Reason == GapServerLost):
				p.u.change(func(s *Status) { s.Gaps++; s.Lost += e.Gap.Events() })
			case e.Type != queue.EventGap && m.level == poisonGap:
				p.u.change(func(s *Status) { s.Gaps++; s.Lost++ })
			}
		}
	}
}

// published counts, and reports what had to be left out.
func (p *pump) published(g *progress, all []*message, events int, known bool) {
	p.u.change(func(s *Status) { s.Delivered += uint64(events) })
	p.unknown, p.silent = 0, 0
	if p.shaken {
		p.shaken, p.shook = false, p.now()
	}
	p.refuse.reset()
	p.well()
	for _, m := range all {
		for i := range m.events {
			e := &m.events[i]
			if e.Seq <= g.resent && !known {
				p.u.change(func(s *Status) { s.Resent++ })
			}
			switch {
			case e.Type == queue.EventGap:
				p.alarm(g, AlarmGap, fmt.Sprintf("events %d to %d are gone (%s); a gap event says so",
					e.Gap.First, e.Gap.Last, e.Gap.Reason), nil)
			case m.level == poisonGap:
				p.alarm(g, AlarmGap, fmt.Sprintf("event %d is too large for the server even without its payload; a gap event takes its place", e.Seq), nil)
			case m.level > poisonNone:
				p.u.change(func(s *Status) { s.Shortened++ })
			}
		}
	}
}
