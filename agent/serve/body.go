package serve

import (
	"bufio"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// body is the body of a request.
type body struct {
	rc     io.ReadCloser
	before func() error // called before the first read; nil if there is nothing to do
	ended  atomic.Bool  // all of it was read
}

func (b *body) Read(p []byte) (int, error) {
	if b.before != nil {
		f := b.before
		b.before = nil
		if err := f(); err != nil {
			return 0, err
		}
	}
	n, err := b.rc.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

func (b *body) Close() error { return nil }

// drain reads what is left of the body, if it is little. It returns false when
// the connection stands in the middle of it.
func (b *body) drain(c *conn) bool {
	if b.ended.Load() {
		return true
	}
	if b.before != nil {
		return false // Whether the client sends it now cannot be known.
	}
	_ = c.deadline.setRead(time.Now().Add(time.Second))
	_, err := io.CopyN(io.Discard, b, leftOver)
	_ = c.deadline.setRead(time.Time{})
	return errors.Is(err, io.EOF)
}

// sized is a body of which the length is known.
type sized struct {
	r    *bufio.Reader
	left int64
}

func (s *sized) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case s.left == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *sized) Close() error { return nil }
