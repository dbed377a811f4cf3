package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// streamCallMemory is what a call of a stream takes of memory beside its body; it is
// reserved like that.
const streamCallMemory = 1 << 10

// streamCall is one call of a stream, from its frame to its reply.
type streamCall struct {
	call
	id    uint32
	kind  frame.Call
	begun time.Time

	wait  queue.Call
	lease *leaseCall // of a lease that was begun
	err   error      // why it was not begun, or what came of it

	// Of whoever writes.
	unwanted bool  // nobody waits for the answer
	upTo     int64 // where the reply ends in all that was to be written

	// Guarded by stream.mu.
	expire  time.Time // when the request timeout is over; zero before it is begun
	dropped bool      // nobody waits for the answer
	over    bool      // the answer is there
}

// errUnwanted is the answer to a lease that nobody waits for any more.
var errUnwanted = &wireError{code: codeRetry, msg: "the call was cancelled"}

// start begins the call. An error is the answer.
func (sc *streamCall) start(b *queue.Batch, f format, body []byte) (expire time.Time, err error) {
	switch sc.kind {
	case frame.Produce:
		q, req, err := sc.produceRequest(f, body)
		if err != nil {
			return expire, err
		}
		return sc.begun.Add(req.RequestTimeout), q.BeginProduce(b, &sc.wait, req)
	case frame.Lease:
		return sc.startLease(b, f, body)
	case frame.Complete:
		q, req, err := sc.completeRequest(f, body)
		if err != nil {
			return expire, err
		}
		return sc.begun.Add(req.RequestTimeout), q.BeginComplete(b, &sc.wait, req)
	}
	var req pb.QueueRetryRequest
	if err := sc.awaitParsed(f, body, 1); err != nil {
		return expire, err
	}
	if err := decode(f, body, &req); err != nil {
		return expire, err
	}
	q, err := sc.find(req.QueueName)
	if err != nil {
		return expire, err
	}
	return sc.begun.Add(queue.AdminTimeout), q.BeginRetry(b, &sc.wait, retryOf(&req))
}

func (sc *streamCall) startLease(b *queue.Batch, f format, body []byte) (expire time.Time, err error) {
	l, err := sc.leaseRequest(f, body)
	if err != nil {
		return expire, err
	}
	sc.keep(streamCallMemory) // The wait may be long, and the body is done with.
	sc.lease = l              // Before it is begun: the answer may be there at once.
	if err := l.q.BeginLease(b, &sc.wait, &l.req); err != nil {
		sc.lease = nil
		sc.h.guard.EndLease(sc.peer)
		return expire, err
	}
	return sc.begun.Add(l.req.RequestTimeout), nil
}

// result returns the reply of a call that was answered, or was not begun: bytes, or a
// lease in pieces.
func (sc *streamCall) result(out format) (code int, text []byte, lease *gathered) {
	switch {
	case sc.lease != nil && sc.unwanted:
		sc.err = errUnwanted
	case sc.lease != nil:
		if lease = sc.leased(out); lease != nil {
			return http.StatusOK, nil, lease
		}
	case sc.err == nil:
		sc.err = sc.wait.Err()
	}
	switch {
	case sc.err != nil:
		code, text = sc.h.failure(out, sc.kind.Path(), sc.err)
		return code, text, nil
	case out == formatProtobuf:
		return http.StatusOK, []byte(okProtobuf), nil
	}
	return http.StatusOK, []byte(okJSON), nil
}

// leased returns the reply of a lease; nil if there is an error.
func (sc *streamCall) leased(out format) *gathered {
	var res *queue.LeaseResult
	res, sc.err = sc.wait.Leased()
	sc.lease.holder.check(sc.h.service)
	if sc.err != nil {
		return nil
	}
	g := encodeLease(out, sc.lease.queue, res)
	sc.h.budget.spend(int64(g.size()))
	for i := range res.Items {
		res.Items[i].Payload = nil // They may hold more than themselves, and the client may take its time.
	}
	sc.take(g.memory())
	return g
}

// end lets go of what the call holds. written says that its reply was written.
func (sc *streamCall) end(written bool, now time.Time) {
	if sc.lease != nil {
		sc.wait.EndLease(written && !sc.unwanted)
		sc.h.guard.EndLease(sc.peer)
	}
	sc.release()
	if !written || sc.unwanted {
		sc.code = codeGone
	}
	sc.h.requests.Observe(sc.kind.Path(), sc.code, now.Sub(sc.begun), now)
}

// notInStream is the answer to a call that a stream does not have.
func notInStream(n frame.Call) error {
	return &wireError{code: http.StatusNotImplemented, msg: fmt.Sprintf("no such call in a stream; %d", n)}
}
