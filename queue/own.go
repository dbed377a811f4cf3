package queue

import "strings"

// itemMemory is what an Item takes of memory beside its bytes, and what Size does
// not count of that.
const itemMemory = 272 - itemOverhead

// memory returns about what the item takes of memory, when its bytes are its own.
func (it *Item) memory() int64 { return it.Size() + itemMemory }

// ownAbove is from how many bytes on items that were read together are left where
// they are: the blocks of a store have a few times as much at most, and a larger
// item is alone in its own.
const ownAbove = 128 << 10

// own copies the bytes of items that were read from a store to memory of their own.
// They lie in the memory of a block, of which few items would hold the whole.
func own(items []Item) {
	n := 0
	for i := range items {
		n += len(items[i].Payload)
	}
	if n >= ownAbove {
		return
	}
	buf := make([]byte, 0, n)
	prev := &Item{}
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
