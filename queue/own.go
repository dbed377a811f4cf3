package queue

import "strings"

// Own copies the bytes of items to memory of their own, one buffer for all payloads. It is
// for items of which the bytes lie in the memory of many others, which they would hold.
func Own(items []Item) {
	n := 0
	for i := range items {
		n += len(items[i].Payload)
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
