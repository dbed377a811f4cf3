package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// readings returns the payloads of n readings.
func readings(n int) (payloads []queue.Item) {
	for i := range n {
		payloads = append(payloads, queue.Item{Payload: fmt.Appendf(nil,
			`{"sensor":"s-%04d","celsius":%d.%d,"humidity":%d,"at":"2026-11-28T%02d:%02d:%02dZ","state":"ok"}`,
			i*7%100, i*13%40, i%10, i*31%97, i/3600%24, i/60%60, i%60)})
	}
	return payloads
}

// Zstd makes blocks smaller than S2 does, and both come back whole; what is short,
// or cannot be compressed, is not given to it.
func TestZstd(t *testing.T) {
	c, err := newCompressor(CompressZstd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newCompressor(CompressZstd + 1); !errors.Is(err, queue.ErrInvalid) {
		t.Errorf("a compression that is not known: %v", err)
	}
	noise := queue.Item{Payload: randomBytes(newRand(t), 20000)}
	for name, test := range map[string]struct {
		items []queue.Item
		codec byte
	}{
		"a hundred": {readings(100), codecZstd}, "four thousand": {readings(blockItemsMax / 2), codecZstd},
		"a few": {readings(5), codecS2}, "noise": {[]queue.Item{noise}, codecNone},
	} {
		items := number(test.items, 1<<queue.SpanBits, testAt)
		zstd, s2 := packer{with: c}, packer{}
		value := appendBlock(nil, items, testAt, &zstd)
		h, err := verifyBlock(value)
		if err != nil || h.codec != test.codec {
			t.Errorf("%s: codec %d, %v, want %d", name, h.codec, err, test.codec)
		}
		got, err := decodeBlock(value, testTag, true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkEqual(t, name, got, items)
		if other := appendBlock(nil, items, testAt, &s2); test.codec == codecZstd && len(value) > len(other)*3/4 {
			t.Errorf("%s: %d bytes with zstd, %d with S2", name, len(value), len(other))
		}
		if test.codec != codecZstd {
			continue
		}
		// Damage that the checksum does not show is found, within bounds.
		for i := range value[:len(value)-sumSize] {
			bad := reseal(value, func(b []byte) { b[i] ^= 0x41 })
			if items, err := decodeBlock(bad, testTag, true); err != nil && !isBroken(err) {
				t.Fatalf("%s: byte %d: %d items, %v", name, i, len(items), err)
			}
			if i > 2000 {
				break
			}
		}
	}
}

// A store is written with zstd and without by turns, and says that it takes a
// program that knows it.
func TestStoreWithZstd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	open := func(how Compression) (*Storage, *partition) {
		t.Helper()
		s, err := New(Options{Dir: dir, Boot: "boot", Compression: how})
		if err != nil {
			t.Fatal(err)
		}
		ps, err := s.OpenPartition(queue.PartitionKey{Queue: "q", Tag: queue.Tag{1}})
		if err != nil {
			t.Fatal(err)
		}
		return s, ps.(*partition)
	}
	format := func() string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, formatName))
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:2])
	}
	var all []queue.Item
	for round, how := range []Compression{CompressS2, CompressZstd, CompressS2} {
		s, p := open(how)
		if want := []string{"1 ", "5 ", "5 "}[round]; format() != want {
			t.Errorf("in round %d the format is %s, want %s", round, format(), want)
		}
		items := readings(200)
		first, err := p.Reserve(len(items), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		c := queue.Commit{Sync: true, Items: items,
			Added: queue.Added{First: first, Count: uint32(len(items)), MinExpire: noMinExpire, MaxExpire: noMaxExpire}}
		p.state.Add(c.At, &c.Added)
		if err := p.Commit(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, items...)
		got, _, err := Flat(p.Read(0, 1000, 1<<20))
		if err != nil || len(got) != len(all) {
			t.Fatalf("round %d: %d items, %v, want %d", round, len(got), err, len(all))
		}
		for i := range got {
			if !bytes.Equal(got[i].Payload, all[i].Payload) {
				t.Fatalf("round %d: item %d is %q", round, i, got[i].Payload)
			}
		}
		if err := errors.Join(p.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkCompress(b *testing.B) {
	zstd, err := newCompressor(CompressZstd)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{20, 100, 1000} {
		items := number(readings(n), 1<<queue.SpanBits, testAt)
		for name, c := range map[string]*compressor{"S2": nil, "zstd": zstd} {
			scratch := packer{with: c}
			value := appendBlock(nil, items, testAt, &scratch)
			raw := 0
			for i := range items {
				raw += len(items[i].Payload)
			}
			b.Run(fmt.Sprintf("write/%d/%s", n, name), func(b *testing.B) {
				b.SetBytes(int64(raw))
				for b.Loop() {
					value = appendBlock(value[:0], items, testAt, &scratch)
				}
				b.ReportMetric(float64(len(value))/float64(raw), "left")
			})
			b.Run(fmt.Sprintf("read/%d/%s", n, name), func(b *testing.B) {
				b.SetBytes(int64(raw))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := decodeBlock(value, testTag, true); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
