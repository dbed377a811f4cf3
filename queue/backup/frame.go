package backup

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kapetan-io/querator-edge/queue"
)

// Version is the version of the format that this package writes.
const Version = 1

const (
	firstWords = "querator backup "
	// maxFirstLine bounds the first line.
	maxFirstLine = 64
)

// The kinds of frames.
const (
	frameHead    = 'H'
	frameState   = 'P'
	frameSegment = 'S'
	frameData    = 'D'
	frameLost    = 'L'
	frameEnd     = 'Z'
	frameError   = 'X'
)

const (
	// maxFrame bounds a frame's body. A block of one item is the largest there is,
	// and no request is that large.
	maxFrame = 1 << 28
	// readStep is how much memory is taken for a body before more of it has come.
	readStep = 64 << 10

	sumSize = 4
)

func castagnoli(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// chained returns the checksum of a frame behind one with the checksum sum.
func chained(sum uint32, head, body []byte) uint32 {
	var before [sumSize]byte
	binary.LittleEndian.PutUint32(before[:], sum)
	return castagnoli(castagnoli(castagnoli(0, before[:]), head), body)
}

// frameWriter writes frames.
type frameWriter struct {
	w   io.Writer
	sum uint32
	buf []byte
}

// begin writes the first line.
func (f *frameWriter) begin() error {
	line := fmt.Appendf(nil, "%s%d\n", firstWords, Version)
	f.sum = castagnoli(0, line)
	_, err := f.w.Write(line)
	return err
}

// frame writes a frame, in one write unless the body is large.
func (f *frameWriter) frame(kind byte, body []byte) error {
	if len(body) > maxFrame {
		return fmt.Errorf("a frame of %d bytes is too large for a back-up", len(body))
	}
	head := binary.AppendUvarint(append(f.buf[:0], kind), uint64(len(body)))
	f.sum = chained(f.sum, head, body)
	if len(body) > readStep {
		f.buf = head
		if _, err := f.w.Write(head); err != nil {
			return err
		}
		if _, err := f.w.Write(body); err != nil {
			return err
		}
		_, err := f.w.Write(binary.LittleEndian.AppendUint32(head[:0], f.sum))
		return err
	}
	f.buf = binary.LittleEndian.AppendUint32(append(head, body...), f.sum)
	_, err := f.w.Write(f.buf)
	return err
}

// frameReader reads frames.
type frameReader struct {
	r   *bufio.Reader
	sum uint32
	off int64 // of the next frame
	buf bytes.Buffer

	// begin and before are where the last frame begins, and sum before it.
	begin  int64
	before uint32
}

// firstLine reads the first line. The error Is queue.ErrFormat if the stream is of a
// newer version, or none of ours.
func (f *frameReader) firstLine() error {
	line, err := f.r.ReadSlice('\n')
	if err != nil && len(line) < maxFirstLine && !errors.Is(err, io.EOF) {
		return err
	}
	var version int
	text, ours := bytes.CutPrefix(line, []byte(firstWords))
	if n, _ := fmt.Sscanf(string(text), "%d\n", &version); !ours || n != 1 || len(line) > maxFirstLine ||
		string(line) != fmt.Sprintf("%s%d\n", firstWords, version) {
		return &queue.Error{Kind: queue.ErrFormat, Msg: "this is no back-up: it does not begin with \"querator backup\""}
	}
	if version != Version {
		return &queue.Error{Kind: queue.ErrFormat, Hint: "install the version of querator that wrote it, or a newer one",
			Msg: fmt.Sprintf("the back-up has format %d, known is %d", version, Version)}
	}
	f.sum, f.off = castagnoli(0, line), int64(len(line))
	return nil
}

// frame reads a frame. The body is valid until the next call. The error Is
// queue.ErrCorrupt when the stream is damaged or ends here.
func (f *frameReader) frame() (kind byte, body []byte, err error) {
	f.begin, f.before = f.off, f.sum
	kind, err = f.r.ReadByte()
	if err != nil {
		return 0, nil, f.cut(err)
	}
	n, err := f.length()
	if err != nil {
		return 0, nil, err
	}
	if body, err = f.take(int(n)); err != nil {
		return 0, nil, err
	}
	var stored [sumSize]byte
	if _, err := io.ReadFull(f.r, stored[:]); err != nil {
		return 0, nil, f.cut(err)
	}
	head := binary.AppendUvarint([]byte{kind}, n)
	sum := chained(f.sum, head, body)
	if want := binary.LittleEndian.Uint32(stored[:]); want != sum {
		return 0, nil, damaged("byte %d: the checksum of a frame is %08x, must be %08x", f.off, sum, want)
	}
	f.sum = sum
	f.off += int64(len(head)+len(body)) + sumSize
	return kind, body, nil
}

// length reads how long the body of a frame is.
func (f *frameReader) length() (n uint64, err error) {
	for shift := 0; shift < 7*binary.MaxVarintLen32; shift += 7 {
		b, err := f.r.ReadByte()
		if err != nil {
			return 0, f.cut(err)
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if n > maxFrame {
				break
			}
			return n, nil
		}
	}
	return 0, damaged("byte %d: a frame of %d bytes or more is too large", f.off, n)
}

// take reads the body of a frame, so that a length which is not true takes no
// memory.
func (f *frameReader) take(n int) ([]byte, error) {
	if f.buf.Cap() > 4*maxKept {
		f.buf = bytes.Buffer{}
	}
	f.buf.Reset()
	for f.buf.Len() < n {
		if _, err := io.CopyN(&f.buf, f.r, int64(min(readStep, n-f.buf.Len()))); err != nil {
			return nil, f.cut(err)
		}
	}
	return f.buf.Bytes(), nil
}

// maxKept is about the largest buffer that is kept from one frame to the next.
const maxKept = 256 << 10

// cut returns the error of a stream that ends where it must not, or cannot be
// read.
func (f *frameReader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it ends behind byte %d, in the middle", f.off)
	}
	var e *queue.Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("the back-up cannot be read: %w", err)
}

// damaged returns an error of kind queue.ErrCorrupt.
func damaged(format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrCorrupt, Msg: "the back-up is damaged: " + fmt.Sprintf(format, args...),
		Hint: "use another back-up; nothing was restored from this one"}
}
