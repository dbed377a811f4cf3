package api

import (
	"net/http"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// defaultListLimit stands for a limit of 0.
	defaultListLimit = 1000
	// listChunk is about how many bytes of a list are held before they are
	// sent; a list that ends within them has a Content-Length.
	listChunk = 256 << 10
)

// list writes a reply that has one field, a repeated one called items, while it
// is being read: the whole of it may be larger than memory.
// When something fails after the first part has gone out, the connection is
// closed, which is the only way left to say so.
type list struct {
	c     *call
	f     format
	field protowire.Number
	buf   []byte
	count int
	// reserved is how many bytes of the buffer are in the budget already.
	reserved int64
	started  bool  // the head of the reply has been sent
	hasTurn  bool  // see readPage
	large    int64 // bytes of the budget that are taken for a large item
}

// startList begins a list in the format that the client wants; field is the
// number of items.
func (c *call) startList(field protowire.Number) (*list, error) {
	f, err := c.replyFormat()
	if err != nil {
		return nil, err
	}
	return &list{c: c, f: f, field: field}, nil
}

// add appends one entry.
func (l *list) add(m proto.Message) error {
	data, err := encode(l.f, m)
	if err != nil {
		return err
	}
	l.begin(len(data))
	l.buf = append(l.buf, data...)
	return l.grown()
}

// begin appends what stands before an entry of so many bytes.
func (l *list) begin(size int) {
	switch {
	case l.f == formatProtobuf:
		l.buf = protowire.AppendTag(l.buf, l.field, protowire.BytesType)
		l.buf = protowire.AppendVarint(l.buf, uint64(size))
	case l.count == 0:
		l.buf = append(l.buf, `{"items":[`...)
	default:
		l.buf = append(l.buf, ',')
	}
	l.count++
}

// grown accounts for what was appended, and sends it when it is much.
func (l *list) grown() error {
	if n := int64(cap(l.buf)) - l.reserved; n > 0 {
		l.c.take(n)
		l.reserved += n
	}
	if len(l.buf) < listChunk {
		return nil
	}
	return l.flush()
}

// flush sends what has gathered.
func (l *list) flush() error {
	l.start()
	_, err := l.c.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// start begins the reply if it has not begun, and gives the client time for the
// next part of it.
func (l *list) start() {
	if !l.started {
		l.started = true
		l.c.code = http.StatusOK
		l.c.w.Header().Set("Content-Type", l.f.contentType())
		l.c.w.WriteHeader(http.StatusOK)
	}
	_ = l.c.rc.SetWriteDeadline(time.Now().Add(l.c.h.bodyTimeout))
}

// end finishes the list.
func (l *list) end() error {
	if l.f == formatJSON {
		if l.count == 0 {
			l.buf = append(l.buf, '{', '}')
		} else {
			l.buf = append(l.buf, ']', '}')
		}
	}
	if !l.started {
		l.giveTurn()
		l.c.release() // write takes it again, whole.
		l.c.write(http.StatusOK, l.f, l.buf)
		return nil
	}
	if err := l.flush(); err != nil {
		return l.abort(err)
	}
	return nil
}

// abort returns the error that is the answer, when there can still be one.
func (l *list) abort(err error) error {
	if !l.started {
		return err
	}
	if l.c.r.Context().Err() == nil {
		l.c.h.logError(l.c.r.URL.Path, err)
	}
	l.c.code = codeGone
	panic(http.ErrAbortHandler) // The way of net/http to close the connection.
}
