package head

import "strings"

// Head is the head of a plain reply.
type Head struct {
	// Status is the whole status after the version, as "200 OK"; Code its number.
	Status string
	Code   int
	// Length is the Content-Length in bytes.
	Length int64
	// ContentType is as the agent wrote it; empty if it is missing.
	ContentType string
}

// Reply reads the head of a reply to a POST at the beginning of b and returns it
// with its length in bytes, which is 0 when the head is not plain or not there
// whole. It may be called from any goroutine.
func Reply(b []byte) (h Head, length int) {
	n := end(b)
	if n == 0 {
		return Head{}, 0
	}
	line, rest, _ := cutLine(string(b[:n]))
	if !h.statusLine(line) {
		return Head{}, 0
	}
	h.Length = -1
	for range maxLines + 1 {
		var ok bool
		line, rest, ok = cutLine(rest)
		switch {
		case !ok, line == "" && h.Length < 0:
			return Head{}, 0
		case line == "":
			return h, n
		case !h.add(line):
			return Head{}, 0
		}
	}
	return Head{}, 0
}

// statusLine reads the first line. Codes that have no body, or another reply
// behind them, are not plain.
func (h *Head) statusLine(line string) bool {
	const version = "HTTP/1.1 "
	if len(line) < len(version)+4 || line[:len(version)] != version || line[len(version)+3] != ' ' || !isText(line) {
		return false
	}
	h.Status = line[len(version):]
	code, ok := number(h.Status[:3])
	h.Code = int(code)
	return ok && code >= 200 && code != 204 && code != 304
}

// add reads a header line.
func (h *Head) add(line string) bool {
	name, value, ok := cutHeader(line)
	if !ok {
		return false
	}
	switch {
	case strings.EqualFold(name, "Content-Length"):
		if h.Length >= 0 {
			return false
		}
		h.Length, ok = number(value)
		return ok
	case strings.EqualFold(name, "Content-Type"):
		if h.ContentType != "" {
			return false
		}
		h.ContentType = value
	case strings.EqualFold(name, "Transfer-Encoding"), strings.EqualFold(name, "Connection"),
		strings.EqualFold(name, "Upgrade"), strings.EqualFold(name, "Trailer"):
		return false
	}
	return true
}
