package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

var testAt = queue.Instant{Wall: 1_790_000_000_123_456_789, Mono: 86_400_000_000_000}

// number gives the items consecutive ids and what a decoder fills in.
func number(items []queue.Item, first uint64, at queue.Instant) []queue.Item {
	for i := range items {
		items[i].ID = queue.NewID(first+uint64(i), testTag)
		items[i].Written, items[i].SameBoot = at, true
	}
	return items
}

func randomItem(r *rand.Rand, prev *queue.Item) queue.Item {
	it := queue.Item{Payload: randomBytes(r, r.IntN(40))}
	if r.IntN(3) == 0 {
		it.Payload = bytes.Repeat([]byte("abc "), r.IntN(100))
	}
	if r.IntN(2) == 0 {
		it.SourceID = string(randomBytes(r, r.IntN(20)))
	}
	if r.IntN(2) == 0 {
		it.Attempts, it.MaxAttempts = someInt32(r), someInt32(r)
	}
	it.IsLeased = r.IntN(2) == 0
	if r.IntN(3) == 0 {
		it.Encoding, it.Kind, it.Reference = "json", "größe", strings.Repeat("x", r.IntN(300))
	} else {
		it.Encoding, it.Kind, it.Reference = prev.Encoding, prev.Kind, prev.Reference
	}
	if r.IntN(2) == 0 {
		it.CreatedAt, it.ExpireDeadline, it.EnqueueAt, it.LeaseDeadline = someTime(r), someTime(r), someTime(r), someTime(r)
	} else {
		it.CreatedAt, it.ExpireDeadline = prev.CreatedAt, prev.ExpireDeadline
		it.EnqueueAt, it.LeaseDeadline = prev.EnqueueAt, prev.LeaseDeadline
	}
	return it
}

func TestBlockRoundTrip(t *testing.T) {
	r := newRand(t)
	var scratch packer
	for range 500 {
		at := queue.Instant{Wall: someInt64(r), Mono: someInt64(r), Untrusted: r.IntN(2) == 0}
		items := make([]queue.Item, 1+r.IntN(50))
		prev := &queue.Item{}
		for i := range items {
			items[i] = randomItem(r, prev)
			prev = &items[i]
		}
		first := r.Uint64()&^(queue.MaxSpanItems-1) + r.Uint64N(queue.MaxSpanItems-50)
		number(items, first, at)
		value := appendBlock([]byte("before"), items, at, &scratch)
		value = value[len("before"):]
		got, err := decodeBlock(value, testTag, true)
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "items", got, items)
		h, err := readBlockHeader(value)
		if err != nil || h.First != first || h.Count != uint32(len(items)) || h.At != at {
			t.Fatalf("header is %+v, %v; want first %d, %d items, at %v", h, err, first, len(items), at)
		}
	}
}

// wholeLarge returns the block of a large item in one piece.
func wholeLarge(items []queue.Item, at queue.Instant) []byte {
	value, rest := largeBlock(items, at)
	return append(value, bytes.Join(rest, nil)...)
}

