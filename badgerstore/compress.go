package badgerstore

import (
	"fmt"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression says how the items of a commit are compressed. What does not get
// smaller is stored as it is, whatever it says. A store may hold what was written
// with any of them.
type Compression uint8

const (
	// CompressS2 is the fast one. Of 100 readings in JSON of 256 bytes 0.45 is
	// left, of one alone 0.9.
	CompressS2 Compression = iota
	// CompressZstd leaves 0.27 of those 100 and takes about three times as long,
	// for devices whose flash is worth more than their processor's time. It takes
	// about a MiB of memory. What is shorter than a KiB or longer than a MiB is
	// compressed with S2 all the same.
	CompressZstd
)

// Codecs of a block's body.
const (
	codecNone = 0
	codecS2   = 1
	codecZstd = 2
)

const (
	// compressMin is the least raw length worth a try.
	compressMin = 128
	// zstdMin is the least one worth one with zstd, which is slow to begin.
	zstdMin = 1 << 10
	// zstdWindow is how far back zstd looks: as far as blocks of several items go.
	zstdWindow = blockRawMax
)

// compressor compresses for all partitions of a storage. It is safe for use by any
// goroutine; zstd is used by one at a time. Nil uses S2.
type compressor struct {
	zstd *zstd.Encoder // nil uses S2
}

// newCompressor returns one that compresses so. The error Is queue.ErrInvalid.
func newCompressor(how Compression) (*compressor, error) {
	switch how {
	case CompressS2:
		return nil, nil
	case CompressZstd:
	default:
		return nil, &queue.Error{Kind: queue.ErrInvalid, Msg: fmt.Sprintf("compression %d is not known", how)}
	}
	// Blocks have checksums of their own.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, unavailable(err, "BUG: zstd")
	}
	return &compressor{zstd: e}, nil
}

// compress returns the codec and the body for the raw bytes; the body is raw
// itself or memory of scratch.
func (c *compressor) compress(raw []byte, scratch *packer) (byte, []byte) {
	if len(raw) < compressMin {
		return codecNone, raw
	}
	need := s2.MaxEncodedLen(len(raw))
	if need < 0 {
		return codecNone, raw
	}
	if cap(scratch.packed) < need {
		scratch.packed = make([]byte, 0, need)
	}
	codec, packed := byte(codecS2), []byte(nil)
	if c != nil && len(raw) >= zstdMin {
		codec, packed = codecZstd, c.zstd.EncodeAll(raw, scratch.packed[:0])
	} else {
		packed = s2.Encode(scratch.packed[:cap(scratch.packed)], raw)
	}
	if len(packed) > len(raw)-len(raw)/8 || int64(len(raw)) > rawLimit(len(packed)) {
		return codecNone, raw
	}
	return codec, packed
}

// decompress returns the raw bytes of a body, of which there have to be n: that
// many were found to be possible. The error Is queue.ErrCorrupt.
func decompress(codec byte, body []byte, n int) ([]byte, error) {
	if codec == codecZstd {
		return decompressZstd(body, n)
	}
	got, err := s2.DecodedLen(body)
	if err != nil || got != n {
		return nil, errCorrupt("block", "%d raw bytes, must be %d", got, n)
	}
	raw, err := s2.Decode(nil, body)
	if err != nil {
		return nil, errCorrupt("block", "cannot be decompressed: %v", err)
	}
	return raw, nil
}

func decompressZstd(body []byte, n int) ([]byte, error) {
	// It is made anew each time: a block is read once, mostly, and kept decoded.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(largeWindow))
	if err != nil {
		return nil, unavailable(err, "BUG: zstd")
	}
	defer d.Close()
	raw, err := d.DecodeAll(body, make([]byte, 0, n))
	if err != nil {
		return nil, errCorrupt("block", "cannot be decompressed: %v", err)
	}
	if len(raw) != n {
		return nil, errCorrupt("block", "%d raw bytes, must be %d", len(raw), n)
	}
	return raw, nil
}

// largeWindow bounds the window of a body that is believed.
const largeWindow = 2 << 20
