package client

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Produce, lease and complete carry many items, so their messages are written and read here directly, without the
// generated structs between. Tests hold these functions to what the generated code does.

// Field numbers of the messages in agent/pb/queue.proto.
const (
	fieldQueue = 1 // of every request

	fieldProduceTimeout = 2
	fieldProduceItem    = 3

	fieldItemEncoding  = 1
	fieldItemKind      = 2
	fieldItemReference = 3
	fieldItemEnqueueAt = 4
	fieldItemBytes     = 5
	fieldItemSourceID  = 1000

	fieldLeasePartition = 2
	fieldLeaseItem      = 3

	fieldLeasedEncoding  = 1
	fieldLeasedKind      = 2
	fieldLeasedReference = 3
	fieldLeasedID        = 4
	fieldLeasedAttempts  = 5
	fieldLeasedDeadline  = 6
	fieldLeasedBytes     = 7
	fieldLeasedSource    = 1000

	fieldCompletePartition = 2
	fieldCompleteTimeout   = 3
	fieldCompleteID        = 4

	fieldSeconds = 1
	fieldNanos   = 2
)

// produceBody encodes a QueueProduceRequest.
func produceBody(queue, timeout string, items []ProduceItem) []byte {
	size := len(queue) + len(timeout) + 2*lengthSize
	for i := range items {
		size += itemSize(&items[i]) + lengthSize
	}
	b := make([]byte, 0, size)
	b = appendText(b, fieldQueue, queue)
	b = appendText(b, fieldProduceTimeout, timeout)
	for i := range items {
		it := &items[i]
		b = protowire.AppendTag(b, fieldProduceItem, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(itemSize(it)))
		b = appendText(b, fieldItemEncoding, it.Encoding)
		b = appendText(b, fieldItemKind, it.Kind)
		b = appendText(b, fieldItemReference, it.Reference)
		if !it.EnqueueAt.IsZero() {
			b = protowire.AppendTag(b, fieldItemEnqueueAt, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(timeSize(it.EnqueueAt)))
			b = appendTime(b, it.EnqueueAt)
		}
		if len(it.Payload) > 0 {
			b = protowire.AppendTag(b, fieldItemBytes, protowire.BytesType)
			b = protowire.AppendBytes(b, it.Payload)
		}
		b = appendText(b, fieldItemSourceID, it.SourceID)
	}
	return b
}

// lengthSize is the most that a tag of one byte and a length take.
const lengthSize = 1 + 5

func itemSize(it *ProduceItem) int {
	size := textSize(fieldItemEncoding, len(it.Encoding)) + textSize(fieldItemKind, len(it.Kind)) +
		textSize(fieldItemReference, len(it.Reference)) + textSize(fieldItemBytes, len(it.Payload)) +
		textSize(fieldItemSourceID, len(it.SourceID))
	if !it.EnqueueAt.IsZero() {
		size += textSize(fieldItemEnqueueAt, timeSize(it.EnqueueAt))
	}
	return size
}

