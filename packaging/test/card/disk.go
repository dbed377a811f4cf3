package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
)

const (
	// sector is what requests consist of.
	sector = 512
	// page is what a card writes wholly or not at all. A smaller one would be a test of ext4, which does not mount
	// when a block that commits a transaction of its journal is torn.
	page = 4096
	// maxCached bounds the cache in pages, 32 MiB; a full one is flushed.
	maxCached = 8 << 10
)

var errRange = errors.New("outside the disk, or not whole sectors")

// disk is an image with a cache that a power cut takes. It is used by one goroutine.
type disk struct {
	file    *os.File
	size    int64
	cache   map[int64][]byte // by the number of the page
	r       *rand.Rand
	flushes int
}

func newDisk(f *os.File, seed uint64) (*disk, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() == 0 || fi.Size()%page != 0 {
		return nil, fmt.Errorf("%s has %d bytes, not whole pages", f.Name(), fi.Size())
	}
	return &disk{file: f, size: fi.Size(), cache: make(map[int64][]byte), r: rand.New(rand.NewPCG(seed, 0))}, nil
}

// check returns errRange unless length bytes at off are whole sectors of the disk.
func (d *disk) check(off int64, length int) error {
	if off < 0 || off > d.size-int64(length) || off%sector != 0 || length%sector != 0 {
		return errRange
	}
	return nil
}

// read fills p with what was written last, flushed or not.
func (d *disk) read(p []byte, off int64) error {
	if err := d.check(off, len(p)); err != nil {
		return err
	}
	if _, err := d.file.ReadAt(p, off); err != nil {
		return err
	}
	for i := 0; i < len(p); i += sector {
		at := off + int64(i)
		if cached, ok := d.cache[at/page]; ok {
			copy(p[i:i+sector], cached[at%page:])
		}
	}
	return nil
}

// cached returns the page of a number in the cache, where it is from now on.
func (d *disk) cached(n int64) ([]byte, error) {
	if p, ok := d.cache[n]; ok {
		return p, nil
	}
	p := make([]byte, page)
	if _, err := d.file.ReadAt(p, n*page); err != nil {
		return nil, err
	}
	d.cache[n] = p
	return p, nil
}

// write puts p into the cache, or with through onto the flash.
func (d *disk) write(p []byte, off int64, through bool) error {
	if err := d.check(off, len(p)); err != nil {
		return err
	}
	for i := 0; i < len(p); i += sector {
		at := off + int64(i)
		cached, err := d.cached(at / page)
		if err != nil {
			return err
		}
		copy(cached[at%page:], p[i:i+sector])
	}
	if through || len(d.cache) > maxCached {
		return d.flush() // More than has to be, which is a card's right.
	}
	return nil
}

// flush makes all that was written outlast a cut.
func (d *disk) flush() error {
	d.flushes++
	for n, p := range d.cache {
		if _, err := d.file.WriteAt(p, n*page); err != nil {
			return err
		}
	}
	clear(d.cache)
	return nil
}

// cut is the end of the power: of each page in the cache a coin decides.
func (d *disk) cut() (lost, kept int, err error) {
	numbers := make([]int64, 0, len(d.cache))
	for n := range d.cache {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers) // So that the seed decides.
	for _, n := range numbers {
		if d.r.IntN(2) == 0 {
			lost++
			continue
		}
		kept++
		if _, err := d.file.WriteAt(d.cache[n], n*page); err != nil {
			return lost, kept, err
		}
	}
	clear(d.cache)
	return lost, kept, nil
}
