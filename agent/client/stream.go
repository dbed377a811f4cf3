package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
)

// streamBuffer is the size of the buffers of a stream, streamKept of what is kept of one that has grown.
const streamBuffer, streamKept = 16 << 10, 64 << 10

// errNotSent says that a call was not sent on a stream, so that it may be made in another way.
var errNotSent = errors.New("not sent")

// stream is a connection on which many calls are under way at a time (package frame). It has two goroutines, which
// end when the connection does: one writes what callers have put down, all of it at once, one reads the replies.
type stream struct {
	conn       net.Conn
	goroutines sync.WaitGroup
	wake       chan struct{} // holds a token when there is something to write, or no more

	mu    sync.Mutex // guards what follows
	calls map[uint32]*streamCall
	last  uint32        // id
	out   []byte        // frames to be written
	put   []*streamCall // whose frames are in out
	ended bool          // no calls are begun any more
	err   error         // of the connection
	broke time.Time     // when it broke, if the stream had not ended then
	used  time.Time     // when the last answer came
	idle  *time.Timer
}

// streamCall is a call that is under way.
type streamCall struct {
	done chan struct{} // closed when the rest is there
	a    *answer
	err  error
	sent bool // its frame was written, or may have been
}

// openStream makes a stream of a new connection, which is the stream's from then on. An answer that is not 101 is
// returned, without a stream.
func openStream(ctx context.Context, conn net.Conn) (s *stream, code int, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	code, r, err := upgrade(conn)
	if !stop() && err == nil {
		err = ctx.Err() // The deadline of the connection is spoilt.
	}
	if err != nil || code != http.StatusSwitchingProtocols {
		_ = conn.Close() // It is of no use any more.
		return nil, code, err
	}
	s = &stream{conn: conn, wake: make(chan struct{}, 1), calls: make(map[uint32]*streamCall), used: time.Now()}
	s.idle = time.AfterFunc(idleTimeout, s.lookIdle)
	s.goroutines.Go(s.write)
	s.goroutines.Go(func() { s.read(r) })
	return s, code, nil
}

// upgrade asks for a stream.
func upgrade(conn net.Conn) (code int, r *bufio.Reader, err error) {
	_, err = io.WriteString(conn, "GET "+frame.Path+" HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: "+frame.Protocol+
		"\r\nContent-Type: "+contentType+"\r\nAccept: "+contentType+"\r\n\r\n")
	if err != nil {
		return 0, nil, err
	}
	r = bufio.NewReaderSize(conn, streamBuffer)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		return 0, nil, unexpected(err)
	}
	return resp.StatusCode, r, resp.Body.Close()
}

// call makes a call and waits for the answer. The error is errNotSent when the call was not made.
func (s *stream) call(ctx context.Context, kind frame.Call, body []byte) (*answer, error) {
	sc := &streamCall{done: make(chan struct{})}
	id, ok := s.begin(sc, kind, body)
	if !ok {
		return nil, errNotSent
	}
	select {
	case <-sc.done:
	case <-ctx.Done():
		if !s.cancel(id, sc) {
			return nil, ctx.Err()
		}
	}
	if sc.err != nil && !sc.sent {
		return nil, errNotSent
	}
	return sc.a, sc.err
}

// begin puts down a call to be written.
func (s *stream) begin(sc *streamCall, kind frame.Call, body []byte) (id uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.calls) >= frame.MaxCalls {
		return 0, false
	}
	for {
		s.last++
		if s.last != 0 && s.calls[s.last] == nil {
			break
		}
	}
	s.calls[s.last] = sc
	s.out = frame.AppendRequest(s.out, frame.Request{ID: s.last, Call: kind, Body: uint32(len(body))})
	s.out, s.put = append(s.out, body...), append(s.put, sc)
	s.poke()
	return s.last, true
}