// textSize is the size of a field with n bytes; one without any is left out.
func textSize(field protowire.Number, n int) int {
	if n == 0 {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeBytes(n)
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// timeSize and appendTime write a Timestamp. One of 1970-01-01T00:00:00Z sharp has no bytes; it is past, which is
// what a field that is left out means too.
func timeSize(t time.Time) int {
	return varintSize(fieldSeconds, uint64(t.Unix())) + varintSize(fieldNanos, uint64(t.Nanosecond()))
}

func varintSize(field protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeVarint(v)
}

func appendTime(b []byte, t time.Time) []byte {
	b = appendVarint(b, fieldSeconds, uint64(t.Unix()))
	return appendVarint(b, fieldNanos, uint64(t.Nanosecond()))
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

// completeBody encodes a QueueCompleteRequest.
func completeBody(queue string, partition int, timeout string, ids []string) []byte {
	size := len(queue) + len(timeout) + 4*lengthSize
	for _, id := range ids {
		size += len(id) + lengthSize
	}
	b := make([]byte, 0, size)
	b = appendText(b, fieldQueue, queue)
	b = appendVarint(b, fieldCompletePartition, uint64(int64(clampInt(partition))))
	b = appendText(b, fieldCompleteTimeout, timeout)
	for _, id := range ids {
		b = protowire.AppendTag(b, fieldCompleteID, protowire.BytesType)
		b = protowire.AppendString(b, id)
	}
	return b
}

// leaseItems decodes a QueueLeaseResponse. The payloads lie in body.
func leaseItems(queue string, body []byte) ([]Item, error) {
	var items []Item
	partition := 0
	err := eachField(body, func(f wireField) error {
		switch {
		case f.is(fieldLeasePartition, protowire.VarintType):
			partition = int(int32(f.number))
		case f.is(fieldLeaseItem, protowire.BytesType):
			if items == nil {
				// All items of a reply are about as large.
				items = make([]Item, 0, min(len(body)/(len(f.bytes)+1)+1, 1000))
			}
			items = append(items, Item{Queue: queue})
			it := &items[len(items)-1]
			if n := len(items); n > 1 { // Labels repeat: share their memory.
				last := &items[n-2]
				it.Encoding, it.Kind, it.Reference = last.Encoding, last.Kind, last.Reference
			}
			return leasedItem(it, f.bytes)
		}
		return nil
	})
	for i := range items {
		items[i].Partition = partition
	}
	return items, err
}

// leasedItem decodes one item; the labels in it are those to share if they are the same.
func leasedItem(it *Item, body []byte) error {
	encoding, kind, reference := it.Encoding, it.Kind, it.Reference
	it.Encoding, it.Kind, it.Reference = "", "", ""
	var seconds, nanos int64
	hasDeadline := false
	err := eachField(body, func(f wireField) error {
		switch {
		case f.is(fieldLeasedEncoding, protowire.BytesType):
			it.Encoding = shared(encoding, f.bytes)
		case f.is(fieldLeasedKind, protowire.BytesType):
			it.Kind = shared(kind, f.bytes)
		case f.is(fieldLeasedReference, protowire.BytesType):
			it.Reference = shared(reference, f.bytes)
		case f.is(fieldLeasedID, protowire.BytesType):
			it.ID = string(f.bytes)
		case f.is(fieldLeasedAttempts, protowire.VarintType):
			it.Attempts = int(int32(f.number))
		case f.is(fieldLeasedDeadline, protowire.BytesType):
			hasDeadline = true
			return parseTime(f.bytes, &seconds, &nanos)
		case f.is(fieldLeasedBytes, protowire.BytesType):
			it.Payload = f.bytes[:len(f.bytes):len(f.bytes)]
		case f.is(fieldLeasedSource, protowire.BytesType):
			it.SourceID = string(f.bytes)
		}
		return nil
	})
	if hasDeadline {
		it.LeaseDeadline = time.Unix(seconds, nanos).UTC()
	}
	return err
}

func parseTime(body []byte, seconds, nanos *int64) error {
	return eachField(body, func(f wireField) error {
		switch {
		case f.is(fieldSeconds, protowire.VarintType):
			*seconds = int64(f.number)
		case f.is(fieldNanos, protowire.VarintType):
			*nanos = int64(int32(f.number))
		}
		return nil
	})
}

// shared returns old if it has these bytes, else a new string.
func shared(old string, b []byte) string {
	if old == string(b) {
		return old
	}
	return string(b)
}

// wireField is one field of an encoded message. Those of other types than bytes and varint have no value here.
type wireField struct {
	num    protowire.Number
	kind   protowire.Type
	bytes  []byte
	number uint64
}

func (f *wireField) is(num protowire.Number, kind protowire.Type) bool {
	return f.num == num && f.kind == kind
}

// eachField calls do for each field of a message.
func eachField(body []byte, do func(f wireField) error) error {
	for len(body) > 0 {
		num, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return protowire.ParseError(n)
		}
		body = body[n:]
		f := wireField{num: num, kind: kind}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(body)
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(body)
		default:
			n = protowire.ConsumeFieldValue(num, kind, body)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		body = body[n:]
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}
