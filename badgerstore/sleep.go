package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	// maxAsleep bounds both; a tail that takes more is closed. It is half of what one
	// that is open takes at least.
	maxAsleep = TailMemory / 2
	// smallAsleep is up to where a tail that sleeps is small.
	smallAsleep = 8 << 10
	// smallShare is the part of the storage's memory that small ones alone may have.
	smallShare = 8
)

// sleeping is what a tail remembers while it sleeps.
type sleeping struct {
	is      bool
	charged int64 // what it takes of memory when it is awake
	used    int64 // what its files occupy
	mapped  bool  // the file of that name was mapped
}

// Yield closes what can be closed without writing much, and opened as quickly.
func (p *partition) Yield() error {
	if p.err != nil {
		return p.err
	}
	if !p.canSleep() {
		if err := p.rest(true); err != nil {
			return err
		}
		p.removeDone()
		p.background.Wait()
		return nil
	}
	p.discardNext()
	p.storage.dropBlock(&p.block)
	p.storage.dropBlock(&p.looked)
	p.dropBuffers()
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.tail.writer.sleep(p.storage.report); err != nil {
		return p.fail(err)
	}
	p.removeDone()
	p.sealOld(0, createMargin)
	p.background.Wait() // The memory is free only then.
	return nil
}

// canSleep reports whether the tail is small enough to sleep, where there is memory for
// it and space for what is reserved of it.
func (p *partition) canSleep() bool {
	if p.tail == nil {
		return false
	}
	t := p.tail.writer
	memory := t.sleepMemory()
	more := memory - t.charged
	if !t.isSmallAsleep() {
		more += p.storage.options.MemoryBudget / smallShare // That is left to small ones.
	}
	return t.older == nil && !t.failed && memory <= maxAsleep && p.storage.hasRoom(more) && !p.storage.isShort(p.dir)
}

// isSmallAsleep reports whether the tail takes little memory while it sleeps.
func (t *tail) isSmallAsleep() bool { return t.sleepMemory() <= smallAsleep }

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
	t.asleep = sleeping{is: true, charged: t.charged, used: t.usedBytes(), mapped: t.usedMap != nil}
	mem := t.memFile
	t.memFile = nil
	t.closeFiles()
	t.memFile = mem
	if t.journal != nil {
		t.journal.close()
	}
	t.pending, t.readBuf = nil, nil
	t.charge(t.sleepMemory() - t.charged)
	return nil
}

// wake opens the files again, to be written.
func (t *tail) wake() error {
	if !t.asleep.is {
		return nil
	}
	err := t.openAgain()
	if err != nil {
		mem := t.memFile
		t.memFile = nil
		t.closeFiles()
		t.memFile = mem
		return unavailable(err, "cannot open the segment %s again", t.dir)
	}
	if t.asleep.mapped {
		t.mapAgain()
	}
	t.charge(t.asleep.charged - t.charged)
	t.asleep = sleeping{}
	return nil
}

func (t *tail) openAgain() (err error) {
	if t.valueFile, err = t.openValues(); err != nil {
		return err
	}
	if t.used, err = os.OpenFile(filepath.Join(t.dir, usedName), os.O_RDWR, 0); err != nil {
		return err
	}
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

// valueLogName returns the name of a value log.
func valueLogName(number uint32) string { return fmt.Sprintf("%06d.vlog", number) }
