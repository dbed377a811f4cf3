package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A tail sleeps while others need its memory and it is likely to be used again soon:
// its files are as they are when it is written, and closed but for the memtable's log.
// Nothing is written for that but what is pending, and nothing to wake it up, so that a
// thousand queues may be used in turn although a tenth of them can be open. One that is
// not used for long is closed as always (rest), which gives back the blocks that are
// reserved for it.
//
// The memtable's log stays open: what a journal has on flash is written to it without a
// sync, and the kernel reports a failure of that to those who have the file open.

const (
	// sleepMemory is what a tail that sleeps takes beside its index, which stays in
	// memory, and what the kernel holds for it, as measured with 1000.
	sleepMemory = 4 << 10
	// maxAsleep bounds both; a tail that takes more is closed.
	maxAsleep = 64 << 10
	// smallAsleep is up to where a tail that sleeps is small.
	smallAsleep = 8 << 10
	// sleepShare is the part of the storage's memory that all tails that sleep may have
	// together; half of it is left to small ones.
	sleepShare = 4
	// sleepSpace: no tail sleeps where less than this times Options.MinFree is free on
	// the disk, since each keeps half a megabyte that is reserved for it.
	sleepSpace = 4 * shortSpace
	// maxRoused is how many that sleep are woken at a time to be closed, since they are
	// not used any more.
	maxRoused = 16
)

// sleeping is what a tail remembers while it sleeps.
type sleeping struct {
	is      bool
	charged int64         // what it takes of memory when it is awake
	share   *atomic.Int64 // of all that sleep
	counted int64         // what it has of that
	used    int64         // what its files occupy
	mapped  bool          // the file of that name was mapped
	told    bool          // that it cannot be woken was reported
}

// end gives its part of the share back.
func (s *sleeping) end() {
	if s.share != nil {
		s.share.Add(-s.counted)
	}
	*s = sleeping{}
}

// Yield closes what can be closed without writing much, and opened as quickly.
func (p *partition) Yield() error {
	if p.err != nil {
		return p.err
	}
	if p.tail == nil || !p.maySleep() {
		if err := p.rest(true); err != nil {
			return err
		}
		p.removeDone()
		p.background.Wait()
		p.spent.drop()
		return nil
	}
	p.discardNext()
	p.storage.dropBlock(&p.block)
	p.storage.dropBlock(&p.looked)
	p.dropBuffers()
	if err := p.Sync(); err != nil {
		return err
	}
	p.tail.writer.giveBack()
	p.asked = 0
	if err := p.tail.writer.sleep(p.storage.report); err != nil {
		return p.fail(err)
	}
	p.removeDone()
	p.sealOld(0, createMargin)
	p.background.Wait() // The memory is free only then.
	p.spent.drop()
	return nil
}

// maySleep takes a part of the share of those that sleep for the tail, if it is one
// that can, and there is space for what is reserved of it.
func (p *partition) maySleep() bool {
	t := p.tail.writer
	if t.asleep.is {
		return true
	}
	memory := t.sleepMemory()
	if t.older != nil || t.failed || memory > maxAsleep || !p.storage.hasSleepSpace(p.dir) {
		return false
	}
	limit := p.storage.options.MemoryBudget / sleepShare
	if memory > smallAsleep {
		limit /= 2
	}
	if p.storage.asleep.Add(memory) > limit {
		p.storage.asleep.Add(-memory)
		return false
	}
	t.asleep.share, t.asleep.counted = &p.storage.asleep, memory
	return true
}

// couldSleep reports whether another tail could sleep, if it is new.
func (p *partition) couldSleep() bool {
	return p.storage.asleep.Load()+smallAsleep <= p.storage.options.MemoryBudget/sleepShare && p.storage.hasSleepSpace(p.dir)
}

// hasSleepSpace reports whether there is much more space than what others may not take.
func (s *Storage) hasSleepSpace(dir string) bool {
	if time.Since(s.started) < time.Duration(s.plenty.Load()) {
		return true
	}
	free, err := freeSpace(dir)
	return err == nil && free >= sleepSpace*s.options.MinFree
}

