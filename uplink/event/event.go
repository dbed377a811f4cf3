package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
)

// Formats of an event on the wire.
const (
	FormatBinary     = "binary"     // CloudEvents, attributes in headers.
	FormatStructured = "structured" // CloudEvents, the whole as JSON.
	FormatPacked     = "packed"     // Many CloudEvents as one compressed JSON array.
)

// What an event tells of its item.
const (
	PayloadNone = "none" // Id, attempts, times and size.
	PayloadMeta = "meta" // Also source id, kind, encoding and reference.
	PayloadFull = "full" // Also the payload.
)

// Options say how events are rendered.
type Options struct {
	// Payload is PayloadNone, PayloadMeta or PayloadFull.
	Payload string
	// MaxPayload is the largest payload that goes along, in bytes; a larger one is left out and described.
	MaxPayload int
}

// attributes are those of a CloudEvent, in the order in which they are written; names have the prefix of headers.
type attributes []struct{ name, value string }

func (a *attributes) add(name, value string) {
	*a = append(*a, struct{ name, value string }{name, value})
}

// headerPrefix begins the names of attributes in headers.
const headerPrefix = "ce-"

// maxAttributes is the most that an event has.
const maxAttributes = 14

// contentJSON is the type of the data of every event.
const contentJSON = "application/json"

// TypeGap is the CloudEvents type of a gap.
const TypeGap = "io.querator.gap.v1"

// typeOf names the kind of an event.
func typeOf(t queue.EventType) string {
	switch t {
	case queue.EventGap:
		return TypeGap
	case queue.EventCompleted:
		return "io.querator.item.completed.v1"
	}
	return "io.querator.item." + t.String() + ".v1"
}

// render returns the attributes and the data of an event.
func (s Stream) render(e *queue.Event, o Options) (attributes, []byte, error) {
	if e.Type == queue.EventGap && e.Gap == nil {
		return nil, nil, fmt.Errorf("event %d of queue %q partition %d is a gap without a range", e.Seq, s.Queue, s.Partition)
	}
	// What is new in each event is one text, which the attributes are parts of.
	buf := s.appendID(make([]byte, 0, 256), e.Epoch, e.Seq)
	id := len(buf)
	buf = appendSequence(buf, e.Seq)
	sequence := len(buf)
	if !e.At.Untrusted {
		buf = time.Unix(0, e.At.Wall).UTC().AppendFormat(buf, time.RFC3339Nano)
	}
	text := string(buf)

	a := make(attributes, 0, maxAttributes)
	a.add("ce-specversion", "1.0")
	a.add("ce-id", text[:id])
	a.add("ce-source", s.source)
	a.add("ce-type", typeOf(e.Type))
	a.add("ce-subject", s.place)
	a.add("ce-datacontenttype", contentJSON)
	a.add("ce-sequence", text[id:sequence])
	if e.At.Untrusted {
		a.add("ce-clocktrust", "untrusted")
		a.add("ce-bootid", e.Boot)
		a.add("ce-uptimems", strconv.FormatInt(e.At.Mono/int64(time.Millisecond), 10))
	} else {
		a.add("ce-time", text[sequence:])
	}
	payload, goes := o.payload(&a, e)
	body, err := s.appendData(make([]byte, 0, s.room+len(payload)+len(payload)/8), e, o, payload, goes)
	return a, body, err
}

// appendSequence appends a number with 20 digits.
func appendSequence(b []byte, seq uint64) []byte {
	var digits [20]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(seq%10)
		seq /= 10
	}
	return append(b, digits[:]...)
}

// payload returns the payload, and whether it goes along. One that was asked for and does not is described.
func (o *Options) payload(a *attributes, e *queue.Event) (p []byte, goes bool) {
	if e.Type == queue.EventGap || e.ItemLost || o.Payload != PayloadFull {
		return nil, false
	}
	p = e.Item.Payload
	if e.PayloadSize <= int64(len(p)) && len(p) <= o.MaxPayload {
		return p, true
	}
	a.add("ce-payloadomitted", "true")
	a.add("ce-payloadsize", strconv.FormatInt(e.PayloadSize, 10))
	if e.PayloadSize == int64(len(p)) {
		sum := sha256.Sum256(p)
		a.add("ce-payloadsha256", hex.EncodeToString(sum[:]))
	}
	return nil, false
}

// Binary renders an event with its attributes in headers. The names are in lower case, since receivers compare
// them byte by byte.
func (s Stream) Binary(e *queue.Event, o Options) (*nats.Msg, error) {
	a, body, err := s.render(e, o)
	if err != nil {
		return nil, err
	}
	// Room for what package hub adds: stream, fence and three for a batch.
	m := &nats.Msg{Subject: s.Subject, Data: body, Header: make(nats.Header, len(a)+6)}
	values := make([]string, len(a))
	for i := range a {
		values[i] = a[i].value
		m.Header[a[i].name] = values[i : i+1 : i+1]
	}
	m.Header[nats.MsgIdHdr] = m.Header["ce-id"]
	return m, nil
}

// Structured renders an event as one JSON object.
func (s Stream) Structured(e *queue.Event, o Options) (*nats.Msg, error) {
	body, err := s.object(e, o)
	if err != nil {
		return nil, err
	}
	m := s.message(e, body)
	m.Header["Content-Type"] = []string{"application/cloudevents+json"}
	return m, nil
}

// object is an event in the JSON format of CloudEvents.
func (s Stream) object(e *queue.Event, o Options) ([]byte, error) {
	a, body, err := s.render(e, o)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(body)+400)
	out = append(out, '{')
	for _, kv := range a {
		value, err := json.Marshal(kv.value)
		if err != nil {
			return nil, err
		}
		out = append(out, '"')
		out = append(out, kv.name[len(headerPrefix):]...)
		out = append(out, `":`...)
		out = append(out, value...)
		out = append(out, ',')
	}
	out = append(out, `"data":`...)
	out = append(out, body...)
	return append(out, '}'), nil
}

// message is what every format shares: the subject, and the identity by which the server knows repeats.
func (s Stream) message(e *queue.Event, body []byte) *nats.Msg {
	return &nats.Msg{Subject: s.Subject, Data: body, Header: nats.Header{nats.MsgIdHdr: {s.ID(e.Epoch, e.Seq)}}}
}