// A large item comes back whole, however well it can be compressed and wherever
// that changes. What is not compressed is not copied; what is takes as much memory as
// is written.
func TestBlockOfALargeItem(t *testing.T) {
	r := newRand(t)
	var text []byte
	for len(text) < 5_000_000 {
		text = fmt.Appendf(text, `{"sensor":%d,"value":%.3f},`, r.IntN(40), r.Float64())
	}
	noise := randomBytes(r, len(text))
	half := append(bytes.Clone(noise[:len(text)/2]), text[:len(text)/2]...)
	for name, c := range map[string]struct {
		payload []byte
		allowed int // bytes for each byte of the item
	}{
		"text": {text, 1}, "noise": {noise, 0}, "first noise": {half, 2}, "odd length": {half[:packerKeep+1], 2},
		"nothing": {make([]byte, len(text)), 1}, // Shrinks too much for a packed block.
	} {
		items := number([]queue.Item{{Payload: c.payload, SourceID: "s", Kind: "k", CreatedAt: time.Unix(1, 2).UTC()}}, 9, testAt)
		var value []byte
		var rest [][]byte
		took := allocated(func() { value, rest = largeBlock(items, testAt) })
		value = append(value, bytes.Join(rest, nil)...)
		if most := uint64(c.allowed*len(c.payload) + 1<<20); took > most {
			t.Errorf("%s: %d bytes were allocated for an item of %d, at most %d are allowed", name, took, len(c.payload), most)
		}
		got, err := decodeBlock(value, testTag, true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkEqual(t, name, got, items)
		if len(value) > len(c.payload)+blockFrame+100 {
			t.Errorf("%s: %d bytes became %d", name, len(c.payload), len(value))
		}
		if name == "text" && len(value) > len(text)*3/4 {
			t.Errorf("text of %d bytes was packed to %d", len(text), len(value))
		}
	}
}

func TestBlockItemsOwnTheirMemory(t *testing.T) {
	for _, size := range []int{10, 5000} {
		items := number([]queue.Item{
			{Payload: bytes.Repeat([]byte("p"), size), SourceID: "source", Kind: "kind"},
			{Payload: bytes.Repeat([]byte("q"), size), Kind: "kind"},
		}, 7, testAt)
		value := appendBlock(nil, items, testAt, &packer{})
		got, err := decodeBlock(value, testTag, true)
		if err != nil {
			t.Fatal(err)
		}
		clear(value)
		_ = append(got[0].Payload, "overwrites the next?"...)
		checkEqual(t, "items", got, items)
	}
}

func TestBlockZeroTimesAndZones(t *testing.T) {
	east := time.FixedZone("east", 2*60*60)
	created := time.Date(2026, 11, 23, 8, 0, 0, 1, east)
	items := number([]queue.Item{{Payload: []byte{}, CreatedAt: created, ExpireDeadline: time.Now()}, {Payload: []byte{}}}, 1, testAt)
	got, err := decodeBlock(appendBlock(nil, items, testAt, &packer{}), testTag, false)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].CreatedAt != created.UTC() || !got[0].ExpireDeadline.Equal(items[0].ExpireDeadline) || got[0].ExpireDeadline.Location() != time.UTC {
		t.Fatalf("times came back as %v and %v", got[0].CreatedAt, got[0].ExpireDeadline)
	}
	if !got[1].CreatedAt.IsZero() || !got[1].ExpireDeadline.IsZero() || got[1].SameBoot {
		t.Fatalf("zero times came back as %+v", got[1])
	}
	if year := momentOf(time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)).time().Year(); year != 9999 {
		t.Fatalf("the year 12000 came back as %d, want 9999", year)
	}
}

func TestSplitBlocks(t *testing.T) {
	r := newRand(t)
	for range 50 {
		items := make([]queue.Item, r.IntN(9000))
		for i := range items {
			if items[i].Kind = "k"; r.IntN(500) == 0 {
				items[i].Payload = make([]byte, r.IntN(2*blockRawMax))
			}
			items[i].ID = queue.NewID(uint64(i), testTag)
		}
		var scratch packer
		next := uint64(0)
		for _, run := range splitBlocks(items) {
			h, err := readBlockHeader(appendBlock(nil, run, testAt, &scratch))
			if err != nil {
				t.Fatal(err)
			}
			if h.First != next || int(h.Count) != len(run) {
				t.Fatalf("a block of %d items from %d on, want %d from %d on", h.Count, h.First, len(run), next)
			}
			if h.RawLen > blockRawMax && len(run) > 1 {
				t.Fatalf("%d items have %d raw bytes, at most %d are allowed", len(run), h.RawLen, blockRawMax)
			}
			next += uint64(len(run))
		}
		if next != uint64(len(items)) {
			t.Fatalf("the runs hold %d items, want %d", next, len(items))
		}
		if cap(scratch.raw) > packerKeep || cap(scratch.packed) > packerKeep {
			t.Fatalf("the packer kept %d and %d bytes", cap(scratch.raw), cap(scratch.packed))
		}
	}
}

