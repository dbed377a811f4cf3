package serve

import (
	"bytes"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// flush writes the replies that there are. It does not block.
func (r *reader) flush() {
	w := r.w
	w.mu.Lock()
	done := w.done
	w.done, w.spare = w.spare[:0], nil
	for _, x := range done {
		x.dropped = x.unwanted
	}
	w.mu.Unlock()
	for _, x := range done {
		r.write(x)
	}
	clear(done)
	w.mu.Lock()
	w.spare = done[:0]
	w.mu.Unlock()
}

// write writes a reply; what the kernel does not take at once, or takes long to make, is
// left to the goroutine of the connection.
func (r *reader) write(x *Exchange) {
	c := x.c
	defer func() {
		if v := recover(); v != nil {
			r.w.s.panicked(x.Request, v)
			x.pending.End(false)
			r.end(c)
		}
	}()
	last := r.w.s.draining.Load()
	switch {
	case x.dropped:
		x.pending.End(false)
		r.end(c)
		return
	case x.pending.Heavy():
		c.rest = &rest{x: x, last: last}
		r.w.leave(c)
		return
	}
	reply := x.pending.Reply()
	r.out = reply.appendHead(r.out[:0], r.dateLine(), last)
	sent, err := 0, error(nil)
	if reply.Large == nil {
		sent, err = send(c.fd, r.out, reply.Body)
	}
	switch {
	case err != nil:
		x.pending.End(false)
		r.end(c)
	case sent < len(r.out)+reply.size():
		c.rest = &rest{x: x, head: bytes.Clone(r.out), reply: reply, sent: sent, last: last}
		r.w.leave(c)
	case r.wasLast(x) || last:
		r.end(c)
	default:
		r.w.goOn(c)
	}
}

// wasLast ends an exchange of which the reply was written, and reports whether there will
// be no other on the connection.
func (r *reader) wasLast(x *Exchange) bool {
	x.pending.End(true)
	return !r.w.s.setBusy(x.c, false)
}

// send sends the head and the body of a reply, as much as the kernel takes at once.
func send(fd int, head, body []byte) (n int, err error) {
	for {
		n, err = unix.SendmsgBuffers(fd, [][]byte{head, body}, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		default:
			return n, err
		}
	}
}

// dateLine returns the line that says when a reply was made, which is made once a second.
func (r *reader) dateLine() []byte {
	if now := time.Now(); now.Unix() != r.second {
		r.second, r.date = now.Unix(), appendDate(r.date[:0], now)
	}
	return r.date
}
