package frame_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/frame"
)

// The bytes are what clients in other languages are told of.
func TestHeads(t *testing.T) {
	for _, test := range []struct {
		r    frame.Request
		want string
	}{
		{frame.Request{ID: 1, Call: frame.Cancel}, "\x00\x00\x00\x05\x00\x00\x00\x01\x00"},
		{frame.Request{ID: 0x01020304, Call: frame.Retry, Body: 0x10000}, "\x00\x01\x00\x05\x01\x02\x03\x04\x04"},
		{frame.Request{ID: math.MaxUint32, Call: 255, Body: math.MaxUint32 - 5}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		b := frame.AppendRequest([]byte("before"), test.r)
		if string(b) != "before"+test.want {
			t.Errorf("%+v is %q, want %q", test.r, b, test.want)
		}
		if r, err := frame.ParseRequest(b[6:]); err != nil || r != test.r {
			t.Errorf("%+v is read as %+v, %v", test.r, r, err)
		}
	}
	for _, test := range []struct {
		r    frame.Reply
		want string
	}{
		{frame.Reply{Code: frame.Bye}, "\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"},
		{frame.Reply{ID: 7, Code: 454, Body: 258}, "\x00\x00\x01\x08\x00\x00\x00\x07\x01\xc6"},
	} {
		b := frame.AppendReply(nil, test.r)
		if string(b) != test.want {
			t.Errorf("%+v is %q, want %q", test.r, b, test.want)
		}
		if r, err := frame.ParseReply(b); err != nil || r != test.r {
			t.Errorf("%+v is read as %+v, %v", test.r, r, err)
		}
	}
}

func TestPaths(t *testing.T) {
	for call, path := range map[frame.Call]string{1: "/v1/queue.produce", 2: "/v1/queue.lease", 3: "/v1/queue.complete", 4: "/v1/queue.retry"} {
		if call.Path() != path || frame.CallOf(path) != call {
			t.Errorf("%d is %q, and %s is %d", call, call.Path(), path, frame.CallOf(path))
		}
	}
	for _, call := range []frame.Call{frame.Cancel, 5, 255} {
		if call.Path() != "" {
			t.Errorf("%d is %q", call, call.Path())
		}
	}
	for _, path := range []string{"", "/", "/v1/queue.extend", frame.Path} {
		if call := frame.CallOf(path); call != frame.Cancel {
			t.Errorf("%q is %d", path, call)
		}
	}
}

func TestShortHeads(t *testing.T) {
	for size := range byte(frame.ReplyHead) {
		b := append([]byte{0, 0, 0, size}, make([]byte, frame.ReplyHead)...)
		if _, err := frame.ParseRequest(b); errors.Is(err, io.ErrUnexpectedEOF) != (size < frame.RequestHead-4) {
			t.Errorf("a request of %d bytes: %v", size, err)
		}
		if _, err := frame.ParseReply(b); errors.Is(err, io.ErrUnexpectedEOF) != (size < frame.ReplyHead-4) {
			t.Errorf("a reply of %d bytes: %v", size, err)
		}
	}
}

// FuzzHeads reads whatever comes: what is read is written the same.
func FuzzHeads(f *testing.F) {
	f.Add(frame.AppendRequest(nil, frame.Request{ID: 1, Call: frame.Produce, Body: 3}))
	f.Add(frame.AppendReply(nil, frame.Reply{ID: 1, Code: 200}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frame.ReplyHead {
			return
		}
		if r, err := frame.ParseRequest(b); err == nil && !bytes.Equal(frame.AppendRequest(nil, r), b[:frame.RequestHead]) {
			t.Errorf("%q is read as %+v", b, r)
		}
		if r, err := frame.ParseReply(b); err == nil && !bytes.Equal(frame.AppendReply(nil, r), b[:frame.ReplyHead]) {
			t.Errorf("%q is read as %+v", b, r)
		}
	})
}
