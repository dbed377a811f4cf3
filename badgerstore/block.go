package badgerstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// A block holds items of one commit with consecutive sequence numbers, all of
// one span. It is one value, with the beginning and the end that codec.go gives
// every value:
//
//	byte     0x11: kind block, version 1
//	byte     codec of the body: 0 as it is, 1 S2, 2 zstd; and 0x80
//	         when nobody believed the wall clock that shows in At.Wall
//	uvarint  number of items, 1 to 4096
//	uvarint  sequence number of the first
//	uvarint  length of the facts, uncompressed
//	uvarint  length of the payloads, uncompressed
//	varint   At.Wall, nanoseconds since 1970: when the items got their place
//	varint   At.Mono, nanoseconds since boot
//	body     the facts of all items, then the payloads of all items, both
//	         without gaps, in order; compressed as one
//	4 bytes  CRC-32C of all of the above, compressed as it is
//
// The facts of an item:
//
//	byte     flags, see below
//	varint   attempts, and
//	varint   max attempts, both if flagAttempts
//	time     created-at, against At.Wall, if flagCreated
//	time     expire deadline, against created-at, if flagExpire
//	time     enqueue-at, against At.Wall, if flagEnqueueAt
//	time     lease deadline, against At.Wall, if flagLease
//	string   source id
//	string   encoding, and
//	string   kind, and
//	string   reference, all three if flagLabels
//	uvarint  length of the payload
//
// Labels and times are mostly those of the item before: without flagLabels, and
// without flagTimes, they are. (The first follows an item without any.) With
// flagTimes a time that has no flag of its own is zero.
//
// A time is one uvarint for the difference to the other time, in nanoseconds,
// zigzag, shifted left by one. When they lie further apart than 60 years it is
// the seconds since 1970, zigzag, shifted left by one, plus one; then the
// nanoseconds of that second as a uvarint. Times are of the years 1 to 9999; one
// outside is stored as the nearest inside. They come back as UTC.
//
// For example, item 5 of span 1 with payload "hello" and kind "t", without
// times, at wall 1000 and boot time 50:
//
//	11                    block, version 1
//	00                    not compressed
//	01                    one item
//	85 80 80 08           first is 1<<24 + 5
//	07                    seven bytes of facts
//	05                    five bytes of payloads
//	d0 0f                 wall 1000
//	64                    boot time 50
//	01 00 00 01 74 00 05  facts: flagLabels; no source id; no encoding, kind
//	                      "t", no reference; payload of five bytes
//	68 65 6c 6c 6f        payload
//	59 5b f5 2e           CRC-32C
const blockVersion = 1

// flagUntrusted stands in the byte of the codec: At.Untrusted.
const flagUntrusted = 0x80

// Flags of an item.
const (
	flagLabels    = 1 << iota // encoding, kind and reference follow
	flagTimes                 // the times with flags follow, the others are zero
	flagCreated               // with flagTimes only, like the next three
	flagExpire                //
	flagEnqueueAt             //
	flagLease                 //
	flagLeased                // the item was leased when it was written (import)
	flagAttempts              // attempts and max attempts follow; without it they are 0
)

// blockRawMax and blockItemsMax bound a block: splitBlocks cuts so that no
// block has more raw bytes (unless a single item has) or more items.
const (
	blockRawMax   = 256 << 10
	blockItemsMax = 4096
)

const (
	// itemFactsMin is what an item's facts take at least: flags, the length of
	// the source id and that of the payload.
	itemFactsMin = 3
	// itemFactsMax is what they take at most beside the bytes of the labels:
	// flags, two attempts, four times of 11 bytes and five lengths.
	itemFactsMax = 1 + 2*5 + 4*11 + 5*5
	// A compressed body may stand for ratioFree raw bytes and ratioMax more for
	// each of its own bytes, so that a damaged length cannot ask for the moon.
	// Anything that shrinks more is stored as it is.
	ratioFree = 1 << 20
	ratioMax  = 256
	// packerKeep is the greatest buffer that a packer keeps.
	packerKeep = 1 << 20
)

// blockFrame bounds what a block has beside its body.
const blockFrame = 2 + 6*binary.MaxVarintLen64 + checksumSize

