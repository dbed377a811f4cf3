package badgerstore

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

func exampleHeader() segmentHeader {
	return segmentHeader{Format: oldestFormat, Queue: "q", Partition: 1, Tag: testTag, Span: 2, Boot: "b", Created: 1000}
}

func decodeHeaderOnly(value []byte) error {
	_, err := decodeHeader(value)
	return err
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []segmentHeader{
		exampleHeader(),
		{Format: oldestFormat},
		{Format: newestFormat},
		{Format: oldestFormat, Queue: strings.Repeat("ü/../\x00", 73), Partition: math.MaxInt32, Span: maxSpan, Boot: "x", Created: math.MinInt64},
	} {
		got, err := decodeHeader(appendHeader([]byte("before"), &h)[len("before"):])
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "header", got, h)
	}
}

func TestHeaderBroken(t *testing.T) {
	h := exampleHeader()
	value := appendHeader(nil, &h)
	checkBroken(t, value, decodeHeaderOnly)
	checkNewer(t, value, decodeHeaderOnly)
	checkGolden(t, "header", value)
	if err := decodeHeaderOnly(reseal(value, func(b []byte) { b[1] = newestFormat + 1 })); !errors.Is(err, queue.ErrFormat) {
		t.Fatalf("a newer store format: got %v, want an error that is ErrFormat", err)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	h := exampleHeader()
	value := appendHeader(nil, &h)
	f.Add(value[:len(value)-sumSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := decodeHeader(fuzzSeal(body))
		if err != nil {
			if !isBroken(err) {
				t.Fatalf("got %v, want an error that is ErrCorrupt or ErrFormat", err)
			}
			return
		}
		again, err := decodeHeader(appendHeader(nil, &h))
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "header", again, h)
	})
}
