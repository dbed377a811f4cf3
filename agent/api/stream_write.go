package api

import (
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
)

// flush writes the replies of calls that are answered, unless somebody does: of all of
// them, or of those that are answered now.
func (s *stream) flush(all bool) {
	s.mu.Lock()
	if s.writing {
		s.mu.Unlock()
		return
	}
	s.writing = true
	for more := true; more && s.mustWrite(); more = all {
		batch, note := s.done, s.note
		if s.isLast() {
			note, s.last = append(note, s.last...), nil
		}
		s.done, s.spare, s.note = s.spare, nil, nil
		for _, sc := range batch {
			sc.unwanted = sc.dropped || s.cut
			if s.calls[sc.id] == sc {
				delete(s.calls, sc.id)
			}
		}
		s.mu.Unlock()
		s.write(batch, note)
		clear(batch)
		s.mu.Lock()
		s.spare, s.active = batch[:0], time.Now()
		s.written.Broadcast()
	}
	s.writing = false
	s.written.Broadcast()
	again := s.mustWrite() || s.ended && len(s.calls) == 0
	s.mu.Unlock()
	if again {
		s.poke()
	}
}

// flushEarly writes the replies of leases that are answered while the engine is about to
// sync what others have asked for: so many short ones as can be written at once, since it
// must not block.
func (s *stream) flushEarly() {
	nc, ok := s.nc.(interface{ TryWrite(p []byte) (int, error) })
	if !ok {
		return
	}
	defer s.recovered()
	s.mu.Lock()
	batch := s.takeShort()
	s.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	for _, sc := range batch {
		if sc.upTo == 0 {
			s.put(sc, false)
		}
	}
	s.try(nc.TryWrite)
	now := time.Now()
	left := batch[:0]
	for _, sc := range batch {
		if s.fault == nil && s.sent < sc.upTo {
			left = append(left, sc) // What follows it in the buffer, too.
			continue
		}
		sc.end(s.sent >= sc.upTo && !sc.unwanted, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.active, s.writing = slices.Insert(s.done, 0, left...), now, false
	s.written.Broadcast()
	if len(left)+len(s.note) > 0 {
		s.poke()
	}
}

// takeShort takes leases that are answered, up to the first call that is none or whose
// reply may be long, for the caller to write. With mu held.
func (s *stream) takeShort() []*streamCall {
	if s.writing || len(s.note) > 0 || s.isLast() {
		return nil // These come first, or somebody is at it.
	}
	n, room := 0, int64(streamWrite)
	for _, sc := range s.done {
		if sc.lease == nil {
			break
		}
		if room -= sc.replySize(); room < 0 {
			break
		}
		sc.unwanted = sc.dropped || s.cut
		if s.calls[sc.id] == sc {
			delete(s.calls, sc.id)
		}
		n++
	}
	batch := slices.Clone(s.done[:n])
	s.done = slices.Delete(s.done, 0, n)
	s.writing = n > 0
	return batch
}

// try writes what it can of the buffer without blocking.
func (s *stream) try(write func(p []byte) (int, error)) {
	if s.fault != nil {
		s.said, s.buf = s.said+int64(len(s.buf)), s.buf[:0]
		return
	}
	n, err := write(s.buf)
	s.said, s.sent = s.said+int64(n), s.sent+int64(n)
	s.buf = append(s.buf[:0], s.buf[n:]...)
	if err != nil {
		s.broke(err)
	}
}

// mustWrite reports whether there is something to write.
func (s *stream) mustWrite() bool { return len(s.done) > 0 || len(s.note) > 0 || s.isLast() }

// isLast reports whether it is time for what is written at the end: nothing follows what
// is done.
func (s *stream) isLast() bool { return len(s.last) > 0 && len(s.calls) == 0 && len(s.done) == 0 }

// awaitWriter waits while somebody writes and there is much to be written: nothing is read
// from a client that does not read.
func (s *stream) awaitWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing && len(s.done) >= maxUnread {
		s.written.Wait()
	}
}

// write writes a note and the replies of calls, which end with that.
func (s *stream) write(batch []*streamCall, note []byte) {
	s.buf = append(s.buf, note...)
	for _, sc := range batch {
		if sc.upTo == 0 {
			s.put(sc, true)
		}
		if len(s.buf) >= streamWrite {
			s.send()
		}
	}
	s.send()
	now := time.Now()
	for _, sc := range batch {
		// As over HTTP, what the kernel has was delivered.
		sc.end(s.sent >= sc.upTo && !sc.unwanted, now)
	}
}

// put puts the reply of a call into the buffer, but writes it at once if it is long and
// that may be.
func (s *stream) put(sc *streamCall, mayWrite bool) {
	code, text, lease := sc.result(s.out, sc.unwanted)
	size := len(text)
	if lease != nil {
		size = lease.size()
	} else {
		sc.take(int64(size)) // It has the names of a request in it, and may be as long.
	}
	s.buf = frame.AppendReply(s.buf, frame.Reply{ID: sc.id, Code: uint16(code), Body: uint32(size)})
	switch {
	case lease != nil && len(lease.cuts) > 0:
		s.send()
		_, _ = lease.WriteTo(s) // See Write.
	case lease != nil:
		s.add(lease.b, mayWrite)
	default:
		s.add(text, mayWrite)
	}
	sc.upTo = s.said + int64(len(s.buf))
}

// add adds a reply's body to what is written.
func (s *stream) add(body []byte, mayWrite bool) {
	if len(body) <= streamWrite || !mayWrite {
		s.buf = append(s.buf, body...)
		return
	}
	s.send()
	_, _ = s.Write(body) // See Write.
}

// send writes the buffer.
func (s *stream) send() {
	_, _ = s.Write(s.buf) // See Write.
	if s.buf = s.buf[:0]; cap(s.buf) > 2*streamWrite {
		s.buf = nil
	}
}

// Write writes p to the connection, for whoever writes. The first error ends the
// connection; it is kept, and whoever looks at it has nobody to tell.
func (s *stream) Write(p []byte) (n int, err error) {
	s.said += int64(len(p))
	if s.fault != nil || len(p) == 0 {
		return 0, s.fault
	}
	// A deadline may be up to an eighth too early: to set one costs as much as a small write.
	if t := time.Now(); s.until.Sub(t) < s.h.bodyTimeout*7/8 {
		s.until = t.Add(s.h.bodyTimeout)
		_ = s.nc.SetWriteDeadline(s.until) // Writing tells what is wrong with it.
	}
	n, err = s.nc.Write(p)
	if s.sent += int64(n); err != nil {
		s.broke(err)
	}
	return n, err
}

// broke says that nothing can be written any more.
func (s *stream) broke(err error) {
	s.fault = err
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked()
}
