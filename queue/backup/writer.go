package backup

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"strconv"

	"github.com/kapetan-io/querator-edge/queue"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Writer writes a back-up. Its calls come in the order of the frames.
type Writer struct {
	f      frameWriter
	counts counts
	part   int
	span   uint64
	inside bool // a segment has begun
}

// counts are the numbers of frames, for frame Z.
type counts struct{ states, segments, data, lost uint64 }

func (c counts) append(dst []byte) []byte {
	for _, n := range []uint64{c.states, c.segments, c.data, c.lost} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// NewWriter writes the beginning of a back-up up to the states.
func NewWriter(w io.Writer, h *Head) (*Writer, error) {
	b := &Writer{f: frameWriter{w: w}}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if err := b.f.begin(); err != nil {
		return nil, err
	}
	if err := b.f.frame(frameHead, text); err != nil {
		return nil, err
	}
	if h.Kind == Manifest {
		return b, nil
	}
	for i, p := range h.parts() {
		if !p.has() {
			continue
		}
		b.counts.states++
		if err := b.f.frame(frameState, append(binary.AppendUvarint(nil, uint64(i)), p.state...)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Write writes a piece of a partition, counted over all queues.
func (b *Writer) Write(part int, piece *queue.BackupPiece) error {
	if !b.inside || part != b.part || piece.Span != b.span {
		b.inside, b.part, b.span = true, part, piece.Span
		b.counts.segments++
		body := binary.AppendUvarint(nil, uint64(part))
		for _, n := range []uint64{piece.Span, piece.From.Items, piece.From.Commits} {
			body = binary.AppendUvarint(body, n)
		}
		if err := b.f.frame(frameSegment, body); err != nil {
			return err
		}
	}
	if piece.Lost != "" {
		b.counts.lost++
		if err := b.f.frame(frameLost, []byte(piece.Lost)); err != nil {
			return err
		}
	}
	if len(piece.Data) == 0 {
		return nil
	}
	b.counts.data++
	return b.f.frame(frameData, piece.Data)
}

// Close ends the back-up. Without it what was written is none.
func (b *Writer) Close() error { return b.f.frame(frameEnd, b.counts.append(nil)) }

// Fail ends the stream with the reason why it is no back-up.
func (b *Writer) Fail(why string) error { return b.f.frame(frameError, []byte(why)) }
