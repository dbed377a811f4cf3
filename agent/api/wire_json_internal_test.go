package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// compareJSON decodes a body in pieces and by the generated code alone.
func compareJSON(t *testing.T, body []byte) {
	t.Helper()
	var m pb.QueueProduceRequest
	wantErr := decode(formatJSON, body, &m)
	got, err := decodeLargeProduce(bytes.Clone(body), 1, &slabs[queue.Item]{})
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("decode %q: %v, the generated code: %v", body, err, wantErr)
	}
	if err != nil {
		if code, _ := answer(err); code != codeContent {
			t.Fatalf("a body that cannot be parsed answers %d", code)
		}
		return
	}
	want := produceCallOf(&m, &slabs[queue.Item]{})
	for _, p := range []*produceCall{got, want} {
		for i := range p.items {
			if len(p.items[i].Payload) == 0 {
				p.items[i].Payload = nil
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("decode %q:\n%+v\nthe generated code:\n%+v", body, got, want)
	}
}

func jsonSeeds() []string {
	item := func(fields string) string {
		return `{"queue_name":"q","request_timeout":"1m","items":[{},{` + fields + `},{"utf8":"last"}]}`
	}
	return []string{
		``, `{}`, `[`, `{"items":[]}`, `{"items":null}`, `{"items":[null]}`, `{"items":{"bytes":"aaaa"}}`, `{"bytes":"aaaa"}`,
		item(`"bytes":"aGVsbG8="`), item(`"bytes":"aGVsbG8"`), item(`"bytes":"-_-_"`), item(`"bytes":"+/+/"`), item(`"bytes":"+_"`),
		item(`"bytes":"aGVs\nbG8="`), item(`"bytes":"\r\n"`), item(`"bytes":"a=aa"`), item(`"bytes":"aGVsbG8=aaaa"`), item(`"bytes":"a"`),
		item(`"bytes":"\u0061GVs"`), item(`"bytes":"\/\/\/\/"`), item(`"bytes":1`), item(`"bytes":["aaaa"]`), item(`"bytes":{"utf8":"x"}`),
		item(`"utf8":"tëxt"`), item(`"utf8":"a\"b\\\/\b\f\n\r\t"`), item(`"utf8":"\u00e9\ud83d\ude00"`), item(`"utf8":"\ud83d"`),
		item(`"utf8":"\ud83dxxxxxx"`), item(`"utf8":"\ude00\ud83d"`), item(`"utf8":"\u12"`), item(`"utf8":"\uzzzz"`), item(`"utf8":"\x"`),
		item("\"utf8\":\"\xff\""), item("\"utf8\":\"\xc3\\u00a9\""), item("\"utf8\":\"a\nb\""), item(`"utf8":"\`), item(`"utf8":"`),
		item(`"bytes":"","utf8":"text"`), item(`"utf8":"text","bytes":"aaaa"`), item(`"bytes":"aaaa","utf8":"text"`), item(`"bytes":"\n","utf8":"text"`),
		item(`"bytes":"aaaa","bytes":"aaaa"`), item(`"\u0062ytes":"aaaa"`), item(`"utf8" : "spaces" , "kind":"{\"bytes\":\"aaaa\"}"`),
		item(`"kind":"bytes","reference":"utf8"`), item(`"utf8":"{[,:]}"`), `{"items":[{"utf8":"a"}],"items":[{"utf8":"b"}]}`,
		`{"queue_name":"\"items\":[{","items":[{"utf8":"a"},{"utf8":"b"}]}`, `{"items":[{"utf8":"a"}]}x`, `{"x":[{}],"items":[{"utf8":"a"}]}`,
	}
}

func TestDecodeLargeProduceIsTheGeneratedCode(t *testing.T) {
	for _, body := range jsonSeeds() {
		compareJSON(t, []byte(body))
	}
	for _, size := range []int{4<<10 - 1, 4 << 10, 4<<10 + 1, 3 << 10, 100_003} {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(rand.Uint32())
		}
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			compareJSON(t, fmt.Appendf(nil, `{"items":[{"bytes":%q},{"bytes":%q}]}`, enc.EncodeToString(payload), enc.EncodeToString(payload[1:])))
		}
	}
}

func FuzzDecodeLargeProduce(f *testing.F) {
	for _, body := range jsonSeeds() {
		f.Add([]byte(body))
	}
	f.Fuzz(compareJSON)
}

// The payloads of a large body take no more memory than the body.
func TestDecodeLargeProduceTakesLittleMemory(t *testing.T) {
	large := bytes.Repeat([]byte{0xfb, 1, 2}, 1_200_000)
	quoted, err := json.Marshal(strings.Repeat("{\"text\":\"tëxt\"}\n", 250_000))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{
		"bytes": fmt.Appendf(nil, `{"items":[{"bytes":%q}]}`, base64.StdEncoding.EncodeToString(large)),
		"utf8":  fmt.Appendf(nil, `{"items":[{"utf8":%s}]}`, quoted),
		"many":  []byte(`{"items":[{}` + strings.Repeat(`,{"utf8":"`+strings.Repeat("x", 4000)+`"}`, 999) + `]}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := decodeProduce(formatJSON, body, countItems(formatJSON, body), 1000, &slabs[queue.Item]{})
		runtime.ReadMemStats(&after)
		if err != nil || len(p.items[len(p.items)-1].Payload) == 0 {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes were allocated to decode %d", name, n, len(body))
		}
	}
}
