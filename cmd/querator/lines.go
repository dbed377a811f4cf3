package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// lineReader reads lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	most int // bytes
	n    int // lines read

	held   []byte // what unread gave back
	isHeld bool
}

func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), most: most}
}

// next returns a line without its newline, in memory of its own, or io.EOF. A last line needs no newline.
func (l *lineReader) next() ([]byte, error) {
	if l.isHeld {
		l.isHeld = false
		l.n++
		return l.held, nil
	}
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > l.most {
			return nil, fmt.Errorf("line %d has more than %d bytes", l.n+1, l.most)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		l.n++
		return bytes.TrimSuffix(line, []byte("\n")), nil
	}
}

// unread gives the last line back, for next to return it again.
func (l *lineReader) unread(line []byte) {
	l.held, l.isHeld = line, true
	l.n--
}

// input opens a file, or stdin for "" and "-". The caller closes it.
func (e *env) input(path string) (io.ReadCloser, error) {
	if path == "" || path == "-" {
		return io.NopCloser(e.stdin), nil
	}
	return os.Open(path)
}