// packer holds the buffers that packing blocks needs, for reuse; each is at
// most 1 MiB between calls. The zero value is ready; it belongs to one goroutine
// at a time.
type packer struct {
	raw    []byte
	packed []byte
	with   *compressor // nil uses S2
}

// blockHeader is what a block says of itself before its items.
type blockHeader struct {
	First  uint64 // sequence number of the first item
	Count  uint32 // number of items, 1 to blockItemsMax
	RawLen int64  // bytes of the items before compression
	At     queue.Instant

	codec byte
	facts int    // bytes of RawLen that are facts
	body  []byte // the rest of the value, still with the checksum
}

// splitBlocks cuts the items of a commit into the runs that become one block
// each. The runs share the memory of items.
func splitBlocks(items []queue.Item) [][]queue.Item {
	var runs [][]queue.Item
	start, size := 0, int64(0)
	for i := range items {
		n := rawSizeMax(&items[i])
		if i > start && (size+n > blockRawMax || i-start == blockItemsMax) {
			runs = append(runs, items[start:i:i])
			start, size = i, 0
		}
		size += n
	}
	if start < len(items) {
		runs = append(runs, items[start:])
	}
	return runs
}

// rawSizeMax is an upper bound of the raw bytes of one item.
func rawSizeMax(it *queue.Item) int64 {
	return int64(len(it.Payload)+len(it.SourceID)+len(it.Encoding)+len(it.Kind)+len(it.Reference)) + itemFactsMax
}

// appendBlock appends the block of items, which are one run of splitBlocks with
// consecutive sequence numbers of one span, to dst and returns it. It keeps
// nothing of items. For an item that is large there is largeBlock.
func appendBlock(dst []byte, items []queue.Item, at queue.Instant, scratch *packer) []byte {
	if len(items) == 0 || len(items) > blockItemsMax {
		panic(fmt.Sprintf("BUG: a block of %d items; splitBlocks gives 1 to %d", len(items), blockItemsMax))
	}
	facts, payloads := appendFacts(scratch.raw[:0], items, at), 0
	for i := range items {
		payloads += len(items[i].Payload)
	}
	raw := slices.Grow(facts, payloads)
	for i := range items {
		raw = append(raw, items[i].Payload...)
	}
	codec, body := scratch.with.compress(raw, scratch)

	start := len(dst)
	dst = slices.Grow(dst, len(body)+blockFrame)
	dst = appendBlockHeader(dst, codec, items, len(facts), payloads, at)
	dst = append(dst, body...)
	dst = appendSum(dst, start)

	scratch.raw = keepSmall(raw)
	scratch.packed = keepSmall(scratch.packed)
	return dst
}

// appendBlockHeader appends what stands before the body.
func appendBlockHeader(dst []byte, codec byte, items []queue.Item, facts, payloads int, at queue.Instant) []byte {
	if at.Untrusted {
		codec |= flagUntrusted
	}
	dst = append(dst, kindBlock|blockVersion, codec)
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	dst = binary.AppendUvarint(dst, items[0].Seq())
	dst = binary.AppendUvarint(dst, uint64(facts))
	dst = binary.AppendUvarint(dst, uint64(payloads))
	dst = binary.AppendVarint(dst, at.Wall)
	return binary.AppendVarint(dst, at.Mono)
}

func keepSmall(b []byte) []byte {
	if cap(b) > packerKeep {
		return nil
	}
	return b[:0]
}

// rawLimit is how many raw bytes a compressed body of n bytes may stand for.
func rawLimit(n int) int64 { return ratioFree + ratioMax*int64(n) }

// appendFacts appends the facts of the items.
func appendFacts(dst []byte, items []queue.Item, at queue.Instant) []byte {
	var none queue.Item
	prev := &none
	wall := momentOf(time.Unix(0, at.Wall))
	for i := range items {
		it := &items[i]
		var flags byte
		if it.Encoding != prev.Encoding || it.Kind != prev.Kind || it.Reference != prev.Reference {
			flags |= flagLabels
		}
		if !sameTimes(it, prev) {
			flags |= timeFlags(it)
		}
		if it.IsLeased {
			flags |= flagLeased
		}
		if it.Attempts != 0 || it.MaxAttempts != 0 {
			flags |= flagAttempts
		}
		dst = append(dst, flags)
		if flags&flagAttempts != 0 {
			dst = binary.AppendVarint(dst, int64(it.Attempts))
			dst = binary.AppendVarint(dst, int64(it.MaxAttempts))
		}
		if flags&flagTimes != 0 {
			dst = appendTimes(dst, it, flags, wall)
		}
		dst = appendString(dst, it.SourceID)
		if flags&flagLabels != 0 {
			dst = appendString(dst, it.Encoding)
			dst = appendString(dst, it.Kind)
			dst = appendString(dst, it.Reference)
		}
		dst = binary.AppendUvarint(dst, uint64(len(it.Payload)))
		prev = it
	}
	return dst
}

