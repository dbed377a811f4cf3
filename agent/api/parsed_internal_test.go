package api

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// What parsing takes is estimated well enough: never at less than half of what is
// in memory then.
func TestParsedSize(t *testing.T) {
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 50_000
	ids := make([]string, n)
	for i := range ids {
		ids[i] = "x"
	}
	binary, err := proto.Marshal(&pb.QueueCompleteRequest{Ids: ids})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    format
		body []byte
		m    proto.Message
	}{
		"retry in JSON":        {formatJSON, []byte(`{"items":[{}` + strings.Repeat(",{}", n) + `]}`), &pb.QueueRetryRequest{}},
		"retry in protobuf":    {formatProtobuf, bytes.Repeat([]byte{0x1a, 0}, n), &pb.QueueRetryRequest{}},
		"import in protobuf":   {formatProtobuf, bytes.Repeat([]byte{0x1a, 0}, n), &pb.StorageItemsImportRequest{}},
		"complete in JSON":     {formatJSON, []byte(`{"ids":["x"` + strings.Repeat(`,"x"`, n) + `]}`), &pb.QueueCompleteRequest{}},
		"complete in protobuf": {formatProtobuf, binary, &pb.QueueCompleteRequest{}},
	} {
		before := live()
		if err := decode(c.f, c.body, c.m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		took := int64(live() - before)
		if guess := parsedSize(c.f, c.body) + int64(len(c.body)); guess < took/2 {
			t.Errorf("%s: estimated at %d bytes, %d are taken", name, guess, took)
		}
		runtime.KeepAlive(c.m)
	}
}

// A call that parses into more than there is room for has it to itself; others wait
// and are refused.
func TestParsedBodiesShareTheBudget(t *testing.T) {
	h := New(Options{MaxInFlight: 1 << 20, BodyTimeout: 1})
	body := []byte(`{"items":[{}` + strings.Repeat(",{}", 10_000) + `]}`)
	first, second := newCall(h), newCall(h)
	if err := first.awaitParsed(formatJSON, body, 1); err != nil {
		t.Fatal(err)
	}
	if n := h.budget.InFlight(); n > h.budget.Limit() || n < h.budget.Limit()*3/4 {
		t.Errorf("%d of %d bytes are in flight", n, h.budget.Limit())
	}
	if err := second.awaitParsed(formatJSON, body, 1); !errors.Is(err, queue.ErrOverloaded) {
		t.Errorf("a second one: %v", err)
	}
	if err := second.awaitParsed(formatJSON, []byte(`{"queue_name":"q"}`), 1); err != nil {
		t.Errorf("a small one: %v", err)
	}
	first.release()
	if err := second.awaitParsed(formatJSON, body, 1); err != nil {
		t.Errorf("after the first: %v", err)
	}
}
