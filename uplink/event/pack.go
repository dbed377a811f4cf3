package event

import (
	"errors"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
)

// packWindow is how far the compressor looks back, in bytes: events of one pack resemble those just before them.
const packWindow = 64 << 10

// Packer renders many events as one message. It is for one goroutine, and holds about 1 MB once it was used.
type Packer struct {
	zstd *zstd.Encoder
}

// Pack renders events of one epoch, in order and at least one, as a compressed JSON array of CloudEvents. The
// identity of the message is that of its last event.
func (p *Packer) Pack(s Stream, events []queue.Event, o Options) (*nats.Msg, error) {
	if len(events) == 0 {
		return nil, errors.New("a pack needs an event")
	}
	if p.zstd == nil {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(packWindow), zstd.WithEncoderLevel(zstd.SpeedDefault))
		if err != nil {
			return nil, err
		}
		p.zstd = enc
	}
	all := []byte{'['}
	for i := range events {
		if i > 0 {
			all = append(all, ',')
		}
		one, err := s.object(&events[i], o)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	m := s.message(&events[len(events)-1], p.zstd.EncodeAll(append(all, ']'), nil))
	m.Header["Content-Type"] = []string{"application/cloudevents-batch+json"}
	m.Header["Content-Encoding"] = []string{"zstd"}
	return m, nil
}
