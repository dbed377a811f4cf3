package badgerstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// How a tail is read: what was written since its files were made by its index, what
// was there before by the database that it was. It is a view, for its owner.

// mappedValue is from what size on a value is read through a mapping, where a copy in
// memory would cost too much of it.
const mappedValue = 64 << 10

// get is view.get.
func (t *tail) get(key []byte, fn func(value []byte) error) (found bool, err error) {
	if p, ok := t.index.find(key); ok {
		return true, t.value(p, fn)
	}
	if t.older == nil {
		return false, nil
	}
	return t.older.get(key, fn)
}

// each is view.each. What was there before has lower numbers.
func (t *tail) each(letter byte, from uint64, fn eachFunc) error {
	if t.older != nil {
		ended := false
		err := t.older.each(letter, from, func(n uint64, read func(func([]byte) error) error) (more bool, err error) {
			more, err = fn(n, read)
			ended = !more
			return more, err
		})
		if err != nil || ended {
			return err
		}
	}
	for _, p := range t.index.from(letter, from) {
		more, err := fn(p.n, func(use func([]byte) error) error { return t.value(p, use) })
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// blockBefore is view.blockBefore.
func (t *tail) blockBefore(seq uint64) (first uint64, found bool) {
	behind := len(t.index.from(letterBlock, seq+1))
	if i := len(t.index.blocks) - behind; i > 0 {
		return t.index.blocks[i-1].n, true
	}
	if t.older == nil {
		return 0, false
	}
	return t.older.blockBefore(seq)
}

// blockAfter is view.blockAfter.
func (t *tail) blockAfter(seq uint64) (first uint64, found bool) {
	if t.older != nil {
		if first, found := t.older.blockAfter(seq); found {
			return first, true
		}
	}
	if after := t.index.from(letterBlock, seq+1); len(after) > 0 {
		return after[0].n, true
	}
	return 0, false
}

// where is view.where.
func (t *tail) where() string { return t.dir }

// value calls fn with the value at a place. Nothing of what is written is taken for
// lost, since it may not be on flash yet; a new start shows.
func (t *tail) value(p spot, fn func(value []byte) error) error {
	at, size := int64(p.at), int64(p.size&^inValues)
	if p.size&inValues != 0 {
		return t.withValues(func(f *os.File) error { return t.read(f, at, size, fn) })
	}
	if from := at - t.memWritten; from >= 0 {
		return fn(t.pending[from : from+size : from+size])
	}
	return t.read(t.memFile, at, size, fn)
}

// read calls fn with a part of one of the files.
func (t *tail) read(f *os.File, at, size int64, fn func(value []byte) error) error {
	if size >= mappedValue {
		return t.mapped(f, at, size, fn)
	}
	b, c := t.takeBuffer(int(size)), card{f: f}
	defer func() {
		if !t.asleep.is {
			t.readBuf = b
		}
	}()
	if _, err := c.try(b, at); err != nil {
		return unavailable(err, "cannot read %s", f.Name())
	}
	return fn(b)
}

// takeBuffer returns a buffer of that size, the last one if it will do. Who takes it
// gives it back; somebody who reads meanwhile gets another.
func (t *tail) takeBuffer(size int) []byte {
	b := t.readBuf
	t.readBuf = nil
	if cap(b) < size {
		return make([]byte, size, (size+pageSize-1)/pageSize*pageSize)
	}
	return b[:size]
}

// mapped calls fn with a part of a file, mapped into memory.
func (t *tail) mapped(f *os.File, at, size int64, fn func(value []byte) error) error {
	skip := at % int64(os.Getpagesize())
	m, err := unix.Mmap(int(f.Fd()), at-skip, int(size+skip), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return unavailable(err, "cannot map %s", f.Name())
	}
	var inner error
	_ = again(len(readPauses), func() bool {
		err = guard(func() error {
			inner = fn(m[skip:])
			return nil
		})
		return !errors.Is(err, errFault)
	})
	err = errors.Join(err, unix.Munmap(m))
	if err != nil {
		return unavailable(err, "cannot read %s", f.Name())
	}
	return inner
}