// sleepMemory returns what the tail takes of memory while it sleeps.
func (t *tail) sleepMemory() int64 {
	return sleepMemory + int64(t.index.len())*indexMemory + int64(t.sources.len())*sourceMemory
}

// sleep closes the tail until wake is called. All that was written is on flash.
// What is wrong with its journal goes to report; it can do without.
func (t *tail) sleep(report func(dir string, err error)) error {
	if t.asleep.is {
		return nil
	}
	if m := t.making; m != nil {
		<-m.ready
		report(t.dir, t.takeJournal())
	}
	if err := t.flush(); err != nil {
		return err
	}
	t.asleep.used, t.asleep.charged, t.asleep.mapped = t.usedBytes(), t.charged, t.usedMap != nil
	t.asleep.is = true
	mem := t.memFile
	t.memFile = nil
	t.closeFiles()
	t.memFile = mem
	if t.journal != nil {
		t.journal.close()
	}
	t.pending, t.readBuf = nil, nil
	t.charge(t.asleep.counted - t.charged)
	return nil
}

// wake opens the files again, to be written.
func (t *tail) wake() error {
	if !t.asleep.is {
		return nil
	}
	if err := t.openAgain(); err != nil {
		mem := t.memFile
		t.memFile = nil
		t.closeFiles()
		t.memFile = mem
		return unavailable(err, "cannot open the segment %s again", t.dir)
	}
	if t.asleep.mapped && t.used != nil {
		t.mapAgain()
	}
	t.charge(t.asleep.charged - t.charged)
	t.asleep.end()
	return nil
}

// shutAsleep closes a tail that sleeps without waking it, and without making a table:
// there may be a thousand, and no time. Its files are as after a crash, but for what
// only the journal had and for what was reserved.
func (t *tail) shutAsleep() error {
	if err := t.settleAsleep(); err != nil {
		return t.leave(err)
	}
	punch(t.memFile, t.memEnd, 2*t.mem)
	err := t.withValues(func(f *os.File) error {
		punch(f, t.valueEnd, 2*t.valueFileSize())
		return nil
	})
	t.letGo()
	return err
}

// punch gives back the blocks of whole pages between two places of a file, which stays
// as long as it is, so that it is not taken for one that was cut off. Where the file
// system cannot, they stay until the segment is read.
func punch(f *os.File, from, to int64) {
	from = (from + pageSize - 1) / pageSize * pageSize
	if from < to {
		_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	}
}

// settleAsleep is settle for a tail that sleeps.
func (t *tail) settleAsleep() error {
	if t.failed {
		return unavailable(nil, "the files of %s stay as they are, since the partition has failed", t.dir)
	}
	if t.memSynced < t.memEnd {
		if err := fdatasync(t.memFile); err != nil {
			return unavailable(err, "cannot sync %s", t.dir)
		}
	}
	if t.journal == nil {
		return nil
	}
	t.journal = nil
	if err := errors.Join(os.Remove(filepath.Join(t.dir, journalName)), syncDir(t.dir)); err != nil {
		return unavailable(err, "cannot remove the journal of %s", t.dir)
	}
	return nil
}

func (t *tail) openAgain() (err error) {
	if t.valueFile, err = t.openValues(); err != nil {
		return err
	}
	t.used, _ = os.OpenFile(filepath.Join(t.dir, usedName), os.O_RDWR, 0) // It can do without, see noteSynced.
	if t.journal != nil {
		return t.journal.open(filepath.Join(t.dir, journalName))
	}
	return nil
}

// openValues opens the value log.
func (t *tail) openValues() (*os.File, error) {
	return os.OpenFile(filepath.Join(t.dir, valueLogName(t.valueNumber)), os.O_RDWR, 0)
}

// withValues calls fn with the value log, which is opened for that while the tail sleeps.
func (t *tail) withValues(fn func(f *os.File) error) error {
	if !t.asleep.is {
		return fn(t.valueFile)
	}
	f, err := t.openValues()
	if err != nil {
		return unavailable(err, "cannot open the value log of %s", t.dir)
	}
	return errors.Join(fn(f), f.Close())
}