func TestBlockCompression(t *testing.T) {
	r := newRand(t)
	for _, c := range []struct {
		name    string
		payload []byte
		codec   byte
	}{
		{"small", bytes.Repeat([]byte("a"), 100), codecNone},
		{"text", bytes.Repeat([]byte("the same again "), 100), codecS2},
		{"noise", randomBytes(r, 100_000), codecNone},
		{"much noise", randomBytes(r, 3<<20), codecNone},
		{"a megabyte of zeros", make([]byte, 1<<20), codecS2},
		{"zeros beyond all bounds", make([]byte, 64<<20), codecNone},
	} {
		items := number([]queue.Item{{Payload: c.payload}}, 1, testAt)
		value := appendBlock(nil, items, testAt, &packer{})
		if isLarge(items) {
			value = wholeLarge(items, testAt)
		}
		h, err := verifyBlock(value)
		if err != nil || h.codec != c.codec {
			t.Errorf("%s: codec %d, %v; want %d", c.name, h.codec, err, c.codec)
		}
		got, err := decodeBlock(value, testTag, true)
		if err != nil || !bytes.Equal(got[0].Payload, c.payload) {
			t.Errorf("%s: payload of %d bytes did not come back: %v", c.name, len(c.payload), err)
		}
	}
}

// smallBlocks are a block as it is and a compressed one.
func smallBlocks() map[string][]byte {
	plain := number([]queue.Item{{Payload: []byte("hello"), Kind: "t"}}, 1<<queue.SpanBits+5, testAt)
	var packed []queue.Item
	for i := range 3 {
		packed = append(packed, queue.Item{
			SourceID: fmt.Sprintf("source-%d", i), Encoding: "application/json", Kind: "reading", Reference: "ref",
			Payload:   []byte(strings.Repeat(fmt.Sprintf(`{"sensor":%d,"value":21.5}`, i), 4)),
			Attempts:  int32(i),
			CreatedAt: time.Unix(0, testAt.Wall).UTC(), ExpireDeadline: time.Unix(0, testAt.Wall).Add(24 * time.Hour).UTC(),
		})
	}
	packed[2].EnqueueAt, packed[2].LeaseDeadline = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
	packed[2].IsLeased = true
	number(packed, 3<<queue.SpanBits, testAt)
	return map[string][]byte{
		"block-plain": appendBlock(nil, plain, queue.Instant{Wall: 1000, Mono: 50}, &packer{}),
		"block-s2":    appendBlock(nil, packed, testAt, &packer{}),
	}
}

func decodeBlockOnly(value []byte) error {
	_, err := decodeBlock(value, testTag, true)
	return err
}

func TestBlockBroken(t *testing.T) {
	for _, value := range smallBlocks() {
		checkBroken(t, value, decodeBlockOnly)
		checkNewer(t, value, decodeBlockOnly)
	}
	// What a newer program may do without a new version: another codec.
	value := reseal(smallBlocks()["block-s2"], func(b []byte) { b[1] = 9 })
	if err := decodeBlockOnly(value); !errors.Is(err, queue.ErrFormat) {
		t.Fatalf("codec 9: got %v, want an error that is ErrFormat", err)
	}
}

// The plain block can be compared byte by byte; what S2 makes of the same bytes
// differs between its versions and processors, so that one has to be read only.
func TestBlockGolden(t *testing.T) {
	blocks := smallBlocks()
	checkGolden(t, "block-plain", blocks["block-plain"])
	want, err := decodeBlock(blocks["block-s2"], testTag, true)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeBlock(golden(t, "block-s2", blocks["block-s2"]), testTag, true)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "items", got, want)
}

func TestBlockHostileLengths(t *testing.T) {
	header := func(codec byte, numbers ...uint64) []byte {
		b := []byte{kindBlock | blockVersion, codec}
		for _, n := range numbers {
			b = binary.AppendUvarint(b, n)
		}
		return fuzzSeal(b)
	}
	for name, value := range map[string][]byte{
		"items":          header(codecNone, 4096, 1, 3*4096, 0, 0, 0),
		"no items":       header(codecNone, 0, 1, 0, 0, 0, 0),
		"across a span":  header(codecNone, 2, queue.MaxSpanItems-1, 0, 0, 0, 0),
		"facts":          header(codecS2, 1, 1, 1<<63, 1<<63, 0, 0),
		"raw bytes":      header(codecS2, 1, 1, 3, 1<<31, 0, 0),
		"within bounds?": header(codecS2, 4096, 1, 3*4096, 1<<19, 0, 0),
	} {
		bytesUsed := allocated(func() {
			if err := decodeBlockOnly(value); !errors.Is(err, queue.ErrCorrupt) {
				t.Errorf("%s: got %v, want an error that is ErrCorrupt", name, err)
			}
		})
		if bytesUsed > 4<<20 {
			t.Errorf("%s: %d bytes allocated for %d", name, bytesUsed, len(value))
		}
	}
}

