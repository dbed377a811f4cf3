package api

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kapetan-io/querator-edge/queue"
)

// An item of megabytes in a list is written from where it is, and one list at a
// time has such an item: a page was reserved for small ones. It shares the room of
// large bodies, as one that is leased does.

// payloadField is the number of a stored item's payload.
const payloadField = 15

// readPage reads a page, with read, which goes by r. What a large item takes is
// reserved before it is read, and held until the next page is read.
func (l *list) readPage(r *queue.ListRequest, read func() ([]queue.Item, error)) ([]queue.Item, error) {
	r.MaxItem = apart
	for {
		items, err := read()
		var large *queue.LargeItem
		switch {
		case errors.As(err, &large):
			if err := l.makeRoom(large.Bytes); err != nil {
				return nil, err
			}
			r.MaxItem = large.Bytes
		case err != nil:
			return nil, err
		default:
			if r.MaxItem == apart {
				l.giveTurn()
			}
			return items, nil
		}
	}
}

// makeRoom waits for the turn of the list and for room for a large item. It holds
// nothing meanwhile: others that wait may need it.
func (l *list) makeRoom(bytes int64) error {
	page := l.reserved
	if len(l.buf) > 0 {
		if err := l.flush(); err != nil {
			return err
		}
	}
	l.buf, l.reserved = nil, 0
	l.giveBack(page)
	l.giveRoom()
	if !l.hasTurn {
		select {
		case l.c.h.largeLists <- struct{}{}:
			l.hasTurn = true
		case <-l.c.r.Context().Done():
			return l.c.r.Context().Err()
		}
	}
	n, err := l.c.awaitLarge(bytes, page)
	if err == nil {
		l.large, l.reserved = n-page, page
	}
	return err
}

// giveBack gives so many bytes of the budget back.
func (l *list) giveBack(n int64) {
	l.c.reserved -= n
	l.c.h.giveBack(l.c.peer, n, 0)
}

// giveRoom gives back what was reserved for a large item.
func (l *list) giveRoom() {
	n := l.large
	l.large = 0
	l.giveBack(n)
}

// giveTurn gives the turn to another list.
func (l *list) giveTurn() {
	if l.hasTurn {
		l.hasTurn = false
		l.giveRoom()
		<-l.c.h.largeLists
	}
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
