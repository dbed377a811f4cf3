package api

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/queue"
)

// The parsers of this file read the bodies of produce and complete straight
// into what the engine takes, and leave payloads where they are. They accept
// and refuse exactly what the generated code does, which a fuzz test holds them
// to: unknown fields and known ones of another wire type are skipped, of a
// field that comes twice the last counts.

var errWireFormat = errors.New("proto: cannot parse invalid wire-format data")

// fields walks over the fields of one message within a body.
type fields struct {
	body []byte
	text string // the body as text, for many strings to share; empty: each is a copy
	pos  int
	end  int
	fail error

	num        protowire.Number
	kind       protowire.Type
	start, fin int    // where the value of a field of BytesType lies
	varint     uint64 // the value of a field of VarintType
}

// next goes to the next field. It returns false at the end, with an error in
// fail if that is not where the message ends.
func (s *fields) next() bool {
	if s.fail != nil || s.pos >= s.end {
		return false
	}
	b := s.body[s.pos:s.end]
	num, kind, n := protowire.ConsumeTag(b)
	if n < 0 || num > protowire.MaxValidNumber {
		s.fail = errWireFormat
		return false
	}
	s.num, s.kind = num, kind
	m := 0
	switch kind {
	case protowire.VarintType:
		s.varint, m = protowire.ConsumeVarint(b[n:])
	case protowire.BytesType:
		var v []byte
		v, m = protowire.ConsumeBytes(b[n:])
		s.fin = s.pos + n + m
		s.start = s.fin - len(v)
	default:
		m = protowire.ConsumeFieldValue(num, kind, b[n:])
	}
	if m < 0 {
		s.fail = errWireFormat
		return false
	}
	s.pos += n + m
	return true
}

// is reports whether the field is this one.
func (s *fields) is(num protowire.Number, kind protowire.Type) bool {
	return s.num == num && s.kind == kind
}

// bytes returns the field's value within the body, nil when it is empty.
func (s *fields) bytes() []byte {
	if s.start == s.fin {
		return nil
	}
	// No append may grow a payload into what follows it.
	return s.body[s.start:s.fin:s.fin]
}

// string returns the field's value as text.
func (s *fields) string() string {
	if s.start == s.fin {
		return ""
	}
	if !utf8.Valid(s.body[s.start:s.fin]) {
		s.fail = errors.New("string field contains invalid UTF-8")
		return ""
	}
	if s.text != "" {
		return s.text[s.start:s.fin]
	}
	return string(s.body[s.start:s.fin])
}

// stringLike is string for a text that is often the same as prev, the one of
// the item before; then they share memory.
func (s *fields) stringLike(prev string) string {
	if string(s.body[s.start:s.fin]) == prev {
		return prev
	}
	return s.string()
}

// within returns a walk over the field's value.
func (s *fields) within() fields {
	return fields{body: s.body, pos: s.start, end: s.fin}
}

func decodeProduceProtobuf(body []byte, count, most int, room *slabs[queue.Item]) (*produceCall, error) {
	p := &produceCall{}
	if n := min(count, most); n > 0 {
		p.items = room.take(n)
	}
	s := fields{body: body, end: len(body)}
	var beyond, prev queue.Item
	for s.next() {
		switch {
		case s.is(1, protowire.BytesType):
			p.queue = s.string()
		case s.is(2, protowire.BytesType):
			p.timeout = s.string()
		case s.is(3, protowire.BytesType) && len(p.items) == most:
			p.more++
			beyond = queue.Item{}
			s.fail = decodeProduceItem(s.within(), &beyond, &prev) // It may be wrong all the same.
		case s.is(3, protowire.BytesType):
			p.items = append(p.items, queue.Item{})
			n := len(p.items) - 1
			s.fail = decodeProduceItem(s.within(), &p.items[n], &p.items[max(n-1, 0)])
		}
	}
	if s.fail != nil {
		return nil, parseError(s.fail)
	}
	return p, nil
}

// countItemsProtobuf returns how many items a body has, as far as it parses.
func countItemsProtobuf(body []byte) int {
	n := 0
	s := fields{body: body, end: len(body)}
	for s.next() {
		if s.is(3, protowire.BytesType) {
			n++
		}
	}
	return n
}

func decodeProduceItem(s fields, it, prev *queue.Item) error {
	var text []byte // utf8, which counts when bytes is empty
	var at *timestamppb.Timestamp
	for s.next() {
		switch {
		case s.is(1, protowire.BytesType):
			it.Encoding = s.stringLike(prev.Encoding)
		case s.is(2, protowire.BytesType):
			it.Kind = s.stringLike(prev.Kind)
		case s.is(3, protowire.BytesType):
			it.Reference = s.stringLike(prev.Reference)
		case s.is(4, protowire.BytesType):
			if at == nil {
				at = &timestamppb.Timestamp{}
			}
			// A message that comes twice is merged.
			s.fail = proto.UnmarshalOptions{Merge: true, DiscardUnknown: true}.Unmarshal(s.bytes(), at)
		case s.is(5, protowire.BytesType):
			it.Payload = s.bytes()
		case s.is(6, protowire.BytesType):
			if text = s.bytes(); !utf8.Valid(text) {
				s.fail = errors.New("string field contains invalid UTF-8")
			}
		case s.is(1000, protowire.BytesType):
			it.SourceID = s.string()
		}
	}
	if s.fail != nil {
		return s.fail
	}
	if it.Payload == nil {
		it.Payload = text
	}
	if at != nil {
		if err := at.CheckValid(); err != nil {
			return err
		}
		it.EnqueueAt = at.AsTime()
	}
	return nil
}

// mostShared bounds the body of which the ids share one copy. It is little else but ids; of
// a longer one each has its own.
const mostShared = 64 << 10

func decodeCompleteProtobuf(body []byte) (*completeCall, error) {
	p := &completeCall{}
	s := fields{body: body, end: len(body)}
	if len(body) <= mostShared {
		s.text, p.ids = string(body), make([]string, 0, len(body)/(queue.IDLength+2))
	}
	for s.next() {
		switch {
		case s.is(1, protowire.BytesType):
			p.queue = s.string()
		case s.is(2, protowire.VarintType):
			p.partition = int(int32(s.varint))
		case s.is(3, protowire.BytesType):
			p.timeout = s.string()
		case s.is(4, protowire.BytesType):
			p.ids = append(p.ids, s.string())
		}
	}
	if s.fail != nil {
		return nil, parseError(s.fail)
	}
	return p, nil
}
