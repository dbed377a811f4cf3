package badgerstore

import (
	"cmp"
	"slices"
)

// index says where in its logs the entries of a segment are that is written. It
// takes indexMemory bytes for an entry at most, which is why an index of a whole
// segment is bounded by its memtable's log.
type index struct {
	header, checkpoint, blocks, records []spot
}

// spot says where the value of a key is.
type spot struct {
	n    uint64 // number in the key, 0 where it has none
	at   uint32 // first byte of the value in its file
	size uint32 // bytes, and inValues for the value log
}

// inValues in spot.size: the value is in the value log.
const inValues = 1 << 31

// indexMemory is what an entry takes of memory, with what a slice that grows has
// left over.
const indexMemory = 20

// split returns which list a key belongs to, and its number; nil for other keys,
// such as those of definitions, which are never read here.
func (x *index) split(key []byte) (list *[]spot, n uint64) {
	switch {
	case len(key) == 1 && key[0] == letterHeader:
		return &x.header, 0
	case len(key) == 1 && key[0] == letterCheckpoint:
		return &x.checkpoint, 0
	}
	if n, ok := keyNumber(letterBlock, key); ok {
		return &x.blocks, n
	}
	if n, ok := keyNumber(letterRecord, key); ok {
		return &x.records, n
	}
	return nil, 0
}

// add takes note of a value; a later one of the same key takes its place.
func (x *index) add(key []byte, at int64, size int, values bool) {
	list, n := x.split(key)
	if list == nil {
		return
	}
	p := spot{n: n, at: uint32(at), size: uint32(size)}
	if values {
		p.size |= inValues
	}
	l := *list
	if len(l) == 0 || l[len(l)-1].n < n { // As it nearly always is.
		*list = append(l, p)
		return
	}
	i, found := slices.BinarySearchFunc(l, n, compareSpot)
	if found {
		l[i] = p
		return
	}
	*list = slices.Insert(l, i, p)
}

// len returns how many entries there are.
func (x *index) len() int { return len(x.header) + len(x.checkpoint) + len(x.blocks) + len(x.records) }

// find returns where the value of key is.
func (x *index) find(key []byte) (spot, bool) {
	list, n := x.split(key)
	if list == nil {
		return spot{}, false
	}
	i, found := slices.BinarySearchFunc(*list, n, compareSpot)
	if !found {
		return spot{}, false
	}
	return (*list)[i], true
}

// from returns the places of a letter from a number on.
func (x *index) from(letter byte, n uint64) []spot {
	var list []spot
	switch letter {
	case letterBlock:
		list = x.blocks
	case letterRecord:
		list = x.records
	}
	i, _ := slices.BinarySearchFunc(list, n, compareSpot)
	return list[i:]
}

func compareSpot(p spot, n uint64) int { return cmp.Compare(p.n, n) }
