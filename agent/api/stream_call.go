package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
)

// streamCallMemory is what a call of a stream takes of memory beside its body; it is
// reserved like that.
const streamCallMemory = 1 << 10

// streamCall is one call of a stream, from its frame to its reply.
type streamCall struct {
	begunCall
	id uint32

	// Of whoever writes.
	unwanted bool  // nobody waits for the answer
	upTo     int64 // where the reply ends in all that was to be written; 0 before it is put there

	// Guarded by stream.mu.
	expire  time.Time // when the request timeout is over; zero before it is begun
	dropped bool      // nobody waits for the answer
	over    bool      // the answer is there
}

// replySize returns about how long the reply to a lease is that was answered.
func (sc *streamCall) replySize() int64 { return 512 + 2*sc.wait.LeasedBytes() }

// notInStream is the answer to a call that a stream does not have.
func notInStream(n frame.Call) error {
	return &wireError{code: http.StatusNotImplemented, msg: fmt.Sprintf("no such call in a stream; %d", n)}
}
