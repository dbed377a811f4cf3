package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/queue"
)

// brokenRule is why a client is told that its stream ends.
type brokenRule string

func (e brokenRule) Error() string { return string(e) }

// read is the reader's work, from the moment that it gets r.
func (s *stream) read(self int) {
	defer s.poke()
	defer s.recovered()
	b := queue.Batch{Early: s.flushEarly}
	for more := true; more; {
		err := s.readCalls(&b)
		if err != nil {
			s.endReading(err)
		}
		more = s.serve(&b, self) && err == nil
		s.flush(true)
		s.awaitWriter()
	}
}

// recovered ends the stream after a panic. It is deferred.
func (s *stream) recovered() {
	if v := recover(); v != nil {
		s.h.logError(frame.Path, fmt.Errorf("BUG: panic in a stream: %v\n%s", v, debug.Stack()))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.broken = true
		s.poke()
	}
}

// readCalls waits for frames and begins what they ask for. An error is why there will be
// no more.
func (s *stream) readCalls(b *queue.Batch) error {
	refused := 0
	for n := 0; n == 0 || n < maxTurn && refused < maxRefused && s.hasMore(); n++ {
		sc, body, err := s.readCall()
		if err != nil {
			return err
		}
		if sc.err != nil {
			refused++
		}
		if err := s.begin(b, sc, body); err != nil {
			return err
		}
	}
	return nil
}

// hasMore reports whether another whole frame is here. It takes what has come, and does not
// wait: nobody serves meanwhile what was begun.
func (s *stream) hasMore() bool {
	quiet, ok := s.nc.(interface{ Quiet() bool })
	for !s.hasFrame() {
		n := s.r.Buffered()
		if !ok || n == 0 || n == s.r.Size() || quiet.Quiet() {
			return false
		}
		if _, err := s.r.Peek(n + 1); err != nil {
			return false
		}
	}
	return true
}

// hasFrame reports whether a whole frame has been read, or what cannot be one.
func (s *stream) hasFrame() bool {
	n := s.r.Buffered()
	if n < frame.RequestHead {
		return false
	}
	head, err := s.r.Peek(frame.RequestHead)
	if err != nil {
		return false
	}
	req, err := frame.ParseRequest(head)
	return err != nil || req.Body > frame.MaxBody || n >= frame.RequestHead+int(req.Body)
}

// readCall reads a frame. When there is no room for its body, the error of the call says
// so.
func (s *stream) readCall() (sc *streamCall, body []byte, err error) {
	if _, err := s.r.Peek(1); err != nil {
		return nil, nil, err
	}
	if !s.hasFrame() {
		// The rest of it comes now, or never.
		if err := s.nc.SetReadDeadline(time.Now().Add(s.h.bodyTimeout)); err != nil {
			return nil, nil, err
		}
		defer func() { _ = s.nc.SetReadDeadline(time.Time{}) }() // Reading tells what is wrong with it.
	}
	var head [frame.RequestHead]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return nil, nil, err
	}
	req, err := frame.ParseRequest(head[:])
	switch {
	case err != nil:
		return nil, nil, brokenRule("a frame is shorter than its head")
	case req.Call == frame.Cancel && req.Body > 0:
		return nil, nil, brokenRule("a frame that cancels a call has a body")
	case req.Body > frame.MaxBody:
		return nil, nil, brokenRule(fmt.Sprintf("a frame has a body of %d bytes, and at most %d may be; larger requests go over HTTP",
			req.Body, frame.MaxBody))
	}
	sc = s.newCall(req)
	if sc.err != nil {
		_, err = s.r.Discard(int(req.Body))
		return sc, nil, err
	}
	body = make([]byte, req.Body)
	if _, err = io.ReadFull(s.r, body); err != nil {
		sc.release()
	}
	return sc, body, err
}

// newCall returns a call for which there is room, or which has an error.
func (s *stream) newCall(req frame.Request) *streamCall {
	sc := &streamCall{begunCall: begunCall{call: call{h: s.h, peer: s.peer}, kind: req.Call, begun: time.Now()}, id: req.ID}
	sc.wait.Answered = func() { s.answered(sc) }
	if req.Call == frame.Cancel {
		return sc
	}
	rt := s.h.routes[req.Call.Path()]
	if rt == nil {
		sc.err = notInStream(req.Call)
		return sc
	}
	sc.op = rt.op
	if sc.err = s.h.guard.Admit(s.peer); sc.err != nil {
		return sc
	}
	if int64(req.Body) > rt.limit {
		sc.err = tooLarge(rt.limit)
		return sc
	}
	sc.err = sc.reserve(streamCallMemory+int64(req.Body), int64(req.Body))
	return sc
}

// begin begins a call. An error ends the stream.
func (s *stream) begin(b *queue.Batch, sc *streamCall, body []byte) error {
	if sc.kind == frame.Cancel {
		s.drop(sc.id)
		return nil
	}
	if err := s.register(sc); err != nil {
		sc.release()
		return err
	}
	if sc.err != nil {
		s.answered(sc)
		return nil
	}
	expire, err := sc.start(b, s.in, body, streamCallMemory)
	if err != nil {
		sc.err = err
		s.answered(sc)
		return nil
	}
	s.mu.Lock()
	sc.expire = expire
	s.mu.Unlock()
	return nil
}

// register notes that a call is under way. The error is of kind brokenRule.
func (s *stream) register(sc *streamCall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[sc.id] != nil || sc.id == 0 {
		return brokenRule(fmt.Sprintf("a frame has the id %d, which is 0 or that of a call that is not answered", sc.id))
	}
	if len(s.calls) >= frame.MaxCalls && sc.err == nil {
		sc.err = &queue.Error{Kind: queue.ErrOverloaded, Op: "stream", Msg: fmt.Sprintf(
			"the stream has %d calls under way, and may not have more; try again", len(s.calls))}
	}
	s.calls[sc.id] = sc
	s.active = sc.begun
	return nil
}

// drop says that nobody waits for a call any more.
func (s *stream) drop(id uint32) {
	s.mu.Lock()
	sc := s.calls[id]
	begun := sc != nil && !sc.expire.IsZero()
	if sc != nil {
		sc.dropped = true
	}
	s.mu.Unlock()
	if begun {
		sc.wait.Abort(context.Canceled)
	}
}

// endReading says that there will be no more calls, and why. What is under way is
// answered; leases that wait end, unless it is the agent that has ended it.
func (s *stream) endReading(err error) {
	s.mu.Lock()
	s.ended = true
	if rule := brokenRule(""); errors.As(err, &rule) {
		code, text := s.h.failure(s.out, frame.Path, badRequest("%s", string(rule)))
		s.last = append(frame.AppendReply(nil, frame.Reply{Code: uint16(code), Body: uint32(len(text))}), text...)
	}
	var leases []*streamCall
	for _, sc := range s.calls {
		if sc.kind == frame.Lease && !sc.expire.IsZero() && !sc.over && !s.hungUp {
			sc.dropped = true
			leases = append(leases, sc)
		}
	}
	s.mu.Unlock()
	for _, sc := range leases {
		sc.wait.Abort(err)
	}
}

// serve has the calls served that were begun. It returns false when another reader has
// taken over in the meantime.
func (s *stream) serve(b *queue.Batch, self int) bool {
	s.mu.Lock()
	s.serving = true
	s.turn++
	watch := !s.watched
	if watch {
		s.watched = true
		s.setBusy(true)
	}
	s.mu.Unlock()
	if watch {
		s.poke()
	}
	b.Serve()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != self {
		s.heldUp--
		return false
	}
	s.serving = false
	s.turn++
	return true
}