// sameTimes reports whether the times of a and b are the same. It may say no
// when they are, in two time zones: that costs a few bytes only.
func sameTimes(a, b *queue.Item) bool {
	return a.CreatedAt == b.CreatedAt && a.ExpireDeadline == b.ExpireDeadline &&
		a.EnqueueAt == b.EnqueueAt && a.LeaseDeadline == b.LeaseDeadline
}

func timeFlags(it *queue.Item) byte {
	flags := byte(flagTimes)
	if !it.CreatedAt.IsZero() {
		flags |= flagCreated
	}
	if !it.ExpireDeadline.IsZero() {
		flags |= flagExpire
	}
	if !it.EnqueueAt.IsZero() {
		flags |= flagEnqueueAt
	}
	if !it.LeaseDeadline.IsZero() {
		flags |= flagLease
	}
	return flags
}

func appendTimes(dst []byte, it *queue.Item, flags byte, wall moment) []byte {
	created := wall
	if flags&flagCreated != 0 {
		created = momentOf(it.CreatedAt)
		dst = appendMoment(dst, created, wall)
	}
	if flags&flagExpire != 0 {
		dst = appendMoment(dst, momentOf(it.ExpireDeadline), created)
	}
	if flags&flagEnqueueAt != 0 {
		dst = appendMoment(dst, momentOf(it.EnqueueAt), wall)
	}
	if flags&flagLease != 0 {
		dst = appendMoment(dst, momentOf(it.LeaseDeadline), wall)
	}
	return dst
}

// readBlockHeader reads the header without verifying the checksum and without
// decompressing. What it returns may be wrong if the block is damaged, but is
// within bounds.
func readBlockHeader(value []byte) (blockHeader, error) {
	var h blockHeader
	if len(value) < 1+sumSize {
		return h, errCorrupt("block", "%d bytes are too few", len(value))
	}
	if err := checkKind(value[0], "block", kindBlock|blockVersion); err != nil {
		return h, err
	}
	r := reader{b: value[1 : len(value)-sumSize]}
	h.codec = r.byte()
	h.At.Untrusted, h.codec = h.codec&flagUntrusted != 0, h.codec&^flagUntrusted
	count := r.uvarint()
	h.First = r.uvarint()
	facts, payloads := r.uvarint(), r.uvarint()
	h.At.Wall, h.At.Mono = r.varint(), r.varint()
	if r.bad {
		return h, errCorrupt("block", "the header is cut short")
	}
	if count == 0 || count > blockItemsMax || h.First%queue.MaxSpanItems+count > queue.MaxSpanItems {
		return h, errCorrupt("block", "%d items from %d on cannot be", count, h.First)
	}
	h.Count = uint32(count)
	h.body = r.b[r.off:]
	return h, h.setLengths(facts, payloads)
}

// setLengths checks the lengths against those of the body.
func (h *blockHeader) setLengths(facts, payloads uint64) error {
	limit := uint64(len(h.body))
	switch h.codec {
	case codecNone:
	case codecS2, codecZstd:
		// The body of an int's length at most, on 32 bit too, stands for this.
		limit = min(uint64(rawLimit(len(h.body))), 1<<31-1)
	default:
		return errNewer("block", "codec %d is not known", h.codec)
	}
	if facts > limit || payloads > limit || facts+payloads > limit || facts < itemFactsMin*uint64(h.Count) {
		return errCorrupt("block", "lengths %d and %d of %d items in %d bytes cannot be", facts, payloads, h.Count, len(h.body))
	}
	if h.codec == codecNone && facts+payloads != limit {
		return errCorrupt("block", "lengths %d and %d, but %d bytes", facts, payloads, len(h.body))
	}
	h.facts, h.RawLen = int(facts), int64(facts+payloads)
	return nil
}

