package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// randomState is a state such as no partition has, but with every field used.
func randomState(r *rand.Rand) *queue.State {
	s := queue.NewState(queue.Tag(randomBytes(r, queue.TagSize)), string(randomBytes(r, r.IntN(40))))
	s.Next, s.Totals = someUint64(r), someTotals(r)
	for range r.IntN(100) {
		l := &queue.Lease{Seq: someUint64(r), Deadline: someInt64(r), Wall: someInt64(r), Attempts: someInt32(r),
			Created: someInt64(r), Expire: someInt64(r), Size: r.Uint32()}
		s.Leases[l.Seq] = l
	}
	for range r.IntN(100) {
		d := &queue.Scheduled{Seq: someUint64(r), Due: someInt64(r), DueMono: someInt64(r), Attempts: someInt32(r), Size: r.Uint32()}
		s.Scheduled[d.Seq] = d
	}
	for range r.IntN(4) {
		b := &queue.Bitset{}
		density, size := r.Uint32N(200), 1+r.Uint32N(20_000)
		for i := range size {
			if r.Uint32N(200) < density {
				b.Set(i)
			}
		}
		b.Set(size)
		s.Removed[r.Uint64N(maxSpan)] = b
	}
	span := uint64(0)
	for range r.IntN(5) {
		span += 1 + r.Uint64N(1<<30)
		s.Spans = append(s.Spans, queue.SpanInfo{Span: span, Count: r.Uint32N(queue.MaxSpanItems), MinExpire: someInt64(r),
			MinMono: someInt64(r), MaxMono: someInt64(r), Ordered: r.IntN(2) == 0, OldBoot: r.IntN(2) == 0})
	}
	for range r.IntN(5) {
		s.Origins = append(s.Origins, queue.Origin{From: queue.Tag(randomBytes(r, queue.TagSize)), Seqs: someSeqs(r)})
	}
	if r.IntN(2) == 0 {
		s.Events = randomBook(r)
	}
	s.Feeds = randomFeeds(r)
	s.Restore()
	return s
}

func TestCheckpointRoundTrip(t *testing.T) {
	r := newRand(t)
	for range 200 {
		s := randomState(r)
		value := appendCheckpoint([]byte("before"), s)[len("before"):]
		got, err := decodeCheckpoint(value)
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "state", got, s)
		if again := appendCheckpoint(nil, got); !bytes.Equal(again, value) {
			t.Fatalf("the same state gives other bytes:\n% x\n% x", again, value)
		}
	}
}

func TestCheckpointLeavesOutEmptySets(t *testing.T) {
	s := queue.NewState(testTag, "b")
	s.Removed[3] = &queue.Bitset{Words: make([]uint64, 9)}
	if value, want := appendCheckpoint(nil, s), appendCheckpoint(nil, queue.NewState(testTag, "b")); !bytes.Equal(value, want) {
		t.Fatalf("an empty set takes %d bytes", len(value)-len(want))
	}
}

func TestBitsRoundTrip(t *testing.T) {
	r := newRand(t)
	for range 2000 {
		words := make([]uint64, r.IntN(40))
		for i := range words {
			words[i] = uint64(someInt64(r))
		}
		words = trimWords(words)
		for _, allowance := range []int{0, checkpointBitWords} {
			write, read := allowance, allowance
			value := appendBits(nil, words, &write)
			d := &reader{b: value}
			got := d.bits(&read)
			if err := d.end("bits"); err != nil {
				t.Fatal(err)
			}
			if len(words) > 0 || len(got) > 0 {
				checkEqual(t, "words", got, words)
			}
			if len(value) > 8*len(words)+2 {
				t.Fatalf("%d words take %d bytes", len(words), len(value))
			}
		}
	}
}

