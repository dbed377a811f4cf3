package api

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// format is how a body is written.
type format int

const (
	formatJSON format = iota
	formatProtobuf
)

func (f format) contentType() string {
	if f == formatProtobuf {
		return "application/protobuf"
	}
	return "application/json"
}

// parseFormat reads a Content-Type or Accept header. It also returns the part
// of the value that it looked at.
func parseFormat(header string) (f format, value string, ok bool) {
	value = header
	if i := strings.IndexAny(value, ";,"); i >= 0 {
		value = value[:i]
	}
	value = strings.TrimSpace(value)
	switch strings.ToLower(value) {
	case "", "*/*", "application/*", "application/json":
		return formatJSON, value, true
	case "application/protobuf":
		return formatProtobuf, value, true
	}
	return formatJSON, value, false
}

// maxDepth bounds how deep the messages of a body are nested; those of the API
// are at most three deep.
const maxDepth = 16

// decode parses a body. Its error is the answer.
func decode(f format, body []byte, m proto.Message) error {
	var err error
	if f == formatProtobuf {
		err = proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}.Unmarshal(body, m)
	} else {
		err = protojson.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(body, m)
	}
	if err != nil {
		return parseError(err)
	}
	if f == formatProtobuf {
		return checkTimes(m)
	}
	return nil // The JSON parser takes no time that is not one.
}

// checkTimes refuses times that no calendar has; the binary form can hold them.
func checkTimes(m proto.Message) error {
	switch m := m.(type) {
	case *pb.QueueProduceRequest:
		for _, it := range m.Items {
			if err := checkTime(it.EnqueueAt); err != nil {
				return err
			}
		}
	case *pb.QueueRetryRequest:
		for _, it := range m.Items {
			if err := checkTime(it.RetryAt); err != nil {
				return err
			}
		}
	case *pb.StorageItemsImportRequest:
		for _, it := range m.Items {
			for _, ts := range []*timestamppb.Timestamp{it.LeaseDeadline, it.ExpireDeadline, it.CreatedAt} {
				if err := checkTime(ts); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkTime(ts *timestamppb.Timestamp) error {
	if ts == nil {
		return nil
	}
	if err := ts.CheckValid(); err != nil {
		return parseError(err)
	}
	return nil
}

// timeOf returns the time of a field, which is zero when it is absent.
func timeOf(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}

// The times that a reply can hold.
var (
	firstTime = time.Time{}
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

func inCalendar(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t
}

// stamp returns the field of a time; the zero time is written, not left out.
func stamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(inCalendar(t)) }

// produceCall is a parsed queue.produce.
type produceCall struct {
	queue   string
	timeout string
	items   []queue.Item
	more    int // items beyond the greatest batch, which are only counted
}

// decodeProduce parses the body of queue.produce, which has about so many items
// (countItems), and keeps no more than most of them. Payloads may point into body,
// which must not be changed afterwards. The items are in memory that room lends.
func decodeProduce(f format, body []byte, count, most int, room *slabs[queue.Item]) (*produceCall, error) {
	if f == formatProtobuf {
		return decodeProduceProtobuf(body, count, most, room)
	}
	if count > manyBatches*most {
		return nil, badRequest("items is invalid; max_produce_batch_size is %d but received %d", most, count)
	}
	if len(body) > smallBody {
		return decodeLargeProduce(body, longText, room)
	}
	var m pb.QueueProduceRequest
	if err := decode(f, body, &m); err != nil {
		return nil, err
	}
	return produceCallOf(&m, room), nil
}

// manyBatches is how many times the greatest batch a body in JSON may have of items
// to be parsed at all; one with fewer is refused by the queue.
const manyBatches = 2

// countItems returns how many items the body of a produce has, as far as it can be
// parsed: what they take of memory has nothing to do with how long the body is.
func countItems(f format, body []byte) int {
	if f == formatProtobuf {
		return countItemsProtobuf(body)
	}
	return countObjects(body) - 1 // The outer one.
}

// countObjects returns how many objects a JSON text begins.
func countObjects(text []byte) (n int) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++ // In a string, or the text is wrong.
		case c == '"':
			quoted = !quoted
		case c == '{' && !quoted:
			n++
		}
	}
	return n
}

// completeCall is a parsed queue.complete.
type completeCall struct {
	queue     string
	partition int
	timeout   string
	ids       []string
}

// decodeComplete parses the body of queue.complete.
func decodeComplete(f format, body []byte) (*completeCall, error) {
	if f == formatProtobuf {
		return decodeCompleteProtobuf(body)
	}
	var m pb.QueueCompleteRequest
	if err := decode(f, body, &m); err != nil {
		return nil, err
	}
	return &completeCall{queue: m.QueueName, partition: int(m.Partition), timeout: m.RequestTimeout, ids: m.Ids}, nil
}

// encodeLease makes the reply of queue.lease, in a buffer of room, which may be given
// back.
func encodeLease(f format, name string, res *queue.LeaseResult, room *slabs[byte]) *gathered {
	g := &gathered{f: f}
	if f == formatProtobuf {
		g.b = appendLeaseProtobuf(room.take(leaseSizeProtobuf(name, res)), g, name, res)
	} else {
		g.b = appendLeaseJSON(room.take(leaseSizeJSON(name, res)), g, name, res)
	}
	return g
}