// verifyBlock checks the checksum and the header without decompressing.
func verifyBlock(value []byte) (blockHeader, error) {
	if _, err := openValue(value, "block", kindBlock|blockVersion); err != nil {
		return blockHeader{}, err
	}
	return readBlockHeader(value)
}

// decodeBlock verifies a block and returns its items, which own their memory:
// one buffer for the payloads of the block and one for the labels, shared. The
// error Is queue.ErrCorrupt or queue.ErrFormat.
func decodeBlock(value []byte, tag queue.Tag, sameBoot bool) ([]queue.Item, error) {
	h, err := verifyBlock(value)
	if err != nil {
		return nil, err
	}
	facts, payloads, err := h.decompress()
	if err != nil {
		return nil, err
	}
	items := make([]queue.Item, h.Count)
	d := factsDecoder{reader: reader{b: facts}, payloads: payloads, wall: momentOf(time.Unix(0, h.At.Wall))}
	prev := &queue.Item{}
	for i := range items {
		it := &items[i]
		it.ID = queue.NewID(h.First+uint64(i), tag)
		it.Written, it.SameBoot = h.At, sameBoot
		d.item(it, prev)
		if d.bad {
			return nil, errCorrupt("block", "item %d of %d cannot be read", i, len(items))
		}
		prev = it
	}
	if len(d.payloads) > 0 {
		return nil, errCorrupt("block", "%d bytes of payload too many", len(d.payloads))
	}
	return items, d.end("block")
}

// decompress returns the facts, which may be memory of the value, and the
// payloads, which are not.
func (h *blockHeader) decompress() (facts, payloads []byte, err error) {
	if h.codec == codecNone {
		payloads = make([]byte, len(h.body)-h.facts)
		copy(payloads, h.body[h.facts:])
		return h.body[:h.facts], payloads, nil
	}
	raw, err := decompress(h.codec, h.body, int(h.RawLen))
	if err != nil {
		return nil, nil, err
	}
	return raw[:h.facts], raw[h.facts:], nil
}

// factsDecoder reads the facts of the items one after the other.
type factsDecoder struct {
	reader
	payloads []byte // those of the items to come
	wall     moment
	text     string // the facts once more, for labels to be cut from; "" until needed
}

// item reads the facts of one item; prev is the item before.
func (d *factsDecoder) item(it, prev *queue.Item) {
	flags := d.byte()
	it.IsLeased = flags&flagLeased != 0
	if flags&flagAttempts != 0 {
		it.Attempts, it.MaxAttempts = d.int32(), d.int32()
	}
	if flags&flagTimes != 0 {
		d.times(it, flags)
	} else {
		it.CreatedAt, it.ExpireDeadline = prev.CreatedAt, prev.ExpireDeadline
		it.EnqueueAt, it.LeaseDeadline = prev.EnqueueAt, prev.LeaseDeadline
	}
	it.SourceID = d.label()
	if flags&flagLabels != 0 {
		it.Encoding, it.Kind, it.Reference = d.label(), d.label(), d.label()
	} else {
		it.Encoding, it.Kind, it.Reference = prev.Encoding, prev.Kind, prev.Reference
	}
	n := d.uvarint()
	if n > uint64(len(d.payloads)) {
		d.fail()
		return
	}
	it.Payload, d.payloads = d.payloads[:n:n], d.payloads[n:]
}

// label reads a string as a piece of one string for the whole block.
func (d *factsDecoder) label() string {
	n := d.length()
	if n == 0 {
		return ""
	}
	if d.text == "" {
		d.text = string(d.b)
	}
	d.off += n
	return d.text[d.off-n : d.off]
}

func (d *factsDecoder) times(it *queue.Item, flags byte) {
	created := d.wall
	if flags&flagCreated != 0 {
		created = d.moment(d.wall)
		it.CreatedAt = created.time()
	}
	if flags&flagExpire != 0 {
		it.ExpireDeadline = d.moment(created).time()
	}
	if flags&flagEnqueueAt != 0 {
		it.EnqueueAt = d.moment(d.wall).time()
	}
	if flags&flagLease != 0 {
		it.LeaseDeadline = d.moment(d.wall).time()
	}
}