// cancel tells the agent that nobody waits for a call any more. Its answer, which comes none the less, is for nobody.
// When the answer is here already, cancel returns true: it may be items.
func (s *stream) cancel(id uint32, sc *streamCall) (answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[id] != sc {
		return true
	}
	s.out = frame.AppendRequest(s.out, frame.Request{ID: id, Call: frame.Cancel})
	s.poke()
	return false
}

func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write writes what callers put down, and closes the connection when the stream has ended and all calls are answered.
// To close one side of it before would end leases that wait.
func (s *stream) write() {
	var b []byte
	for range s.wake {
		// Callers that have just got their answers make their next calls now: all of them go with one write.
		runtime.Gosched()
		s.mu.Lock()
		if s.err != nil {
			s.mu.Unlock()
			return // What was put down is not sent, and its callers know.
		}
		b, s.out = s.out, b[:0]
		for _, sc := range s.put {
			sc.sent = true
		}
		clear(s.put)
		s.put = s.put[:0]
		over := s.ended && len(s.calls) == 0
		s.mu.Unlock()
		if len(b) > 0 {
			if _, err := s.conn.Write(b); err != nil {
				s.fail(err)
				return
			}
		}
		if cap(b) > streamKept {
			b = nil
		}
		if over {
			_ = s.conn.Close() // The reader notices.
		}
	}
}

// read hands out the answers, up to the end of the connection.
func (s *stream) read(r *bufio.Reader) {
	for {
		if err := s.readReply(r); err != nil {
			s.fail(unexpected(err))
			return
		}
	}
}

// lookIdle ends the stream when it was not in use for long. It is called by the timer.
func (s *stream) lookIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 && time.Since(s.used) >= idleTimeout {
		s.endLocked()
	}
	if !s.ended {
		s.idle.Reset(idleTimeout)
	}
}

// readReply reads a reply and hands it to whoever waits for it.
func (s *stream) readReply(r *bufio.Reader) error {
	var head [frame.ReplyHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	reply, err := frame.ParseReply(head[:])
	if err != nil {
		return err
	}
	if reply.Body > maxReply {
		return largeReply(int64(reply.Body))
	}
	a := &answer{code: int(reply.Code), mediaType: contentType, body: make([]byte, reply.Body)}
	if _, err := io.ReadFull(r, a.body); err != nil {
		return err
	}
	if reply.ID == 0 {
		if reply.Code != frame.Bye {
			// Of what kind it is says nothing about the calls that are under way.
			return errors.New("the agent ends the stream: " + replyError(a).Error())
		}
		s.end()
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.calls[reply.ID]
	if sc == nil {
		return fmt.Errorf("the agent answers a call that was not made, %d", reply.ID)
	}
	delete(s.calls, reply.ID)
	s.used = time.Now()
	sc.a = a
	close(sc.done)
	if s.ended && len(s.calls) == 0 {
		s.poke()
	}
	return nil
}

// end says that no more calls are begun; those that are under way are answered.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
}

func (s *stream) endLocked() {
	s.ended = true
	s.idle.Stop()
	s.poke()
}

// fail ends the stream and the calls that are under way.
func (s *stream) fail(err error) {
	_ = s.conn.Close() // Both goroutines notice.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		if !s.ended {
			s.broke = time.Now()
		}
	}
	s.endLocked()
	s.out, s.put = nil, nil
	for id, sc := range s.calls {
		sc.err = s.err
		close(sc.done)
		delete(s.calls, id)
	}
}

// close ends the stream. When calls are under way it ends with the last of them.
func (s *stream) close() {
	s.mu.Lock()
	s.endLocked()
	busy := len(s.calls) > 0
	s.mu.Unlock()
	if !busy {
		_ = s.conn.Close() // Both goroutines notice.
		s.goroutines.Wait()
	}
}

// isOpen reports whether calls can be made, and when the connection broke if that is why not.
func (s *stream) isOpen() (open bool, broke time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended, s.broke
}
