package badgerstore

import (
	"strings"

	"github.com/kapetan-io/querator-edge/queue"
)

// ownAbove is from how many bytes on items that were read together are left where
// they are: a block has twice as much at most, and a larger item is alone in its own.
const ownAbove = 128 << 10

// own copies the bytes of items that were taken out of a block to memory of their
// own, since few items would hold the whole block.
func own(items []queue.Item) {
	n := 0
	for i := range items {
		n += len(items[i].Payload)
	}
	if n >= ownAbove {
		return
	}
	buf := make([]byte, 0, n)
	prev := &queue.Item{}
	for i := range items {
		it := &items[i]
		begin := len(buf)
		buf = append(buf, it.Payload...)
		it.Payload = buf[begin:len(buf):len(buf)]
		it.SourceID = ownText(it.SourceID, prev.SourceID)
		it.Encoding = ownText(it.Encoding, prev.Encoding)
		it.Kind = ownText(it.Kind, prev.Kind)
		it.Reference = ownText(it.Reference, prev.Reference)
		prev = it
	}
}

// ownText returns a copy of a text, or that of the item before.
func ownText(s, prev string) string {
	if s == prev {
		return prev
	}
	return strings.Clone(s)
}
