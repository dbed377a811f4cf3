package event

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/kapetan-io/querator-edge/queue"
)

// appendData appends the data of an event: a JSON object, without what is empty. It is written by hand since a device
// renders one for each item, beside its real work.
func (s *Stream) appendData(b []byte, e *queue.Event, o Options, payload []byte, goes bool) ([]byte, error) {
	it := &e.Item
	d := dataWriter{b: append(b, '{')}
	if e.Type != queue.EventGap {
		d.name("id")
		d.b = append(d.b, '"')
		d.b = append(it.ID.AppendText(d.b), '"')
	}
	d.text("queue", s.Queue)
	d.number("partition", int64(s.Partition))
	switch {
	case e.Type == queue.EventGap:
		d.gap(e.Gap)
	case e.ItemLost:
		d.attempts(it.Attempts)
		d.name("item_lost")
		d.b = append(d.b, "true"...)
	default:
		if o.Payload != PayloadNone {
			d.label("source_id", it.SourceID)
			d.label("kind", it.Kind)
			d.label("encoding", it.Encoding)
			d.label("reference", it.Reference)
		}
		d.attempts(it.Attempts)
		if !it.CreatedAt.IsZero() && !e.At.Untrusted {
			d.name("created_at")
			d.b = append(d.b, '"')
			d.b = append(it.CreatedAt.UTC().AppendFormat(d.b, time.RFC3339Nano), '"')
		}
		d.number("payload_size", e.PayloadSize)
		if goes {
			d.payload(payload)
		}
	}
	return append(d.b, '}'), d.err
}

// dataWriter writes the fields of an object.
type dataWriter struct {
	b   []byte
	err error
}

func (d *dataWriter) name(name string) {
	if d.b[len(d.b)-1] != '{' {
		d.b = append(d.b, ',')
	}
	d.b = append(d.b, '"')
	d.b = append(d.b, name...)
	d.b = append(d.b, `":`...)
}

func (d *dataWriter) number(name string, n int64) {
	d.name(name)
	d.b = strconv.AppendInt(d.b, n, 10)
}

func (d *dataWriter) attempts(n int32) {
	if n != 0 {
		d.number("attempts", int64(n))
	}
}

// text writes a text, which may have any characters.
func (d *dataWriter) text(name, value string) {
	d.name(name)
	if isPlain(value) {
		d.b = append(d.b, '"')
		d.b = append(d.b, value...)
		d.b = append(d.b, '"')
		return
	}
	quoted, err := json.Marshal(value)
	d.b = append(d.b, quoted...)
	if err != nil {
		d.err = err
	}
}

// label writes a text unless it is empty.
func (d *dataWriter) label(name, value string) {
	if value != "" {
		d.text(name, value)
	}
}

// isPlain reports whether a text is the same in JSON.
func isPlain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&':
			return false
		}
	}
	return true
}

// payload writes a payload as text if it is that, else as bytes.
func (d *dataWriter) payload(p []byte) {
	if utf8.Valid(p) {
		d.text("utf8", string(p))
		return
	}
	d.name("bytes")
	d.b = append(d.b, '"')
	d.b = append(base64.StdEncoding.AppendEncode(d.b, p), '"')
}

// gap writes which events are gone.
func (d *dataWriter) gap(g *queue.Gap) {
	d.name("gap")
	d.b = append(d.b, '{')
	for _, n := range []struct {
		name  string
		value uint64
	}{
		{"first", g.First}, {"last", g.Last}, {"completed", g.Completed}, {"dead", g.Dead}, {"expired", g.Expired},
		{"dropped", g.Dropped},
	} {
		d.name(n.name)
		d.b = strconv.AppendUint(d.b, n.value, 10)
	}
	d.number("bytes", g.Bytes)
	d.text("reason", g.Reason)
	d.b = append(d.b, '}')
}
