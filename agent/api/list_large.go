package api

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kapetan-io/querator-edge/queue"
)

// An item of megabytes in a list is written from where it is, and one list at a
// time has such items: a page was reserved for small ones.

// payloadField is the number of a stored item's payload.
const payloadField = 15

// readPage reads a page. One with large items is read again when it is the turn of
// the list, which then keeps the turn until its next page has none.
func (l *list) readPage(read func() ([]queue.Item, error)) ([]queue.Item, error) {
	for {
		items, err := read()
		n := largeBytes(items)
		switch {
		case err != nil:
			return nil, err
		case n == 0:
			l.giveTurn()
			return items, nil
		case l.hasTurn:
			if n > l.large {
				l.c.take(n - l.large)
				l.large = n
			}
			return items, nil
		}
		select { // What was read is garbage while it waits.
		case l.c.h.largeLists <- struct{}{}:
			l.hasTurn = true
		case <-l.c.r.Context().Done():
			return nil, l.c.r.Context().Err()
		}
	}
}

// giveTurn gives the turn to another list.
func (l *list) giveTurn() {
	if l.hasTurn {
		l.hasTurn = false
		<-l.c.h.largeLists
	}
}

// largeBytes returns how many bytes the large items have.
func largeBytes(items []queue.Item) (n int64) {
	for i := range items {
		if len(items[i].Payload) >= apart {
			n += int64(len(items[i].Payload))
		}
	}
	return n
}

// addItem appends an item, with a payload that is large beside the buffer.
func (l *list) addItem(it *queue.Item) error {
	if len(it.Payload) < apart {
		return l.add(itemMessage(it))
	}
	rest := *it
	rest.Payload = nil
	data, err := encode(l.f, itemMessage(&rest))
	if err != nil {
		return err
	}
	// It is written behind the other fields, whose order is free.
	g := gathered{f: l.f}
	if l.f == formatProtobuf {
		l.begin(len(data) + protowire.SizeTag(payloadField) + protowire.SizeBytes(len(it.Payload)))
		l.buf = append(l.buf, data...)
		l.buf = protowire.AppendTag(l.buf, payloadField, protowire.BytesType)
		l.buf = protowire.AppendVarint(l.buf, uint64(len(it.Payload)))
		l.buf = g.payload(l.buf, it.Payload)
	} else {
		l.begin(0)
		l.buf = append(l.buf, data[:len(data)-1]...) // Without the brace.
		l.buf = append(l.buf, `,"payload":"`...)
		l.buf = g.payload(l.buf, it.Payload)
		l.buf = append(l.buf, `"}`...)
	}
	g.b = l.buf
	l.start()
	_, err = g.WriteTo(l.c.w)
	l.buf = l.buf[:0]
	return err
}
