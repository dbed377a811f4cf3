package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/kapetan-io/querator-edge/queue"
)

// Reader reads a back-up. A back-up is sound only when Next has returned io.EOF.
type Reader struct {
	// Head is what the back-up says of itself.
	Head *Head
	// Lost is what is missing in it, in words, as far as it was read.
	Lost []string

	f      frameReader
	parts  []part
	counts counts
	kind   byte // of a frame that was read ahead; 0 if none was
	body   []byte

	part  int
	piece queue.BackupPiece
	each  func(section) error // is told of each segment; nil if nobody wants to know
	done  bool
}

// maxLost bounds how many losses are remembered in words.
const maxLost = 1000

// NewReader reads the beginning of a back-up, up to the states. The error Is
// queue.ErrFormat when it is none, or of a newer version, and queue.ErrCorrupt
// when it is damaged.
func NewReader(r io.Reader) (*Reader, error) {
	b := &Reader{f: frameReader{r: bufio.NewReaderSize(r, readStep)}, part: -1}
	if err := b.f.firstLine(); err != nil {
		return nil, err
	}
	kind, body, err := b.f.frame()
	if err != nil {
		return nil, err
	}
	if kind != frameHead {
		return nil, b.misplaced(kind)
	}
	if b.Head, err = DecodeHead(body); err != nil {
		return nil, err
	}
	b.parts = b.Head.parts()
	return b, b.states()
}

// states reads the frames of the states, and the first behind them.
func (b *Reader) states() error {
	for {
		kind, body, err := b.f.frame()
		if err != nil {
			return err
		}
		if kind != frameState {
			b.kind, b.body = kind, body
			return b.checkStates()
		}
		n, size := binary.Uvarint(body)
		if size <= 0 || n >= uint64(len(b.parts)) || !b.parts[n].has() || b.parts[n].state != nil {
			return damaged("it has the state of partition %d, which does not need one", n)
		}
		b.parts[n].state = append([]byte{}, body[size:]...)
		b.counts.states++
	}
}

func (b *Reader) checkStates() error {
	if b.Head.Kind == Manifest || b.kind == frameError {
		return nil
	}
	for i := range b.parts {
		if b.parts[i].has() && b.parts[i].state == nil {
			return damaged("the state of partition %d is missing", i)
		}
	}
	return nil
}

// Next returns the next piece and the number of its partition, counted over all
// queues; both are valid until the next call. The error is io.EOF at the end of a
// back-up that is sound; it Is queue.ErrCorrupt when it is damaged, and
// queue.ErrUnavailable when whoever took it could not go on.
func (b *Reader) Next() (part int, piece *queue.BackupPiece, err error) {
	for !b.done {
		kind, body := b.kind, b.body
		if b.kind = 0; kind == 0 {
			if kind, body, err = b.f.frame(); err != nil {
				return 0, nil, err
			}
		}
		b.piece.Data, b.piece.Lost = nil, ""
		switch kind {
		case frameSegment:
			if err := b.segment(body); err != nil {
				return 0, nil, err
			}
			return b.part, &b.piece, nil
		case frameData:
			b.counts.data++
			b.piece.Data = body
		case frameLost:
			b.counts.lost++
			b.piece.Lost = string(body)
			if len(b.Lost) < maxLost {
				b.Lost = append(b.Lost, b.place()+b.piece.Lost)
			}
		case frameEnd:
			if err := b.end(body); err != nil {
				return 0, nil, err
			}
			continue
		case frameError:
			return 0, nil, &queue.Error{Kind: queue.ErrUnavailable, Msg: "the back-up was given up: " + string(body)}
		default:
			return 0, nil, b.misplaced(kind)
		}
		if b.part < 0 {
			return 0, nil, b.misplaced(kind)
		}
		return b.part, &b.piece, nil
	}
	return 0, nil, io.EOF
}

// segment begins a segment.
func (b *Reader) segment(body []byte) error {
	var n [4]uint64
	for i := range n {
		v, size := binary.Uvarint(body)
		if size <= 0 {
			return damaged("a segment has no beginning")
		}
		n[i], body = v, body[size:]
	}
	if n[0] >= uint64(len(b.parts)) || !b.parts[n[0]].has() || b.Head.Kind == Manifest {
		return damaged("it has a segment of partition %d, which is none of it", n[0])
	}
	b.counts.segments++
	b.part = int(n[0])
	b.piece.Span = n[1]
	b.piece.From = queue.BackupMark{Span: n[1], Items: n[2], Commits: n[3]}
	if b.each == nil {
		return nil
	}
	return b.each(section{part: b.part, from: b.piece.From, off: b.f.begin, sum: b.f.before})
}

// end checks that everything was there, and that nothing follows.
func (b *Reader) end(body []byte) error {
	if string(body) != string(b.counts.append(nil)) {
		return damaged("parts of it are missing")
	}
	if _, err := b.f.r.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return b.f.cut(err)
		}
		return damaged("there are bytes behind its end")
	}
	b.done = true
	return nil
}

func (b *Reader) misplaced(kind byte) error {
	return damaged("byte %d: a frame of kind %q is not in its place", b.f.off, kind)
}

func (b *Reader) place() string {
	p := b.parts[max(b.part, 0)]
	return fmt.Sprintf("queue '%s' partition %d: ", p.queue.Name, p.Partition)
}

// Sections returns how many segments have begun so far.
func (b *Reader) Sections() int { return int(b.counts.segments) }

// ReadAll reads what is left, and calls check, unless it is nil, with each piece.
func (b *Reader) ReadAll(check func(piece *queue.BackupPiece) error) error {
	for {
		_, piece, err := b.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && check != nil {
			err = check(piece)
		}
		if err != nil {
			return err
		}
	}
}
