package event_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// dataFields are the fields of an event's data, as encoding/json writes them.
type dataFields struct {
	ID          string     `json:"id,omitempty"`
	Queue       string     `json:"queue"`
	Partition   int        `json:"partition"`
	SourceID    string     `json:"source_id,omitempty"`
	Kind        string     `json:"kind,omitempty"`
	Encoding    string     `json:"encoding,omitempty"`
	Reference   string     `json:"reference,omitempty"`
	Attempts    int32      `json:"attempts,omitempty"`
	CreatedAt   string     `json:"created_at,omitempty"`
	PayloadSize *int64     `json:"payload_size,omitempty"`
	UTF8        *string    `json:"utf8,omitempty"`
	Bytes       []byte     `json:"bytes,omitempty"`
	ItemLost    bool       `json:"item_lost,omitempty"`
	Gap         *gapFields `json:"gap,omitempty"`
}

type gapFields struct {
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
	Completed uint64 `json:"completed"`
	Dead      uint64 `json:"dead"`
	Expired   uint64 `json:"expired"`
	Dropped   uint64 `json:"dropped"`
	Bytes     int64  `json:"bytes"`
	Reason    string `json:"reason"`
}

// wantData says what the data of an event is.
func wantData(t *testing.T, s event.Stream, e *queue.Event, o event.Options) string {
	t.Helper()
	d := dataFields{Queue: s.Queue, Partition: s.Partition}
	if g := e.Gap; g != nil {
		d.Gap = &gapFields{g.First, g.Last, g.Completed, g.Dead, g.Expired, g.Dropped, g.Bytes, g.Reason}
	} else {
		d.ID, d.Attempts, d.ItemLost = e.Item.ID.String(), e.Item.Attempts, e.ItemLost
	}
	if e.Gap == nil && !e.ItemLost {
		d.PayloadSize = &e.PayloadSize
		if !e.Item.CreatedAt.IsZero() && !e.At.Untrusted {
			d.CreatedAt = e.Item.CreatedAt.UTC().Format(time.RFC3339Nano)
		}
		if o.Payload != event.PayloadNone {
			d.SourceID, d.Kind, d.Encoding, d.Reference = e.Item.SourceID, e.Item.Kind, e.Item.Encoding, e.Item.Reference
		}
		if p := e.Item.Payload; o.Payload == event.PayloadFull && len(p) <= o.MaxPayload {
			if utf8.Valid(p) {
				text := string(p)
				d.UTF8 = &text
			} else {
				d.Bytes = p
			}
		}
	}
	text, err := json.Marshal(&d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// label makes a text of any characters, or none.
func label(r *rand.Rand) string {
	parts := []string{"", "plain", "größe", `a"b\\`, "<&>", "\x00\n\x7f", "\xff\xfe", "\u2028", "a b"}
	return parts[r.IntN(len(parts))] + parts[r.IntN(len(parts))]
}

// TestData compares the data of events of every kind with what encoding/json makes of them.
func TestData(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 3000 {
		s := event.NewStream("querator", "dev", "q"+label(r), r.IntN(300))
		payload := []byte(strings.Repeat(label(r), r.IntN(4)))
		at := time.Unix(0, r.Int64())
		e := &queue.Event{
			Epoch: r.Uint64(), Seq: r.Uint64(), Type: queue.EventType(r.IntN(5)), Boot: "boot", ItemLost: r.IntN(8) == 0,
			At: queue.Instant{Wall: at.UnixNano(), Mono: r.Int64(), Untrusted: r.IntN(4) == 0},
			Item: queue.Item{
				ID: queue.NewID(r.Uint64(), queue.Tag{byte(r.IntN(256))}), SourceID: label(r), Kind: label(r), Encoding: label(r),
				Reference: label(r), Attempts: r.Int32N(3), Payload: payload,
			},
			PayloadSize: int64(len(payload)),
		}
		if r.IntN(4) > 0 {
			e.Item.CreatedAt = at.Add(-time.Second)
		}
		if e.Type == queue.EventGap {
			*e = queue.Event{Epoch: e.Epoch, Seq: e.Seq, Type: e.Type, At: e.At, Boot: e.Boot,
				Gap: &queue.Gap{First: r.Uint64(), Last: r.Uint64(), Completed: r.Uint64(), Bytes: r.Int64(), Reason: label(r)}}
		}
		o := event.Options{Payload: []string{event.PayloadNone, event.PayloadMeta, event.PayloadFull}[r.IntN(3)], MaxPayload: r.IntN(30)}
		m, err := s.Binary(e, o)
		if err != nil {
			t.Fatal(err)
		}
		if want := wantData(t, s, e, o); string(m.Data) != want {
			t.Fatalf("data of %+v:\n%s\nwant\n%s", e, m.Data, want)
		}
		epoch, seq, ok := s.ParseID(m.Header.Get("Nats-Msg-Id"))
		if !ok || epoch != e.Epoch || seq != e.Seq || m.Header["ce-id"][0] != m.Header.Get("Nats-Msg-Id") {
			t.Fatalf("identity of %+v: %v", e, m.Header)
		}
		whole, err := s.Structured(e, o)
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(whole.Data, &object); err != nil {
			t.Fatalf("%s: %v", whole.Data, err)
		}
		if string(object["data"]) != string(m.Data) || len(object) != len(m.Header) { // One for data, one less for the identity.
			t.Fatalf("structured: %s\nbinary: %v %s", whole.Data, m.Header, m.Data)
		}
	}
}

// TestUntrustedClock: a time that nobody believes is not told.
func TestUntrustedClock(t *testing.T) {
	t.Parallel()
	e := &queue.Event{
		Epoch: 1, Seq: 2, Boot: "boot-7", At: queue.Instant{Wall: 12345, Mono: int64(90 * time.Second), Untrusted: true},
		Item: queue.Item{CreatedAt: time.Unix(1000, 0)},
	}
	m, err := event.NewStream("p", "d", "q", 0).Binary(e, event.Options{})
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) string { return strings.Join(m.Header[name], " ") }
	if get("ce-clocktrust") != "untrusted" || get("ce-bootid") != "boot-7" || get("ce-uptimems") != "90000" || get("ce-time") != "" ||
		strings.Contains(string(m.Data), "created_at") {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}

// TestGapWithoutRange is refused, not sent.
func TestGapWithoutRange(t *testing.T) {
	t.Parallel()
	if _, err := event.NewStream("p", "d", "q", 0).Binary(&queue.Event{Type: queue.EventGap}, event.Options{}); err == nil {
		t.Error("it was rendered")
	}
}
