package api

import (
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kapetan-io/querator-edge/queue"
)

// This file writes the reply of queue.lease, without a generated message in
// between: a lease of a thousand items would otherwise be built three times.

// itemFrame bounds what an item takes in the protobuf form beside its texts and
// payload: tags, lengths, id, attempts and lease deadline.
const itemFrame = 96

// fieldLeasedSource is the number of the one field that Querator's items do not
// have.
const fieldLeasedSource = 1000

func leaseSizeProtobuf(name string, res *queue.LeaseResult) int {
	size := len(name) + 32
	for i := range res.Items {
		size += leaseItemSize(&res.Items[i]) + itemFrame
	}
	return size
}

// leaseItemSize is what an item takes of the buffer, but for its frame.
func leaseItemSize(it *queue.Item) int {
	return len(it.Encoding) + len(it.Kind) + len(it.Reference) + len(it.SourceID) + joinedSize(it)
}

// joinedSize is how many bytes of the payload are copied.
func joinedSize(it *queue.Item) int {
	if len(it.Payload) >= apart {
		return 0
	}
	return len(it.Payload)
}

func appendLeaseProtobuf(b []byte, g *gathered, name string, res *queue.LeaseResult) []byte {
	b = appendTextField(b, 1, name)
	b = appendIntField(b, 2, int64(res.Partition))
	var frame [itemFrame]byte
	for i := range res.Items {
		it := &res.Items[i]
		// What stands between the texts and the payload is of known size, so
		// that the length of the item can be written before it.
		mid := appendTextField(frame[:0], 4, it.ID.String())
		mid = appendIntField(mid, 5, int64(it.Attempts))
		mid = appendTimeField(mid, 6, it.LeaseDeadline)
		size := textFieldSize(it.Encoding) + textFieldSize(it.Kind) + textFieldSize(it.Reference) + len(mid)
		if len(it.Payload) > 0 {
			size += 1 + protowire.SizeBytes(len(it.Payload))
		}
		if it.SourceID != "" {
			size += protowire.SizeTag(fieldLeasedSource) + protowire.SizeBytes(len(it.SourceID))
		}
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendTextField(b, 1, it.Encoding)
		b = appendTextField(b, 2, it.Kind)
		b = appendTextField(b, 3, it.Reference)
		b = append(b, mid...)
		if len(it.Payload) > 0 {
			b = protowire.AppendTag(b, 7, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(len(it.Payload)))
			b = g.payload(b, it.Payload)
		}
		b = appendTextField(b, fieldLeasedSource, it.SourceID)
	}
	return b
}

// textFieldSize is the size of a field with a number below 16.
func textFieldSize(s string) int {
	if s == "" {
		return 0
	}
	return 1 + protowire.SizeBytes(len(s))
}

func appendTextField(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendIntField(b []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
}

func appendTimeField(b []byte, num protowire.Number, t time.Time) []byte {
	t = inCalendar(t)
	var buf [24]byte
	v := appendIntField(buf[:0], 1, t.Unix())
	v = appendIntField(v, 2, int64(t.Nanosecond()))
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func leaseSizeJSON(name string, res *queue.LeaseResult) int {
	size := len(name) + 64
	for i := range res.Items {
		it := &res.Items[i]
		size += leaseItemSize(it) + joinedSize(it)/2 + 2*itemFrame
	}
	return size
}

func appendLeaseJSON(b []byte, g *gathered, name string, res *queue.LeaseResult) []byte {
	b = append(b, `{"queue_name":`...)
	b = appendJSONString(b, name)
	if res.Partition != 0 {
		b = append(b, `,"partition":`...)
		b = strconv.AppendInt(b, int64(res.Partition), 10)
	}
	b = append(b, `,"items":[`...)
	for i := range res.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendLeaseItemJSON(b, g, &res.Items[i])
	}
	return append(b, `]}`...)
}

func appendLeaseItemJSON(b []byte, g *gathered, it *queue.Item) []byte {
	b = append(b, '{')
	b = appendJSONField(b, `"encoding":`, it.Encoding)
	b = appendJSONField(b, `"kind":`, it.Kind)
	b = appendJSONField(b, `"reference":`, it.Reference)
	b = append(b, `"id":"`...)
	b = it.ID.AppendText(b)
	b = append(b, '"')
	if it.Attempts != 0 {
		b = append(b, `,"attempts":`...)
		b = strconv.AppendInt(b, int64(it.Attempts), 10)
	}
	b = append(b, `,"lease_deadline":"`...)
	b = appendJSONTime(b, it.LeaseDeadline)
	b = append(b, '"')
	if len(it.Payload) > 0 {
		b = append(b, `,"bytes":"`...)
		b = g.payload(b, it.Payload)
		b = append(b, '"')
	}
	return append(b, '}')
}

// appendJSONField writes a text that is not empty, and a comma behind it.
func appendJSONField(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	b = append(b, key...)
	b = appendJSONString(b, s)
	return append(b, ',')
}

// appendJSONTime writes a time with 0, 3, 6 or 9 digits behind the second.
func appendJSONTime(b []byte, t time.Time) []byte {
	t = inCalendar(t).UTC()
	layout := "2006-01-02T15:04:05.000000000Z"
	switch ns := t.Nanosecond(); {
	case ns == 0:
		layout = "2006-01-02T15:04:05Z"
	case ns%1e6 == 0:
		layout = "2006-01-02T15:04:05.000Z"
	case ns%1e3 == 0:
		layout = "2006-01-02T15:04:05.000000Z"
	}
	return t.AppendFormat(b, layout)
}

const hexDigits = "0123456789abcdef"

// appendJSONString writes s in quotes. Bytes that are no UTF-8 become U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		b = utf8.AppendRune(b, r) // RuneError is U+FFFD.
		i += n
	}
	return append(b, '"')
}
