package api

// An internal test: it holds the parsers and writers of the hot calls to what
// the generated code does.

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

func TestParseFormat(t *testing.T) {
	for header, want := range map[string]struct {
		f  format
		ok bool
	}{
		"":                                       {formatJSON, true},
		"*/*":                                    {formatJSON, true},
		"application/*":                          {formatJSON, true},
		"application/json":                       {formatJSON, true},
		"Application/JSON; charset=utf-8":        {formatJSON, true},
		" application/protobuf ":                 {formatProtobuf, true},
		"application/protobuf, application/json": {formatProtobuf, true},
		"application/json,application/protobuf;q=.9": {formatJSON, true},
		"application/x-protobuf":                     {formatJSON, false},
		"text/plain":                                 {formatJSON, false},
		"json":                                       {formatJSON, false},
	} {
		f, _, ok := parseFormat(header)
		if f != want.f || ok != want.ok {
			t.Errorf("%q is %d, %v; want %d, %v", header, f, ok, want.f, want.ok)
		}
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{
		5_000_000: "5.0MB", 512: "512B", 512_000: "500.0KiB", 64_000_000: "61.0MiB", 256_000: "250.0KiB", 1000: "1.0kB",
		1 << 20: "1.0MiB", 100: "100B",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}

// produceReference is what decodeProduce does, by the generated code.
func produceReference(body []byte) (*produceCall, error) {
	var m pb.QueueProduceRequest
	if err := decode(formatProtobuf, body, &m); err != nil {
		return nil, err
	}
	p := &produceCall{queue: m.QueueName, timeout: m.RequestTimeout}
	for _, it := range m.Items {
		payload := it.Bytes
		if len(payload) == 0 {
			payload = []byte(it.Utf8)
		}
		p.items = append(p.items, queue.Item{
			SourceID: it.SourceId, Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference,
			Payload: payload, EnqueueAt: timeOf(it.EnqueueAt),
		})
	}
	return p, nil
}

func compareProduce(t *testing.T, body []byte) {
	t.Helper()
	want, wantErr := produceReference(body)
	const most = 3
	if wantErr == nil && len(want.items) > most {
		want.items, want.more = want.items[:most], len(want.items)-most
	}
	got, err := decodeProduce(formatProtobuf, bytes.Clone(body), countItems(formatProtobuf, body), most, &slabs[queue.Item]{})
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("decode %x: %v, the generated code: %v", body, err, wantErr)
	}
	if err != nil {
		if code, _ := answer(err); code != codeContent {
			t.Fatalf("a body that cannot be parsed answers %d", code)
		}
		return
	}
	for _, p := range []*produceCall{got, want} {
		for i := range p.items {
			if len(p.items[i].Payload) == 0 {
				p.items[i].Payload = nil
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("decode %x:\n%+v\nthe generated code:\n%+v", body, got, want)
	}
}

func produceSeeds(t testing.TB) [][]byte {
	m := &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1m", Items: []*pb.QueueProduceItem{
		{}, {Bytes: []byte{0, 1}, Utf8: "not taken"},
		{Utf8: "tëxt", Kind: "k", Encoding: "e", Reference: "r", SourceId: "s", EnqueueAt: timestamppb.New(time.Unix(5, 7))},
	}}
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	item := func(fields ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), fields)
	}
	return [][]byte{
		nil, body, body[:len(body)-1], append(bytes.Clone(body), body...),
		{0x0a, 1, 0xff},              // A name that is not UTF-8.
		{0x08, 1},                    // A name of the wrong wire type.
		{0x0b, 0x0c}, {0x0b}, {0x0c}, // Groups.
		{0x0a, 0x80}, {0x00}, {0xff, 0xff}, // Cut off.
		item(0x32, 1, 0xff), item(0x22, 2, 8, 1, 0x22, 2, 16, 1), item(0x22, 2, 16, 0xff),
		item(0x22, 11, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0), item(0x2a, 1, 7, 0x2a, 0),
	}
}

