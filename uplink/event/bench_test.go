package event_test

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// BenchmarkBinary renders an event as it goes out unless something else is set.
func BenchmarkBinary(b *testing.B) {
	s := event.NewStream("querator", "device-17", "readings", 0)
	e := queue.Event{
		Epoch: 1 << 60, Seq: 12345678, Type: queue.EventCompleted, PayloadSize: 256, Boot: "boot",
		Item: queue.Item{ID: queue.NewID(12345678, queue.Tag{1}), Attempts: 1, CreatedAt: time.Now()},
		At:   queue.Instant{Wall: time.Now().UnixNano()},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Binary(&e, event.Options{Payload: event.PayloadNone}); err != nil {
			b.Fatal(err)
		}
	}
}