func TestBitsBeyondAllowance(t *testing.T) {
	// A run at the end of a span, in each of so many spans, in few bytes.
	s := queue.NewState(testTag, "b")
	body := appendCheckpoint(nil, s)
	body = body[:len(body)-sumSize-3]
	body = append(body, 40)
	for range 40 {
		body = append(body, 1, 1<<1|bitsRuns)
		body = binary.AppendUvarint(body, queue.MaxSpanItems-1)
		body = append(body, 0)
	}
	value := fuzzSeal(append(body, 0, 0))
	used := allocated(func() {
		if _, err := decodeCheckpoint(value); !errors.Is(err, queue.ErrCorrupt) {
			t.Errorf("got %v, want an error that is ErrCorrupt", err)
		}
	})
	if used > 4<<20 {
		t.Errorf("%d bytes allocated for %d", used, len(value))
	}
	// A state that really has as many is written in another way.
	for i := range uint64(3) {
		s.Removed[i] = &queue.Bitset{}
		s.Removed[i].Set(queue.MaxSpanItems - 1)
	}
	got, err := decodeCheckpoint(appendCheckpoint(nil, s))
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "state", got, s)
}

// exampleState is small and has every part.
func exampleState() *queue.State {
	s := queue.NewState(testTag, "boot")
	s.Next, s.Totals = 301<<queue.SpanBits, typicalTotals()
	for seq := range uint64(3) {
		s.Leases[seq*9] = &queue.Lease{Seq: seq * 9, Deadline: math.MinInt64, Wall: testAt.Wall, Attempts: 1,
			Created: testAt.Wall - 5, Expire: testAt.Wall + 5, Size: 320}
	}
	s.Scheduled[4] = &queue.Scheduled{Seq: 4, Due: testAt.Wall, DueMono: testAt.Mono, Attempts: 2, Size: 64}
	s.Removed[300] = &queue.Bitset{}
	for _, i := range []uint32{3, 4, 5, 9} {
		s.Removed[300].Set(i)
	}
	s.Spans = []queue.SpanInfo{{Span: 300, Count: 9, MinExpire: math.MaxInt64, MinMono: math.MaxInt64, MaxMono: math.MinInt64, Ordered: true}}
	s.Origins = []queue.Origin{{From: testTag, Seqs: []uint64{4, 5, 6, 7, 8}}}
	s.Restore()
	return s
}

func decodeCheckpointOnly(value []byte) error {
	_, err := decodeCheckpoint(value)
	return err
}

func TestCheckpointBroken(t *testing.T) {
	for name, s := range map[string]*queue.State{
		"checkpoint-new": queue.NewState(testTag, "b"), "checkpoint-all": exampleState(),
	} {
		value := appendCheckpoint(nil, s)
		checkBroken(t, value, decodeCheckpointOnly)
		checkNewer(t, value, decodeCheckpointOnly)
		checkGolden(t, name, value)
	}
}

func FuzzDecodeCheckpoint(f *testing.F) {
	for _, s := range []*queue.State{queue.NewState(testTag, "b"), exampleState()} {
		value := appendCheckpoint(nil, s)
		f.Add(value[:len(value)-sumSize])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := decodeCheckpoint(fuzzSeal(body))
		if err != nil {
			if !isBroken(err) {
				t.Fatalf("got %v, want an error that is ErrCorrupt or ErrFormat", err)
			}
			return
		}
		value := appendCheckpoint(nil, s)
		again, err := decodeCheckpoint(value)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(appendCheckpoint(nil, again), value) {
			t.Fatal("the state that came back is another")
		}
	})
}

func BenchmarkCheckpoint(b *testing.B) {
	s := exampleState()
	for seq := range uint64(10_000) {
		s.Leases[seq] = &queue.Lease{Seq: seq, Deadline: testAt.Mono + int64(seq/100)*1e9, Wall: testAt.Wall + int64(seq/100)*1e9,
			Attempts: 1, Created: testAt.Wall + int64(seq/10)*1e6, Expire: testAt.Wall + int64(seq/10)*1e6 + 86400e9, Size: 320}
	}
	value := appendCheckpoint(nil, s)
	b.Run("10000-leases-encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			value = appendCheckpoint(value[:0], s)
		}
		b.ReportMetric(float64(len(value))/10_000, "B/lease")
	})
	b.Run("10000-leases-decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeCheckpoint(value); err != nil {
				b.Fatal(err)
			}
		}
	})
}
