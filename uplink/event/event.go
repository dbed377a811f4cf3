package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

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

// attributes are those of a CloudEvent, in the order in which they are written.
type attributes []struct{ name, value string }

func (a *attributes) add(name, value string) {
	*a = append(*a, struct{ name, value string }{name, value})
}

// contentJSON is the type of the data of every event.
const contentJSON = "application/json"

// data is the body of an event.
type data struct {
	ID          string   `json:"id,omitempty"`
	Queue       string   `json:"queue"`
	Partition   int      `json:"partition"`
	SourceID    string   `json:"source_id,omitempty"`
	Kind        string   `json:"kind,omitempty"`
	Encoding    string   `json:"encoding,omitempty"`
	Reference   string   `json:"reference,omitempty"`
	Attempts    int32    `json:"attempts,omitempty"`
	CreatedAt   string   `json:"created_at,omitempty"`
	PayloadSize *int64   `json:"payload_size,omitempty"`
	UTF8        *string  `json:"utf8,omitempty"`
	Bytes       []byte   `json:"bytes,omitempty"`
	ItemLost    bool     `json:"item_lost,omitempty"`
	Gap         *gapData `json:"gap,omitempty"`
}

// gapData tells which events are gone.
type gapData struct {
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
	Completed uint64 `json:"completed"`
	Dead      uint64 `json:"dead"`
	Expired   uint64 `json:"expired"`
	Dropped   uint64 `json:"dropped"`
	Bytes     int64  `json:"bytes"`
	Reason    string `json:"reason"`
}

func gapOf(g *queue.Gap) *gapData {
	return &gapData{
		First: g.First, Last: g.Last, Completed: g.Completed, Dead: g.Dead, Expired: g.Expired, Dropped: g.Dropped,
		Bytes: g.Bytes, Reason: g.Reason,
	}
}

// TypeGap is the CloudEvents type of a gap.
const TypeGap = "io.querator.gap.v1"

// typeOf names the kind of an event.
func typeOf(t queue.EventType) string {
	if t == queue.EventGap {
		return TypeGap
	}
	return "io.querator.item." + t.String() + ".v1"
}

// render returns the attributes and the data of an event.
func (s Stream) render(e *queue.Event, o Options) (attributes, []byte, error) {
	a := make(attributes, 0, 14)
	a.add("specversion", "1.0")
	a.add("id", s.ID(e.Epoch, e.Seq))
	a.add("source", "urn:querator:"+s.Device)
	a.add("type", typeOf(e.Type))
	a.add("subject", s.token+"/"+strconv.Itoa(s.Partition))
	a.add("datacontenttype", contentJSON)
	a.add("sequence", fmt.Sprintf("%020d", e.Seq))
	if e.At.Untrusted {
		a.add("clocktrust", "untrusted")
		a.add("bootid", e.Boot)
		a.add("uptimems", strconv.FormatInt(e.At.Mono/int64(time.Millisecond), 10))
	} else {
		a.add("time", time.Unix(0, e.At.Wall).UTC().Format(time.RFC3339Nano))
	}
	d := data{Queue: s.Queue, Partition: s.Partition}
	if e.Type == queue.EventGap {
		if e.Gap == nil {
			return nil, nil, fmt.Errorf("event %d of queue %q partition %d is a gap without a range", e.Seq, s.Queue, s.Partition)
		}
		d.Gap = gapOf(e.Gap)
	} else {
		s.describe(&a, &d, e, o)
	}
	body, err := json.Marshal(&d)
	return a, body, err
}

// describe tells of the item, as much as the options ask for.
func (s Stream) describe(a *attributes, d *data, e *queue.Event, o Options) {
	it := &e.Item
	d.ID, d.Attempts, d.ItemLost = it.ID.String(), it.Attempts, e.ItemLost
	if e.ItemLost {
		return
	}
	d.PayloadSize = &e.PayloadSize
	if !it.CreatedAt.IsZero() && !e.At.Untrusted {
		d.CreatedAt = it.CreatedAt.UTC().Format(time.RFC3339Nano)
	}
	if o.Payload == PayloadNone {
		return
	}
	d.SourceID, d.Kind, d.Encoding, d.Reference = it.SourceID, it.Kind, it.Encoding, it.Reference
	if o.Payload != PayloadFull {
		return
	}
	if e.PayloadSize > int64(len(it.Payload)) || len(it.Payload) > o.MaxPayload {
		a.add("payloadomitted", "true")
		a.add("payloadsize", strconv.FormatInt(e.PayloadSize, 10))
		if e.PayloadSize == int64(len(it.Payload)) {
			sum := sha256.Sum256(it.Payload)
			a.add("payloadsha256", hex.EncodeToString(sum[:]))
		}
		return
	}
	if utf8.Valid(it.Payload) {
		text := string(it.Payload)
		d.UTF8 = &text
		return
	}
	d.Bytes = it.Payload
}

// Binary renders an event with its attributes in headers. The names are in lower case, since receivers compare
// them byte by byte.
func (s Stream) Binary(e *queue.Event, o Options) (*nats.Msg, error) {
	a, body, err := s.render(e, o)
	if err != nil {
		return nil, err
	}
	m := s.message(e, body)
	for _, kv := range a {
		m.Header["ce-"+kv.name] = []string{kv.value}
	}
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
		out = append(out, kv.name...)
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
