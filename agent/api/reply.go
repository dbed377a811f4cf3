package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// The reply of a call without data of its own, in both formats.
const (
	okJSON     = `{"code":200}`
	okProtobuf = "\x08\xc8\x01"
	// internalProtobuf has the code 500.
	internalProtobuf = "\x08\xf4\x03"
)

// replyFormat returns the format that the client wants. When it wants none that
// there is, that is the answer, although what it asked for has been done.
func (c *call) replyFormat() (format, error) { return acceptedFormat(c.r.Header) }

func acceptedFormat(header http.Header) (format, error) {
	f, value, ok := parseFormat(header.Get("Accept"))
	if !ok {
		return formatJSON, contentError("Accept header '%s' is invalid format or unrecognized content type,"+
			" only [application/json,application/protobuf] are supported by this method", value)
	}
	return f, nil
}

// reply answers 200 with m.
func (c *call) reply(m proto.Message) error {
	f, err := c.replyFormat()
	if err != nil {
		return err
	}
	data, err := encode(f, m)
	if err != nil {
		return err
	}
	c.write(http.StatusOK, f, data)
	return nil
}

// ok answers 200 without data.
func (c *call) ok() error {
	f, err := c.replyFormat()
	if err != nil {
		return err
	}
	text := okJSON
	if f == formatProtobuf {
		text = okProtobuf
	}
	c.write(http.StatusOK, f, []byte(text))
	return nil
}

// fail answers with an error. One that is not the client's is logged here, and
// nowhere else.
func (c *call) fail(err error) {
	if errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		c.code = codeGone // Nobody reads the answer.
		return
	}
	f, wrong := c.replyFormat()
	if wrong != nil {
		if code, _ := answer(err); code == http.StatusInternalServerError {
			c.h.logError(c.r.URL.Path, err)
		}
		err = wrong
	}
	code, data := c.h.failure(f, c.r.URL.Path, err)
	c.write(code, f, data)
}

// failure returns the code and the body of the answer that an error is. One that is not
// the client's is logged here, and nowhere else.
func (h *Handler) failure(f format, path string, err error) (code int, data []byte) {
	code, msg := answer(err)
	if code == http.StatusInternalServerError {
		h.logError(path, err)
	}
	data, err = encode(f, &pb.Reply{
		Code:     int32(code),
		CodeText: codeText(code),
		Message:  strings.ToValidUTF8(msg, "\uFFFD"),
	})
	if err == nil {
		return code, data
	}
	h.logError(path, err)
	if f == formatProtobuf {
		return http.StatusInternalServerError, []byte(internalProtobuf)
	}
	return http.StatusInternalServerError, []byte(`{"code":500}`)
}

// write sends a whole reply. An error of the connection shows itself to
// net/http, which closes it.
func (c *call) write(code int, f format, data []byte) {
	c.writePlain(code, f.contentType(), data)
}

// writeGathered sends a whole reply that is in pieces.
func (c *call) writeGathered(g *gathered) {
	c.take(g.memory())
	c.writeHead(http.StatusOK, g.f.contentType(), g.size())
	_, _ = g.WriteTo(c.w) // See write.
}

// writePlain sends a reply that need not be a message of the API.
func (c *call) writePlain(code int, contentType string, data []byte) {
	c.take(int64(len(data)))
	c.writeHead(code, contentType, len(data))
	_, _ = c.w.Write(data)
}

// writeHead begins a reply of so many bytes, for which the client has the body
// timeout.
func (c *call) writeHead(code int, contentType string, size int) {
	c.code = code
	header := c.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(size))
	if !c.bodyRead && c.r.ContentLength != 0 {
		// Before the reply net/http would read the rest of the body, to use the
		// connection again, and wait for a client that does not send it.
		header.Set("Connection", "close")
	}
	_ = c.rc.SetWriteDeadline(time.Now().Add(c.h.bodyTimeout))
	c.w.WriteHeader(code)
}

// encode turns a message into its wire form.
func encode(f format, m proto.Message) ([]byte, error) {
	if f == formatProtobuf {
		return proto.Marshal(m)
	}
	return protojson.Marshal(m)
}
