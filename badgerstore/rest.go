package badgerstore

import (
	"errors"

	"github.com/kapetan-io/querator-edge/queue"
)

// smallPartition is what an empty partition may occupy without being written
// anew when it is idle.
const smallPartition = 256 << 10

// rest closes the tail. When the partition is empty, a segment that holds a
// checkpoint only takes the place of all others. It yields when it is closed for want
// of memory and likely to be used again soon: where a new segment can sleep, that is
// what is written next, since one that is opened again takes more memory, and cannot.
func (p *partition) rest(yields bool) error {
	p.discardNext()
	if !yields && p.state.Held() == 0 && p.isLarge() {
		p.memSize = minMemTable
		if err := p.roll(demand{}); err != nil && !errors.Is(err, queue.ErrFull) {
			return p.fail(err)
		}
		p.memSize = minMemTable // Whatever that was adapted to.
	}
	p.storage.dropBlock(&p.block)
	p.storage.dropBlock(&p.looked)
	p.dropBuffers()
	if p.tail == nil {
		return nil
	}
	if err := p.Sync(); err != nil {
		return err
	}
	s, t := p.tail, p.tail.writer
	p.tail, p.asked = nil, 0
	t.rests = t.canResume(&p.storage.options) && (!yields || !p.couldSleep())
	// As near to a full disk as a segment is opened, or all of them would end up
	// open there. Closing one gives more back than it takes.
	p.sealOld(0, createMargin)
	if s.writer == nil && t.rests {
		p.resting = t
	}
	return nil
}

// isLarge reports whether the last segment, which stays when all others are
// done, occupies more than an empty partition should.
func (p *partition) isLarge() bool {
	if len(p.segments) == 0 {
		return false
	}
	s := p.segments[len(p.segments)-1]
	if s.isBusy() {
		return false // It is looked at again the next time.
	}
	if s.writer != nil {
		return s.writer.bytes+s.writer.memUsed() > smallPartition
	}
	return s.bytes > smallPartition
}

// resume opens the last segment for writing again, where rest left it.
func (p *partition) resume() error {
	t := p.resting
	p.resting = nil
	s := p.segments[len(p.segments)-1]
	s.wait()
	p.storage.readers.drop(s)
	if s.sources != nil {
		_ = s.sources.close() // It was only read.
		s.sources = nil
	}
	s.verified, s.barren = false, false
	if s.stuck != nil || hasLog(s.dir) {
		return nil // Closing it failed; a new segment is the way on.
	}
	t.written, t.syncs = 0, 0
	t.mem = p.wantedMem()
	if err := t.resume(true); err != nil {
		return err
	}
	s.writer, p.tail = t, s
	return nil
}
