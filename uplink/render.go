package uplink

import (
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// message is one message with the events that it tells of.
type message struct {
	nats   *nats.Msg
	events []queue.Event
	level  int // how little is said of a single event
	size   int // hub.Size, before what a way to send adds
}

// last is the number of the last event of the message.
func (m *message) last() uint64 { return m.events[len(m.events)-1].Seq }

// How little is said of an event that the server finds too large.
const (
	poisonNone    = iota
	poisonPayload // No payload.
	poisonLabels  // No payload, no labels.
	poisonGap     // A gap in its place.
)

func (p *pump) withPayload() bool { return p.cfg.Payload == event.PayloadFull }

// eventOptions say how much is said of events.
func (p *pump) eventOptions() event.Options {
	return event.Options{Payload: p.cfg.Payload, MaxPayload: p.cfg.MaxPayload}
}

// message renders one event; less and less of it, while it is too large.
func (p *pump) message(g *progress, events []queue.Event) (*message, error) {
	e := &events[0]
	level := poisonNone
	if e.Seq == g.poison {
		level = g.poisonLevel
	}
	for {
		o, ev := p.eventOptions(), e
		switch level {
		case poisonPayload:
			o.MaxPayload = -1
		case poisonLabels:
			o.Payload = event.PayloadNone
		case poisonGap:
			ev = tooLarge(e)
		}
		render := g.names.Binary
		if p.cfg.Format != event.FormatBinary {
			render = g.names.Structured
		}
		m, err := render(ev, o)
		if err != nil {
			return nil, err
		}
		hub.ForStream(m, p.cfg.Stream)
		size := hub.Size(m)
		if level >= poisonGap || p.maxMessage == 0 || size+messageMargin <= p.maxMessage {
			return &message{nats: m, events: events[:1], level: level, size: size}, nil
		}
		if level++; level == poisonPayload && !p.withPayload() {
			level++
		}
	}
}

// messageMargin is what the protocol adds to a message later: a fence, and the numbers of a batch.
const messageMargin = 512

// tooLarge is the gap that takes the place of an event.
func tooLarge(e *queue.Event) *queue.Event {
	if e.Type == queue.EventGap {
		return e
	}
	gap := &queue.Gap{First: e.Seq, Last: e.Seq, Bytes: e.PayloadSize, Reason: GapTooLarge}
	switch e.Type {
	case queue.EventCompleted:
		gap.Completed = 1
	case queue.EventDead:
		gap.Dead = 1
	case queue.EventExpired:
		gap.Expired = 1
	case queue.EventDropped:
		gap.Dropped = 1
	}
	return &queue.Event{Epoch: e.Epoch, Seq: e.Seq, Type: queue.EventGap, At: e.At, Boot: e.Boot, Gap: gap}
}

// messages renders events in order until one more would be more than maxBytes.
func (p *pump) messages(g *progress, events []queue.Event, maxBytes int) ([]*message, error) {
	all := make([]*message, 0, len(events))
	bytes := 0
	for i := range events {
		m, err := p.message(g, events[i:i+1])
		if err != nil {
			return nil, err
		}
		bytes += m.size
		if i > 0 && bytes > maxBytes {
			break
		}
		all = append(all, m)
	}
	p.rendered = p.now()
	return all, nil
}

// pack renders events of one epoch as one message, as many as the server takes.
func (p *pump) pack(g *progress, events []queue.Event) (*message, error) {
	n := 1
	for n < len(events) && events[n].Epoch == events[0].Epoch {
		n++
	}
	for {
		if n == 1 {
			m, err := p.message(g, events[:1])
			if err != nil || m.level > poisonNone {
				return m, err
			}
		}
		m, err := p.packer.Pack(g.names, events[:n], p.eventOptions())
		if err != nil {
			return nil, err
		}
		hub.ForStream(m, p.cfg.Stream)
		size := hub.Size(m)
		if n == 1 || p.maxMessage == 0 || size+messageMargin <= p.maxMessage {
			p.rendered = p.now()
			return &message{nats: m, events: events[:n], size: size}, nil
		}
		n = (n + 1) / 2
	}
}
