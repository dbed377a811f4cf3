package uplink_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/kapetan-io/querator-edge/uplink/event"
)

// cloudEvent is an event in JSON.
type cloudEvent struct {
	ID          string `json:"id"`
	SpecVersion string `json:"specversion"`
	Sequence    string `json:"sequence"`
	Data        struct {
		Queue string `json:"queue"`
		UTF8  string `json:"utf8"`
	} `json:"data"`
}

// checkFormat reads the stream in a format, and compares it with what was produced.
func checkFormat(t *testing.T, b *bench, format string) {
	t.Helper()
	var all []cloudEvent
	for _, s := range rawStream(t, b.admin()) {
		switch {
		case format == event.FormatStructured:
			if ct := s.Header.Get("Content-Type"); ct != "application/cloudevents+json" {
				t.Fatalf("content type %q", ct)
			}
			var e cloudEvent
			if err := json.Unmarshal(s.Data, &e); err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		default:
			if ct := s.Header.Get("Content-Type") + " " + s.Header.Get("Content-Encoding"); ct != "application/cloudevents-batch+json zstd" {
				t.Fatalf("content type %q", ct)
			}
			dec, err := zstd.NewReader(nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := dec.DecodeAll(s.Data, nil)
			dec.Close()
			if err != nil {
				t.Fatal(err)
			}
			var pack []cloudEvent
			if err := json.Unmarshal(text, &pack); err != nil {
				t.Fatal(err)
			}
			if s.Header.Get("Nats-Msg-Id") != pack[len(pack)-1].ID {
				t.Error("the identity of a pack is not that of its last event")
			}
			all = append(all, pack...)
		}
	}
	want := map[string]string{}
	for id, payload := range b.truth.payload {
		want[fmt.Sprintf("dev/%s/%d/%016x/%d", id.queue, id.partition, id.epoch, id.seq)] = payload
	}
	last := map[string]string{}
	for _, e := range all {
		if want[e.ID] != e.Data.UTF8 || e.SpecVersion != "1.0" {
			t.Errorf("event %+v, payload %q", e, want[e.ID])
		}
		if e.Sequence <= last[e.Data.Queue] {
			t.Errorf("event %s comes after %s", e.Sequence, last[e.Data.Queue])
		}
		last[e.Data.Queue] = e.Sequence
	}
	if len(all) != len(want) {
		t.Errorf("%d events, not %d", len(all), len(want))
	}
}
