package main

import (
	"runtime"
	"sync"
)

// sharedRedis is one connection to Redis for many goroutines: what they send at about the same time goes with one
// write, and the answers come in that order. Clients of Redis that do so by themselves work like this; calls that
// block cannot be among them.
type sharedRedis struct {
	conn *redisConn
	wake chan struct{} // holds a token when there is something to write; closed at the end
	sent chan *sharedCall
	done sync.WaitGroup

	mu    sync.Mutex
	out   []byte
	calls []*sharedCall // whose commands are in out
}

// sharedCall is what one goroutine waits for.
type sharedCall struct {
	answers int
	err     error
	done    chan struct{}
}

// sharedCalls is more than there are goroutines.
const sharedCalls = 1024

func shareRedis(c *redisConn) *sharedRedis {
	s := &sharedRedis{conn: c, wake: make(chan struct{}, 1), sent: make(chan *sharedCall, sharedCalls)}
	s.done.Go(s.write)
	s.done.Go(s.read)
	return s
}

// call sends commands and waits for so many answers.
func (s *sharedRedis) call(commands []byte, answers int) error {
	sc := &sharedCall{answers: answers, done: make(chan struct{})}
	s.mu.Lock()
	s.out = append(s.out, commands...)
	s.calls = append(s.calls, sc)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	<-sc.done
	return sc.err
}

func (s *sharedRedis) write() {
	defer close(s.sent)
	for range s.wake {
		runtime.Gosched() // Those who have just got their answers send at once, too.
		s.mu.Lock()
		out, calls := s.out, s.calls
		s.out, s.calls = nil, nil
		s.mu.Unlock()
		for _, sc := range calls {
			s.sent <- sc
		}
		if _, err := s.conn.Write(out); err != nil {
			_ = s.conn.Close() // Whoever reads says what is wrong.
		}
	}
}

func (s *sharedRedis) read() {
	for sc := range s.sent {
		sc.err = s.conn.readSimple(sc.answers)
		close(sc.done)
	}
}

func (s *sharedRedis) close() {
	close(s.wake)
	s.done.Wait()
	s.conn.close()
}

// share returns a function that dials clients of one program. Each has a connection of its own for leases that wait.
func (r *redis) share() (dial func() (conn, error), closeAll func(), err error) {
	c, err := r.dialRedis()
	if err != nil {
		return nil, nil, err
	}
	s := shareRedis(c)
	return func() (conn, error) {
		own, err := r.dialRedis()
		if err != nil {
			return nil, err
		}
		own.shared = s
		return own, nil
	}, s.close, nil
}