func TestDecodeProduceIsTheGeneratedCode(t *testing.T) {
	for _, body := range produceSeeds(t) {
		compareProduce(t, body)
	}
}

func FuzzDecodeProduce(f *testing.F) {
	for _, body := range produceSeeds(f) {
		f.Add(body)
	}
	f.Fuzz(compareProduce)
}

func compareComplete(t *testing.T, body []byte) {
	t.Helper()
	var want pb.QueueCompleteRequest
	wantErr := decode(formatProtobuf, body, &want)
	got, err := decodeComplete(formatProtobuf, body)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("decode %x: %v, the generated code: %v", body, err, wantErr)
	}
	if err != nil {
		return
	}
	if got.queue != want.QueueName || got.partition != int(want.Partition) || got.timeout != want.RequestTimeout ||
		strings.Join(got.ids, "\n") != strings.Join(want.Ids, "\n") || len(got.ids) != len(want.Ids) {
		t.Fatalf("decode %x:\n%+v\nthe generated code:\n%+v", body, got, &want)
	}
}

func completeSeeds(t testing.TB) [][]byte {
	body, err := proto.Marshal(&pb.QueueCompleteRequest{QueueName: "q", Partition: -3, RequestTimeout: "1m", Ids: []string{"a", "", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{nil, body, body[:5], append(bytes.Clone(body), body...), {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, {0x22, 1, 0x80}}
}

func TestDecodeCompleteIsTheGeneratedCode(t *testing.T) {
	for _, body := range completeSeeds(t) {
		compareComplete(t, body)
	}
}

func FuzzDecodeComplete(f *testing.F) {
	for _, body := range completeSeeds(f) {
		f.Add(body)
	}
	f.Fuzz(compareComplete)
}

// A body of millions of items without content is refused for their number, and
// takes little more memory than itself.
func TestManyItemsTakeLittleMemory(t *testing.T) {
	const n = 1_000_000
	for f, body := range map[format][]byte{
		formatProtobuf: bytes.Repeat([]byte{0x1a, 0}, n),
		formatJSON:     []byte(`{"items":[{}` + strings.Repeat(",{}", n-1) + `]}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		count := countItems(f, body)
		p, err := decodeProduce(f, body, count, 1000, &slabs[queue.Item]{})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: %d bytes were allocated for a body of %d", f.contentType(), took, len(body))
		}
		switch {
		case count != n:
			t.Errorf("%s: %d items were counted, want %d", f.contentType(), count, n)
		case f == formatProtobuf && (err != nil || len(p.items) != 1000 || p.more != n-1000):
			t.Errorf("%v and %+v", err, p)
		case f == formatJSON && (err == nil || err.Error() != "items is invalid; max_produce_batch_size is 1000 but received 1000000"):
			t.Errorf("error %v", err)
		}
	}
}

func TestCountObjects(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "{}": 1, `{"items":[{},{"utf8":"{"},{"utf8":"\"{"},{"utf8":"\\"},{}]}`: 6, `"`: 0, `\`: 0,
	} {
		if got := countObjects([]byte(text)); got != want {
			t.Errorf("%s: %d objects, want %d", text, got, want)
		}
	}
}

func TestPayloadsCannotGrowIntoEachOther(t *testing.T) {
	body, err := proto.Marshal(&pb.QueueProduceRequest{Items: []*pb.QueueProduceItem{
		{Bytes: []byte("first")}, {Bytes: []byte("second")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := decodeProduce(formatProtobuf, body, countItems(formatProtobuf, body), 1000, &slabs[queue.Item]{})
	if err != nil {
		t.Fatal(err)
	}
	_ = append(p.items[0].Payload, strings.Repeat("x", 20)...)
	if got := string(p.items[1].Payload); got != "second" {
		t.Errorf("the second payload became %q", got)
	}
}

// leaseBytes returns the reply as it goes over the wire, whose length is known
// before.
func leaseBytes(f format, name string, res *queue.LeaseResult) []byte {
	g := encodeLease(f, name, res, &slabs[byte]{})
	var b bytes.Buffer
	if n, err := g.WriteTo(&b); err != nil || n != int64(g.size()) || b.Len() != g.size() {
		panic(fmt.Sprintf("%d bytes were written of %d: %v", n, g.size(), err))
	}
	return b.Bytes()
}

// compareLease writes a lease in both formats and reads it with the generated
// code.
func compareLease(t *testing.T, name string, res *queue.LeaseResult) {
	t.Helper()
	want := &pb.QueueLeaseResponse{QueueName: name, Partition: int32(res.Partition)}
	for i := range res.Items {
		it := &res.Items[i]
		want.Items = append(want.Items, &pb.QueueLeaseItem{
			Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference, Id: it.ID.String(), Attempts: it.Attempts,
			LeaseDeadline: stamp(it.LeaseDeadline), Bytes: it.Payload,
		})
	}
	var fromJSON, fromProtobuf pb.QueueLeaseResponse
	data := leaseBytes(formatJSON, name, res)
	if err := protojson.Unmarshal(data, &fromJSON); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if !proto.Equal(&fromJSON, want) {
		t.Fatalf("JSON %s\nis  %v\nwant %v", data, &fromJSON, want)
	}
	for i := range res.Items {
		want.Items[i].SourceId = res.Items[i].SourceID // In protobuf only.
	}
	data = leaseBytes(formatProtobuf, name, res)
	if err := proto.Unmarshal(data, &fromProtobuf); err != nil {
		t.Fatalf("%x: %v", data, err)
	}
	if !proto.Equal(&fromProtobuf, want) {
		t.Fatalf("protobuf is %v\nwant %v", &fromProtobuf, want)
	}
}

func leaseItem(kind string, payload []byte, attempts int32, deadline time.Time) queue.Item {
	return queue.Item{
		ID: queue.NewID(rand.Uint64(), queue.Tag{1, 2, 3}), Kind: kind, Encoding: kind + "\u2028é", Reference: "r" + kind,
		Payload: payload, Attempts: attempts, LeaseDeadline: deadline, SourceID: strings.Repeat("s", len(payload)%300),
	}
}

func TestEncodeLeaseIsReadByTheGeneratedCode(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC)
	compareLease(t, "q", &queue.LeaseResult{Partition: 3, Items: []queue.Item{
		leaseItem("", nil, 0, time.Time{}),
		leaseItem("\x00\x01\x1f\"\\/\x7f\t\n", []byte("x"), 1, at),
		leaseItem("k", bytes.Repeat([]byte("long"), 100_000), 70000, at.Add(time.Millisecond)),
		leaseItem("k", []byte{0xff, 0}, -1, at.Add(time.Microsecond)),
		leaseItem("k", nil, 1, at.Add(time.Nanosecond)),
		leaseItem("k", nil, 1, time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)),
		leaseItem("k", nil, 1, time.Date(1969, 1, 1, 0, 0, 0, 5, time.UTC)),
	}})
	compareLease(t, "", &queue.LeaseResult{})
	for _, size := range []int{apart - 1, apart, apart + 1, 3*base64Piece*4 + 2} {
		large := bytes.Repeat([]byte{0xfb}, size)
		compareLease(t, "q", &queue.LeaseResult{Items: []queue.Item{leaseItem("k", large, 1, at), leaseItem("k", large, 1, at)}})
	}
}

// A reply takes no second copy of what is large in it.
func TestEncodeLeaseTakesLittleMemory(t *testing.T) {
	res := &queue.LeaseResult{Items: []queue.Item{{Payload: make([]byte, 5_000_000)}}}
	for _, f := range []format{formatJSON, formatProtobuf} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g := encodeLease(f, "q", res, &slabs[byte]{})
		if _, err := g.WriteTo(io.Discard); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
			t.Errorf("%s: %d bytes were allocated for a reply of 5 MB", f.contentType(), n)
		}
	}
}

func TestEncodeLeaseJSONSurvivesWhatIsNotUTF8(t *testing.T) {
	data := leaseBytes(formatJSON, "q\xff", &queue.LeaseResult{Items: []queue.Item{leaseItem("\xc3(", nil, 1, time.Unix(0, 0))}})
	var m pb.QueueLeaseResponse
	if err := protojson.Unmarshal(data, &m); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if m.QueueName != "q\uFFFD" {
		t.Errorf("the name became %q", m.QueueName)
	}
}

func FuzzEncodeLease(f *testing.F) {
	f.Add("q", "kind\x00", []byte("payload"), int32(1), int64(1764000000), int64(123456789))
	f.Fuzz(func(t *testing.T, name, kind string, payload []byte, attempts int32, sec, nsec int64) {
		if !utf8.ValidString(name) || !utf8.ValidString(kind) {
			return
		}
		at := inCalendar(time.Unix(sec%1e12, nsec%1e9))
		compareLease(t, name, &queue.LeaseResult{Items: []queue.Item{leaseItem(kind, payload, attempts, at)}})
	})
}

func TestDecodeDepthAndTimes(t *testing.T) {
	for name, tc := range map[string]struct {
		f    format
		m    proto.Message
		body []byte
	}{
		"deep unknown JSON": {formatJSON, &pb.QueueProduceRequest{}, []byte(`{"a":` + strings.Repeat("[", 100_000))},
		"deep group":        {formatProtobuf, &pb.QueueProduceRequest{}, bytes.Repeat([]byte{0x7b}, 100_000)},
		"no such nanos":     {formatProtobuf, &pb.QueueRetryRequest{}, []byte{0x1a, 4, 0x12, 2, 16, 0}},
	} {
		if name == "no such nanos" {
			body, err := proto.Marshal(&pb.QueueRetryRequest{Items: []*pb.QueueRetryItem{{RetryAt: &timestamppb.Timestamp{Nanos: -1}}}})
			if err != nil {
				t.Fatal(err)
			}
			tc.body = body
		}
		err := decode(tc.f, tc.body, tc.m)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if code, msg := answer(err); code != codeContent || strings.Contains(msg, "\u00a0") {
			t.Errorf("%s: %d %q", name, code, msg)
		}
	}
}

func benchItems() []queue.Item {
	items := make([]queue.Item, 100)
	for i := range items {
		items[i] = leaseItem("reading", bytes.Repeat([]byte(`{"a":1} `), 32), 1, time.Unix(1764000000, 123456789))
	}
	return items
}

func BenchmarkDecodeProduce(b *testing.B) {
	m := &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1m"}
	for _, it := range benchItems() {
		m.Items = append(m.Items, &pb.QueueProduceItem{Bytes: it.Payload, Kind: it.Kind})
	}
	for f, encode := range map[format]func(proto.Message) ([]byte, error){formatJSON: protojson.Marshal, formatProtobuf: proto.Marshal} {
		body, err := encode(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(f.contentType(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := decodeProduce(f, body, countItems(f, body), 1000, &slabs[queue.Item]{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeComplete(b *testing.B) {
	req := &pb.QueueCompleteRequest{QueueName: "readings", RequestTimeout: "1m"}
	for i := range 100 {
		req.Ids = append(req.Ids, queue.NewID(uint64(i), queue.Tag{}).String())
	}
	body, err := proto.Marshal(req)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if p, err := decodeCompleteProtobuf(body); err != nil || len(p.ids) != len(req.Ids) {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeLease(b *testing.B) {
	res := &queue.LeaseResult{Items: benchItems()}
	for _, f := range []format{formatJSON, formatProtobuf} {
		b.Run(f.contentType(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.SetBytes(int64(encodeLease(f, "q", res, &slabs[byte]{}).size()))
			}
		})
	}
}
