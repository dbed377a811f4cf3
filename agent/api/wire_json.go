package api

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// The generated parser of JSON holds a text three times: as the body, as strings,
// and decoded. So the payloads of a large body are taken out of it first. They are
// decoded where they stand, since that makes none of them longer, and the parser
// gets what is left, with an empty text in the place of each.

// longText is from what length on a payload is taken out of a large body.
const longText = 256

// text is a payload as it stands in a body, without its quotes.
type text struct {
	item       int // which
	utf8       bool
	start, end int
}

// decodeLargeProduce is decodeProduce for a large body in JSON, which it changes.
func decodeLargeProduce(body []byte, long int, room *slabs[queue.Item]) (*produceCall, error) {
	texts := payloadTexts(body, long)
	rest := make([]byte, 0, restSize(body, texts))
	begin := 0
	for i := range texts {
		rest = append(rest, body[begin:texts[i].start]...)
		begin = texts[i].end
	}
	rest = append(rest, body[begin:]...)
	var m pb.QueueProduceRequest
	if err := decode(formatJSON, rest, &m); err != nil {
		return nil, err
	}
	p := produceCallOf(&m, room)
	for i := range texts {
		t := &texts[i]
		payload, err := t.decode(body[t.start:t.end])
		if err != nil {
			return nil, err
		}
		it := m.Items[t.item]
		if len(payload) > 0 && (!t.utf8 || len(it.Bytes) == 0) { // Bytes count before utf8.
			p.items[t.item].Payload = payload
		}
		if !t.utf8 {
			it.Bytes = payload
		}
	}
	return p, nil
}

// produceCallOf returns what a message asks for.
func produceCallOf(m *pb.QueueProduceRequest, room *slabs[queue.Item]) *produceCall {
	p := &produceCall{queue: m.QueueName, timeout: m.RequestTimeout, items: room.take(len(m.Items))[:len(m.Items)]}
	for i, it := range m.Items {
		payload := it.Bytes
		if len(payload) == 0 {
			payload = []byte(it.Utf8)
		}
		p.items[i] = queue.Item{
			SourceID:  it.SourceId,
			Encoding:  it.Encoding,
			Kind:      it.Kind,
			Reference: it.Reference,
			Payload:   payload,
			EnqueueAt: timeOf(it.EnqueueAt),
		}
	}
	return p
}

func restSize(body []byte, texts []text) int {
	n := len(body)
	for i := range texts {
		n -= texts[i].end - texts[i].start
	}
	return n
}

// payloadTexts finds the payloads of at least long bytes in the body of a produce.
// In a body that is not well-formed it may find anything within the text of a
// string; the parser refuses the rest then as it would have refused the whole.
func payloadTexts(body []byte, long int) (texts []text) {
	depth, item := 0, -1
	var root, key []byte // keys of the outermost object, and of the object at hand
	var last []byte      // the string that ended last
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			depth++
			if depth == 2 {
				root = key
			}
			if depth == 3 {
				item++
			}
			key = nil
		case '}', ']':
			depth--
			key = nil
		case ':':
			key = last
		case ',':
			key = nil
		case '"':
			start := i + 1
			for i = start; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			end := min(i, len(body))
			last = body[start:end]
			isText := string(key) == "utf8"
			if depth == 3 && string(root) == "items" && (isText || string(key) == "bytes") && end-start >= long && end < len(body) {
				texts = append(texts, text{item: item, utf8: isText, start: start, end: end})
			}
		}
	}
	return texts
}

// decode returns the payload, in the memory of b.
func (t *text) decode(b []byte) ([]byte, error) {
	b, err := unescape(b)
	if err != nil || t.utf8 {
		return b, err
	}
	// As the generated parser takes it: of both alphabets, padded or not.
	enc := base64.StdEncoding
	if bytes.ContainsAny(b, "-_") {
		enc = base64.URLEncoding
	}
	if len(b)%4 != 0 {
		enc = enc.WithPadding(base64.NoPadding)
	}
	b = withoutLines(b)
	n := 0
	var piece [3 << 10]byte // Decoding into the memory that it reads is not promised to work.
	for begin := 0; begin < len(b); begin += 4 << 10 {
		part := b[begin:min(begin+4<<10, len(b))]
		m, err := enc.Decode(piece[:], part)
		if err != nil || m < len(part)/4*3 && begin+len(part) < len(b) {
			return nil, contentError("a value of bytes is not base64")
		}
		n += copy(b[n:], piece[:m])
	}
	return b[:n:n], nil
}

// withoutLines takes out the ends of lines, which base64 may have anywhere.
func withoutLines(b []byte) []byte {
	if bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	out := b[:0]
	for _, c := range b {
		if c != '\n' && c != '\r' {
			out = append(out, c)
		}
	}
	return out
}

// unescape decodes the text of a JSON string in its own memory.
func unescape(b []byte) ([]byte, error) {
	out := b[:0]
	for len(b) > 0 {
		n := 0
		for n < len(b) && b[n] != '\\' && b[n] >= ' ' {
			n++
		}
		out = append(out, b[:n]...)
		if b = b[n:]; len(b) == 0 {
			break
		}
		if b[0] != '\\' || len(b) < 2 {
			return nil, contentError("a string has a control character or ends in an escape")
		}
		c, rest := b[1], b[2:]
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b', 'f', 'n', 'r', 't':
			out = append(out, "\b\f\n\r\t"[bytes.IndexByte([]byte("bfnrt"), c)])
		case 'u':
			r, size := runeOf(b)
			if size == 0 {
				return nil, contentError("a string has a wrong escape")
			}
			out, rest = utf8.AppendRune(out, r), b[size:]
		default:
			return nil, contentError("a string has a wrong escape")
		}
		b = rest
	}
	if !utf8.Valid(out) {
		return nil, contentError("a string contains invalid UTF-8")
	}
	return out[:len(out):len(out)], nil
}

// runeOf reads an escaped character such as \u00e4, or two that belong together. The size is 0 when that
// is no character.
func runeOf(b []byte) (r rune, size int) {
	r = hex4(b)
	if !utf16.IsSurrogate(r) {
		if r < 0 {
			return 0, 0
		}
		return r, 6
	}
	if r = utf16.DecodeRune(r, hex4(b[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 returns the number of an escape such as \u00e4, or -1.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