func FuzzDecodeBlock(f *testing.F) {
	for _, value := range smallBlocks() {
		f.Add(value[:len(value)-sumSize])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		value := fuzzSeal(body)
		items, err := decodeBlock(value, testTag, true)
		if err != nil {
			if !isBroken(err) {
				t.Fatalf("got %v, want an error that is ErrCorrupt or ErrFormat", err)
			}
			return
		}
		h, err := readBlockHeader(value)
		if err != nil || int(h.Count) != len(items) {
			t.Fatalf("header says %d items, %v; want %d", h.Count, err, len(items))
		}
		again, err := decodeBlock(appendBlock(nil, items, h.At, &packer{}), testTag, true)
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "items", again, items)
	})
}

// jsonItems are items such as a sensor's, of 256 bytes each.
func jsonItems(n int) []queue.Item {
	r := rand.New(rand.NewPCG(1, 2))
	items := make([]queue.Item, n)
	created := time.Unix(0, testAt.Wall).UTC()
	for i := range items {
		payload := fmt.Sprintf(`{"device":"pi-%04d","sensor":"temperature","at":"2026-11-23T08:00:%02d.%06dZ","value":%.4f,"unit":"celsius","battery":%d,"seq":%d,"site":"north-hall","tags":["roof","line-%d"],"note":"%x"`,
			r.IntN(100), r.IntN(60), r.IntN(1e6), 20+r.Float64(), r.IntN(100), i, r.IntN(9), r.Uint64())
		payload += strings.Repeat(" ", max(0, 255-len(payload))) + "}"
		items[i] = queue.Item{Encoding: "application/json", Kind: "reading", Payload: []byte(payload),
			CreatedAt: created, ExpireDeadline: created.Add(24 * time.Hour)}
	}
	return number(items, 0, testAt)
}

func noiseItems(n, size int) []queue.Item {
	r := rand.New(rand.NewPCG(1, 2))
	items := make([]queue.Item, n)
	for i := range items {
		items[i].Payload = randomBytes(r, size)
	}
	return number(items, 0, testAt)
}

func benchmarkBlocks(b *testing.B, run func(b *testing.B, items []queue.Item)) {
	b.Run("json-1x256", func(b *testing.B) { run(b, jsonItems(1)) })
	b.Run("json-100x256", func(b *testing.B) { run(b, jsonItems(100)) })
	b.Run("json-1000x256", func(b *testing.B) { run(b, jsonItems(1000)) })
	b.Run("noise-100x256", func(b *testing.B) { run(b, noiseItems(100, 256)) })
	b.Run("noise-1x4M", func(b *testing.B) { run(b, noiseItems(1, 4<<20)) })
	b.Run("noise-1x256k", func(b *testing.B) { run(b, noiseItems(1, 256<<10)) })
}

func BenchmarkBlockPack(b *testing.B) {
	benchmarkBlocks(b, func(b *testing.B, items []queue.Item) {
		var scratch packer
		var dst []byte
		for b.Loop() {
			dst = appendBlock(dst[:0], items, testAt, &scratch)
		}
		h, _ := readBlockHeader(dst)
		b.SetBytes(h.RawLen)
		b.ReportMetric(float64(len(dst))/float64(h.RawLen), "stored/raw")
	})
}

func BenchmarkBlockDecode(b *testing.B) {
	benchmarkBlocks(b, func(b *testing.B, items []queue.Item) {
		value := appendBlock(nil, items, testAt, &packer{})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeBlock(value, testTag, true); err != nil {
				b.Fatal(err)
			}
		}
		h, _ := readBlockHeader(value)
		b.SetBytes(h.RawLen)
	})
}
