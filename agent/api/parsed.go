package api

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
)

// What is parsed of a body is held as well as the body, and has little to do with
// how long that is: an item without content takes two bytes of a body and two
// hundred of memory. So its size is estimated, and reserved before it is parsed.

const (
	// itemCost is what an item takes of memory on its way in, beside its bytes: in
	// the request, and in the commit.
	itemCost = 2 * 272
	// objectCost is what an object of JSON takes, or a field of a message, with what
	// the engine makes of it; stringCost what a string takes beside its bytes.
	objectCost = 400
	stringCost = 24
	// parsedFree is how much is not counted, since it is little.
	parsedFree = 8 << 10
)

// awaitItems takes what so many items of a produce take of memory beyond their
// body, in which their payloads stay.
func (c *call) awaitItems(count, body int64) error { return c.awaitMore(count*itemCost - body) }

// awaitParsed takes what is going to be parsed of the body of any other call; so
// many copies of the body are made meanwhile.
func (c *call) awaitParsed(f format, body []byte, copies int64) error {
	return c.awaitMore(parsedSize(f, body) + copies*int64(len(body)))
}

// awaitMore takes n more bytes of the budget for a call that holds some, and waits
// for them like a large request. A call that needs more than there is has all of it
// to itself.
func (c *call) awaitMore(n int64) error {
	n = min(n, c.h.budget.limitOf(smallBody+1)-c.reserved)
	if n <= parsedFree || c.reserve(n, n) == nil {
		return nil
	}
	return c.await(n)
}

// parsedSize returns about what a body takes when it is parsed, beside its bytes.
func parsedSize(f format, body []byte) int64 {
	if f == formatJSON {
		return int64(countObjects(body))*objectCost + int64(bytes.Count(body, []byte{'"'}))/2*stringCost
	}
	return int64(countFields(body)) * objectCost
}

// awaitIDs is awaitParsed for the ids of a complete.
func (c *call) awaitIDs(f format, body []byte) error {
	n := bytes.Count(body, []byte{'"'}) / 2
	if f == formatProtobuf {
		n = countFields(body)
	}
	return c.awaitMore(int64(n)*2*stringCost + int64(len(body)))
}

// countFields returns how many fields a message has that are no numbers.
func countFields(body []byte) (n int) {
	for s := (fields{body: body, end: len(body)}); s.next(); {
		if s.kind == protowire.BytesType {
			n++
		}
	}
	return n
}
