// Package frame is the wire format of a stream: a connection on which a program makes
// many calls at a time. Each call of HTTP/1.1 takes a connection of its own while it is
// under way, and costs both sides a read, a write and a wait of the scheduler; what is
// said at about the same time on a stream is read and written at once.
//
// # Beginning
//
// A stream begins as a request of HTTP/1.1 on the agent's socket:
//
//	GET /v1/agent.stream HTTP/1.1
//	Host: agent
//	Connection: Upgrade
//	Upgrade: querator-stream
//	Content-Type: application/protobuf
//	Accept: application/protobuf
//
// Content-Type and Accept name the format of all requests and replies; without them it is
// JSON. The agent answers "101 Switching Protocols", and everything behind the heads is
// frames. Any other answer means that there is no stream to be had: 454 says not now, 501
// is an agent that knows of none.
//
// # Frames
//
// Numbers are unsigned, of 32, 16 or 8 bits, with the most significant byte first. The
// size counts the bytes behind itself.
//
//	request    size 32 | id 32 | call 8  | body
//	reply      size 32 | id 32 | code 16 | body
//
// The id is the client's choice: any but 0 and those of its calls that are not answered.
// Replies come in any order. Code and body are what the call would have been answered
// over HTTP, and the body of a request what it would have been there; one has at most
// MaxBody bytes, and larger ones go over HTTP. At most MaxCalls are under way; more are
// refused. The calls are numbered, see Call.
//
// The call Cancel has no body and is not answered: it says that nobody waits for the
// call with that id any more. That is answered none the less, and soon; items that were
// leased for it are ready again.
//
// # End
//
// A reply with the id 0 is about the stream. With the code Bye the agent is going: the
// client makes no more calls on the stream, and closes the connection when those that it
// has made are answered, which all of them are. With any other code the client has broken
// the rules, the body says how, and the connection ends. When the client closes its side,
// the agent answers what is under way, and closes; leases that wait end without items.
package frame

import (
	"encoding/binary"
	"io"
	"slices"
)

// Path is where a stream begins, and Protocol what it is called in the Upgrade header.
const (
	Path     = "/v1/agent.stream"
	Protocol = "querator-stream"
)

// Call is what a request asks for.
type Call uint8

// The calls of a stream.
const (
	Cancel   Call = 0
	Produce  Call = 1
	Lease    Call = 2
	Complete Call = 3
	Retry    Call = 4
)

// paths are what the calls are called over HTTP.
var paths = [...]string{
	Produce:  "/v1/queue.produce",
	Lease:    "/v1/queue.lease",
	Complete: "/v1/queue.complete",
	Retry:    "/v1/queue.retry",
}

// Path returns what the call is called over HTTP; empty for those that are not there.
func (c Call) Path() string {
	if int(c) < len(paths) {
		return paths[c]
	}
	return ""
}

// CallOf returns the call that has the path over HTTP; Cancel, which has none, for those
// that a stream does not have.
func CallOf(path string) Call { return Call(max(slices.Index(paths[:], path), 0)) }

// MaxBody is how many bytes the body of a request may have, MaxCalls how many calls may be
// under way.
const (
	MaxBody  = 64 << 10
	MaxCalls = 512
)

// Bye is the code of the reply by which the agent ends a stream.
const Bye = 0

const (
	// RequestHead and ReplyHead are how many bytes there are before a body.
	RequestHead = 4 + 4 + 1
	ReplyHead   = 4 + 4 + 2
)

// Request is the head of a request.
type Request struct {
	ID   uint32
	Call Call
	Body uint32 // bytes; it may be more than MaxBody
}

// Reply is the head of a reply.
type Reply struct {
	ID   uint32
	Code uint16
	Body uint32 // bytes
}

// AppendRequest appends a head to b.
func AppendRequest(b []byte, r Request) []byte {
	b = binary.BigEndian.AppendUint32(b, RequestHead-4+r.Body)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	return append(b, byte(r.Call))
}

// AppendReply appends a head to b.
func AppendReply(b []byte, r Reply) []byte {
	b = binary.BigEndian.AppendUint32(b, ReplyHead-4+r.Body)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	return binary.BigEndian.AppendUint16(b, r.Code)
}

// ParseRequest reads a head of RequestHead bytes. The error is io.ErrUnexpectedEOF for a
// frame that is shorter than its head.
func ParseRequest(b []byte) (Request, error) {
	size := binary.BigEndian.Uint32(b)
	if size < RequestHead-4 {
		return Request{}, io.ErrUnexpectedEOF
	}
	return Request{ID: binary.BigEndian.Uint32(b[4:]), Call: Call(b[8]), Body: size - (RequestHead - 4)}, nil
}

// ParseReply reads a head of ReplyHead bytes; the error is as that of ParseRequest.
func ParseReply(b []byte) (Reply, error) {
	size := binary.BigEndian.Uint32(b)
	if size < ReplyHead-4 {
		return Reply{}, io.ErrUnexpectedEOF
	}
	return Reply{ID: binary.BigEndian.Uint32(b[4:]), Code: binary.BigEndian.Uint16(b[8:]), Body: size - (ReplyHead - 4)}, nil
}
