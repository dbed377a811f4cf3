package api

import (
	"errors"
	"net"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// agentWide stands for the agent as a whole where a queue is named.
const agentWide = ""

// queueOf returns the queue that a request names, agentWide if it names none.
func queueOf(req proto.Message) string {
	if named, ok := req.(interface{ GetQueueName() string }); ok {
		return named.GetQueueName()
	}
	return agentWide
}

// may returns an error unless the caller may do to the queue what the call does.
// It comes before the look-up, so that nobody learns which queues there are.
func (c *call) may(queue string) error { return c.h.guard.Check(c.peer, c.op, queue) }

// mayAlso is may for a second queue, to which the call does something else.
func (c *call) mayAlso(op access.Operation, queue string) error {
	return c.h.guard.Check(c.peer, op, queue)
}

// shows reports whether the caller may read the queue, or the agent as a whole,
// for replies that tell of many.
func (c *call) shows(queue string) bool {
	return c.h.guard.Decide(c.peer, access.Read, queue).Allowed
}

// Greet meets whoever made a connection, for serve.Server.
func (h *Handler) Greet(nc net.Conn) (peer any, refusal []byte) {
	p, err := h.guard.Greet(nc)
	if err == nil {
		return p, nil
	}
	code, msg := answer(err)
	// A server that is being closed closes connections that were not greeted yet.
	if code == http.StatusInternalServerError && !errors.Is(err, net.ErrClosed) {
		h.logError("", err)
	}
	// What the client speaks is not known yet; every client reads JSON errors.
	data, err := encode(formatJSON, &pb.Reply{Code: int32(code), CodeText: codeText(code), Message: msg})
	if err != nil {
		h.logError("", err)
		data = []byte("{}")
	}
	head := "HTTP/1.1 " + strconv.Itoa(code) + " " + codeText(code) + "\r\nContent-Type: application/json\r\n" +
		"X-Content-Type-Options: nosniff\r\nContent-Length: " +
		strconv.Itoa(len(data)) + "\r\nConnection: close\r\n\r\n"
	return nil, append([]byte(head), data...)
}

// Leave ends Greet.
func (h *Handler) Leave(peer any) {
	if p, ok := peer.(*access.Peer); ok {
		h.guard.Leave(p)
	}
}
