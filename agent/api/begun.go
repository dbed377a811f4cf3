package api

import (
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// begunCall is one of the four calls that have no goroutine of their own: whoever reads
// the request begins it, and it is answered by anybody (queue.Call).
type begunCall struct {
	call
	kind  frame.Call
	begun time.Time

	wait  queue.Call
	lease *leaseCall // of a lease that was begun
	reply []byte     // of a lease, in memory of the handler's
	err   error      // why it was not begun, or what came of it
}

// errUnwanted is the answer to a lease that nobody waits for any more.
var errUnwanted = &wireError{code: codeRetry, msg: "the call was cancelled"}

// start begins the call, and returns when its request timeout is over. An error is the
// answer.
func (bc *begunCall) start(b *queue.Batch, f format, body []byte, memory int64) (expire time.Time, err error) {
	switch bc.kind {
	case frame.Produce:
		q, req, err := bc.produceRequest(f, body)
		if err != nil {
			return expire, err
		}
		return bc.begun.Add(req.RequestTimeout), q.BeginProduce(b, &bc.wait, req)
	case frame.Lease:
		return bc.startLease(b, f, body, memory)
	case frame.Complete:
		q, req, err := bc.completeRequest(f, body)
		if err != nil {
			return expire, err
		}
		return bc.begun.Add(req.RequestTimeout), q.BeginComplete(b, &bc.wait, req)
	}
	var req pb.QueueRetryRequest
	if err := bc.awaitParsed(f, body, 1); err != nil {
		return expire, err
	}
	if err := decode(f, body, &req); err != nil {
		return expire, err
	}
	q, err := bc.find(req.QueueName)
	if err != nil {
		return expire, err
	}
	return bc.begun.Add(queue.AdminTimeout), q.BeginRetry(b, &bc.wait, retryOf(&req))
}

func (bc *begunCall) startLease(b *queue.Batch, f format, body []byte, memory int64) (expire time.Time, err error) {
	l, err := bc.leaseRequest(f, body)
	if err != nil {
		return expire, err
	}
	bc.keep(memory) // The wait may be long, and the body is done with.
	bc.lease = l    // Before it is begun: the answer may be there at once.
	if err := l.q.BeginLease(b, &bc.wait, &l.req); err != nil {
		bc.lease = nil
		bc.h.guard.EndLease(bc.peer)
		return expire, err
	}
	return bc.begun.Add(l.req.RequestTimeout), nil
}

// result returns the reply of a call that was answered, or was not begun: bytes, or a
// lease in pieces. unwanted says that nobody waits for it.
func (bc *begunCall) result(out format, unwanted bool) (code int, text []byte, lease *gathered) {
	switch {
	case bc.lease != nil && unwanted:
		bc.err = errUnwanted
	case bc.lease != nil:
		if lease = bc.leased(out); lease != nil {
			bc.code = http.StatusOK
			return bc.code, nil, lease
		}
	case bc.err == nil:
		bc.err = bc.wait.Err()
	}
	switch {
	case bc.err != nil:
		bc.code, text = bc.h.failure(out, bc.kind.Path(), bc.err)
		return bc.code, text, nil
	case out == formatProtobuf:
		text = []byte(okProtobuf)
	default:
		text = []byte(okJSON)
	}
	bc.code = http.StatusOK
	return bc.code, text, nil
}

// leased returns the reply of a lease; nil if there is an error.
func (bc *begunCall) leased(out format) *gathered {
	var res *queue.LeaseResult
	res, bc.err = bc.wait.Leased()
	bc.lease.holder.check(bc.h.service)
	if bc.err != nil {
		return nil
	}
	g := encodeLease(out, bc.lease.queue, res, &bc.h.replies)
	bc.reply = g.b
	bc.h.budget.spend(int64(g.size()))
	for i := range res.Items {
		res.Items[i].Payload = nil // They may hold more than themselves, and the client may take its time.
	}
	bc.take(g.memory())
	return g
}

// end lets go of what the call holds. delivered says that its reply was.
func (bc *begunCall) end(delivered bool, now time.Time) {
	if bc.lease != nil {
		bc.wait.EndLease(delivered)
		bc.h.guard.EndLease(bc.peer)
	}
	bc.release()
	bc.h.replies.give(bc.reply)
	bc.reply = nil
	if !delivered {
		bc.code = codeGone
	}
	bc.h.requests.Observe(bc.kind.Path(), bc.code, now.Sub(bc.begun), now)
}
