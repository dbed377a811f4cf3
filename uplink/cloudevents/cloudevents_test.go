package cloudevents_test

import (
	"encoding/json"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2/binding"
	sdkevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// at is the time of all events.
var at = time.Date(2026, 11, 23, 12, 30, 0, 123456789, time.UTC)

// samples are events of every kind.
func samples() map[string]queue.Event {
	item := queue.Item{
		ID: queue.NewID(7, queue.Tag{1, 2, 3}), SourceID: "s-1", Encoding: "application/json", Kind: "reading",
		Reference: "größe 100 %", Payload: []byte(`{"c":21.5}`), Attempts: 2, CreatedAt: at.Add(-time.Minute),
	}
	binary := item
	binary.Payload = []byte{0xff, 0x00, 0xfe}
	instant := queue.Instant{Wall: at.UnixNano(), Mono: int64(time.Hour)}
	untrusted := instant
	untrusted.Untrusted = true
	return map[string]queue.Event{
		"completed": {Epoch: 1, Seq: 7, Type: queue.EventCompleted, At: instant, Item: item, PayloadSize: 10},
		"dead":      {Epoch: 1, Seq: 8, Type: queue.EventDead, At: instant, Item: binary, PayloadSize: 3},
		"expired":   {Epoch: 1, Seq: 9, Type: queue.EventExpired, At: untrusted, Boot: "0e5b-11", Item: item, PayloadSize: 10},
		"dropped":   {Epoch: 1, Seq: 10, Type: queue.EventDropped, At: instant, Item: item, PayloadSize: 100_000},
		"gap": {Epoch: 1, Seq: 20, Type: queue.EventGap, At: instant,
			Gap: &queue.Gap{First: 11, Last: 20, Completed: 10, Bytes: 1000, Reason: queue.GapFull}},
	}
}

func names() event.Stream { return event.NewStream("querator", "dev", "größe 100 %.x", 3) }

func options() event.Options { return event.Options{Payload: event.PayloadFull, MaxPayload: 1000} }

// TestSDKReadsBinaryAndStructured has the SDK decode and validate every kind of event.
func TestSDKReadsBinaryAndStructured(t *testing.T) {
	for name, e := range samples() {
		for format, render := range map[string]func(*queue.Event, event.Options) (*nats.Msg, error){
			"binary": names().Binary, "structured": names().Structured,
		} {
			t.Run(name+" "+format, func(t *testing.T) {
				m, err := render(&e, options())
				if err != nil {
					t.Fatal(err)
				}
				got, err := sdk.ToEvent(t.Context(), message{m})
				if err != nil {
					t.Fatal(err)
				}
				checkEvent(t, got, &e)
			})
		}
	}
}

// TestSDKReadsPacked unpacks a pack and has the SDK read its events.
func TestSDKReadsPacked(t *testing.T) {
	all := samples()
	list := []queue.Event{all["completed"], all["dead"], all["expired"]}
	var p event.Packer
	m, err := p.Pack(names(), list, options())
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	text, err := dec.DecodeAll(m.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	var events []sdkevent.Event
	if err := json.Unmarshal(text, &events); err != nil {
		t.Fatal(err)
	}
	for i := range events {
		checkEvent(t, &events[i], &list[i])
	}
}

func checkEvent(t *testing.T, got *sdkevent.Event, e *queue.Event) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	kind := "io.querator.item." + e.Type.String() + ".v1"
	if e.Type == queue.EventGap {
		kind = event.TypeGap
	}
	if got.ID() != names().ID(e.Epoch, e.Seq) || got.Type() != kind || got.Source() != "urn:querator:dev" ||
		got.SpecVersion() != "1.0" || got.DataContentType() != "application/json" {
		t.Errorf("attributes:\n%s", got)
	}
	ext := got.Extensions()
	if e.At.Untrusted {
		if !got.Time().IsZero() || ext["clocktrust"] != "untrusted" || ext["bootid"] != e.Boot || ext["uptimems"] == nil {
			t.Errorf("a clock that nobody trusts:\n%s", got)
		}
	} else if !got.Time().Equal(at) {
		t.Errorf("time %s, not %s", got.Time(), at)
	}
	var data map[string]any
	if err := got.DataAs(&data); err != nil {
		t.Fatal(err)
	}
	if data["queue"] != "größe 100 %.x" || data["partition"] != 3.0 {
		t.Errorf("data %v", data)
	}
	omitted := ext["payloadomitted"] != nil
	if want := e.PayloadSize > 1000; omitted != want {
		t.Errorf("payload omitted: %v", omitted)
	}
}
