package head_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/head"
)

// requests are heads, and whether they are plain.
var requests = map[string]bool{
	"POST /v1/queue.produce HTTP/1.1\r\nHost: agent\r\nContent-Type: application/protobuf\r\nContent-Length: 5\r\n\r\nhello":      true,
	"POST /v1/queue.produce HTTP/1.1\r\nhost: localhost:80\r\nuser-agent: curl/8.1\r\naccept:\t*/* \r\ncontent-length: 0\r\n\r\n": true,
	"GET /health HTTP/1.1\r\nHost: a\r\n\r\n": true,
	"GET /health HTTP/1.1\r\n\r\n":            true, // The server refuses it, whoever read it.
	"POST / HTTP/1.1\r\nHost: a\r\nAccept: a\r\nAccept: b\r\nX-Empty:\r\nContent-Length: 3\r\n\r\n": true,
	"": false, "\r\n\r\n": false, "POST": false, "POST / HTTP/1.1\r\nHost: a\r\n": false,
	"POST  / HTTP/1.1\r\nHost: a\r\n\r\n":                                             false,
	"POST / HTTP/1.0\r\nHost: a\r\n\r\n":                                              false,
	"PUT / HTTP/1.1\r\nHost: a\r\n\r\n":                                               false,
	"post / HTTP/1.1\r\nHost: a\r\n\r\n":                                              false,
	"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n":                                            false,
	"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n":                                            false,
	"GET //a/b HTTP/1.1\r\nHost: a\r\n\r\n":                                           false,
	"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n":                                      false,
	"GET * HTTP/1.1\r\nHost: a\r\n\r\n":                                               false,
	"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                    false,
	"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                             false,
	"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n":                          false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n":    false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n":                        false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n":                        false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n":                           false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1234567890123456\r\n\r\n":          false,
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n":                false,
	"POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: chunked\r\n\r\n":                false,
	"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                         false,
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n": false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n":                            false,
	"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n":                                      false,
	"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n":                                        false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n":                                    false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n":                                    false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n":                                    false,
	"GET / HTTP/1.1\nHost: a\n\r\n\r\n":                                               false,
	"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 30) + "\r\n":         false,
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for text, plain := range requests {
		req, n := head.Request([]byte(text))
		if (req != nil) != plain {
			t.Errorf("%q: plain is %v, expected %v", text, req != nil, plain)
		}
		checkRequest(t, []byte(text), req, n)
	}
}

// checkRequest compares a request with what net/http reads.
func checkRequest(t *testing.T, b []byte, req *http.Request, n int) {
	t.Helper()
	if req == nil {
		return
	}
	r := bufio.NewReader(bytes.NewReader(b))
	want, err := http.ReadRequest(r)
	if err != nil {
		t.Fatalf("%q: net/http does not read it: %v", b, err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != string(b[n:]) {
		t.Fatalf("%q: the head ends at %d, for net/http with %d bytes left", b, n, len(rest))
	}
	if req.Method != want.Method || req.RequestURI != want.RequestURI || req.Host != want.Host ||
		req.ContentLength != want.ContentLength || req.Close != want.Close || req.Proto != want.Proto ||
		req.ProtoMajor != want.ProtoMajor || req.ProtoMinor != want.ProtoMinor ||
		!reflect.DeepEqual(req.URL, want.URL) || !reflect.DeepEqual(req.Header, want.Header) ||
		len(want.TransferEncoding) > 0 {
		t.Fatalf("%q:\n got %+v\nwant %+v", b, req, want)
	}
}

// replies are heads of replies, and whether they are plain.
var replies = map[string]bool{
	"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: 3\r\nDate: x\r\n\r\nabc": true,
	"HTTP/1.1 454 Retry Request\r\ncontent-length: 0\r\n\r\n":                                          true,
	"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n":                                                       true,
	"HTTP/1.1 200 OK\r\nContent-Type: a\r\n\r\nabc":                                                    false,
	"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc":                             false,
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                                   false,
	"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc":                             false,
	"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n":                                               false,
	"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                                             false,
	"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n":                                                     false,
	"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n":                                                     false,
	"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n":                                                        false,
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n":                                                         false,
	"": false,
}

func TestReply(t *testing.T) {
	t.Parallel()
	for text, plain := range replies {
		h, n := head.Reply([]byte(text))
		if (n > 0) != plain {
			t.Errorf("%q: plain is %v, expected %v", text, n > 0, plain)
		}
		checkReply(t, []byte(text), h, n)
	}
}

func checkReply(t *testing.T, b []byte, h head.Head, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	r := bufio.NewReader(bytes.NewReader(b))
	want, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost}) //nolint:bodyclose // It lies in b.
	if err != nil {
		t.Fatalf("%q: net/http does not read it: %v", b, err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != string(b[n:]) {
		t.Fatalf("%q: the head ends at %d, for net/http with %d bytes left", b, n, len(rest))
	}
	// net/http trims a status line on its left.
	if h.Code != want.StatusCode || string(h.Status) != want.Status || h.Length != want.ContentLength ||
		string(h.ContentType) != want.Header.Get("Content-Type") || want.Close {
		t.Fatalf("%q:\n got %d %q %d %q\nwant %d %q %d %q, close %v", b, h.Code, h.Status, h.Length, h.ContentType,
			want.StatusCode, want.Status, want.ContentLength, want.Header.Get("Content-Type"), want.Close)
	}
}

func FuzzRequest(f *testing.F) {
	for text := range requests {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req, n := head.Request(b)
		checkRequest(t, b, req, n)
	})
}

func FuzzReply(f *testing.F) {
	for text := range replies {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n := head.Reply(b)
		checkReply(t, b, h, n)
	})
}

func BenchmarkRequest(b *testing.B) {
	text := []byte("POST /v1/queue.produce HTTP/1.1\r\nHost: agent\r\nContent-Length: 405\r\n" +
		"Content-Type: application/protobuf\r\nAccept: application/protobuf\r\n\r\n")
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			if req, _ := head.Request(text); req == nil {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("net/http", func(b *testing.B) {
		r := bufio.NewReader(nil)
		for b.Loop() {
			r.Reset(bytes.NewReader(text))
			if _, err := http.ReadRequest(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
