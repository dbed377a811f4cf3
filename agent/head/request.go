package head

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// Request reads the head of a request at the beginning of b and returns it with
// its length in bytes. It returns nil when the head is not plain or not there
// whole. The body is http.NoBody; where ContentLength is not 0 the caller sets it.
// Nothing of the request lies in b. It may be called from any goroutine.
func Request(b []byte) (req *http.Request, length int) {
	n := end(b)
	if n == 0 {
		return nil, 0
	}
	line, rest, _ := cutLine(string(b[:n]))
	req = requestLine(line)
	if req == nil {
		return nil, 0
	}
	values := make([]string, 0, 8) // Most heads have fewer; they lie together.
	for range maxLines + 1 {
		var ok bool
		if line, rest, ok = cutLine(rest); !ok {
			return nil, 0
		}
		if line == "" {
			return req, n
		}
		if values, ok = addHeader(req, line, values); !ok {
			return nil, 0
		}
	}
	return nil, 0
}

// requestLine reads the first line; nil if it is not plain.
func requestLine(line string) *http.Request {
	method, rest, _ := strings.Cut(line, " ")
	target, proto, _ := strings.Cut(rest, " ")
	if proto != "HTTP/1.1" || target == "" || target[0] != '/' || len(target) > 1 && target[1] == '/' {
		return nil
	}
	for i := range len(target) {
		if c := target[i]; !isAlnum(c) && c != '/' && c != '.' && c != '_' && c != '-' {
			return nil
		}
	}
	if method != http.MethodPost && method != http.MethodGet {
		return nil
	}
	return &http.Request{
		Method: method, URL: &url.URL{Path: target}, RequestURI: target,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header, 4), Body: http.NoBody,
	}
}

// addHeader adds a header line to req; its value lies in values, which is
// returned. ok is false if the line is not plain.
func addHeader(req *http.Request, line string, values []string) (_ []string, ok bool) {
	name, value, ok := cutHeader(line)
	if !ok {
		return nil, false
	}
	key := textproto.CanonicalMIMEHeaderKey(name)
	switch key {
	case "Transfer-Encoding", "Connection", "Expect", "Upgrade", "Trailer", "Pragma":
		return nil, false
	case "Host":
		if req.Host != "" || !isHost(value) {
			return nil, false
		}
		req.Host = value
		return values, true // net/http keeps it out of the headers.
	case "Content-Length":
		if _, again := req.Header[key]; again || req.Method != http.MethodPost {
			return nil, false
		}
		if req.ContentLength, ok = number(value); !ok {
			return nil, false
		}
	}
	if earlier := req.Header[key]; earlier != nil {
		req.Header[key] = append(earlier, value)
		return values, true
	}
	values = append(values, value)
	req.Header[key] = values[len(values)-1 : len(values) : len(values)]
	return values, true
}

// isHost reports whether a host is plain.
func isHost(value string) bool {
	for i := range len(value) {
		if c := value[i]; !isAlnum(c) && c != '.' && c != '-' && c != '_' && c != ':' {
			return false
		}
	}
	return value != ""
}
