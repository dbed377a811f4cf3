package queue

import (
	"slices"
	"sync/atomic"
)

// budget is a number of bytes that several partitions share. It is advisory: a
// partition that needs one item takes it whatever is left.
type budget struct {
	limit int64
	used  atomic.Int64
}

// left returns how much may still be taken.
func (b *budget) left() int64 { return max(0, b.limit-b.used.Load()) }

// take takes what is left, but at most most and at least least, and returns how
// much that is.
func (b *budget) take(most, least int64) int64 {
	for {
		used := b.used.Load()
		n := max(min(most, b.limit-used), least)
		if b.used.CompareAndSwap(used, used+n) {
			return n
		}
	}
}

// isOver reports whether more is taken than there is.
func (b *budget) isOver() bool { return b.used.Load() > b.limit }

// readAhead holds the next ready items of a partition, read from the store or
// kept from the commit that added them. It belongs to the partition's loop.
//
// What was read together stays together: a store hands over a block as it is, and
// nothing is copied to put it behind the others.
type readAhead struct {
	chunks Chunks // ready, in order; of the first, those from head on. None is empty.
	head   int
	clean  int    // chunks[0][:clean] hold nothing any more
	count  int    // of all of them
	spare  []Item // room for the next ones that are pushed; empty, but not clean before tidy
	bytes  int64
	// next: every ready item below it is in chunks.
	next   uint64
	budget *budget
}

func (a *readAhead) len() int { return a.count }

// first returns the first item without taking it; nil if there is none.
func (a *readAhead) first() *Item {
	if a.count == 0 {
		return nil
	}
	return &a.chunks[0][a.head]
}

// each yields the items in order.
func (a *readAhead) each(yield func(*Item) bool) {
	skip := a.head
	for it := range a.chunks.All() {
		if skip--; skip < 0 && !yield(it) {
			return
		}
	}
}

// take removes the first item. The pointer holds until the next push or tidy.
func (a *readAhead) take() *Item {
	it := &a.chunks[0][a.head]
	a.head++
	a.count--
	a.account(-it.memory())
	if a.head == len(a.chunks[0]) {
		a.dropChunk()
	}
	return it
}

// dropChunk lets go of the first chunk. A small one is kept for its room.
func (a *readAhead) dropChunk() {
	if c := a.chunks[0]; cap(c) <= keptAhead {
		a.spare = c[:0]
	}
	a.chunks[0] = nil
	a.chunks, a.head, a.clean = a.chunks[1:], 0, 0
}

// push adds an item behind the others.
func (a *readAhead) push(it *Item) {
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last]) == cap(a.chunks[last]) {
		a.chunks = append(a.chunks, a.room(last))
		last++
	}
	a.chunks[last] = append(a.chunks[last], *it)
	a.count++
	a.account(it.memory())
}

// room returns room for items that are pushed behind the last chunk.
func (a *readAhead) room(last int) []Item {
	if cap(a.spare) > 0 {
		s := a.spare
		a.spare = nil
		return s
	}
	n := 1
	if last >= 0 {
		n = min(2*cap(a.chunks[last]), keptAhead)
	}
	return make([]Item, 0, n)
}

// add adds items, one at least, behind the others. The slice is the read-ahead's then.
func (a *readAhead) add(items []Item) {
	n := int64(0)
	for i := range items {
		n += items[i].memory()
	}
	a.account(n)
	a.count += len(items)
	a.chunks = append(a.chunks, slices.Clip(items))
}

// tidy lets go of the memory of what was taken.
func (a *readAhead) tidy() {
	clear(a.spare[:cap(a.spare)])
	if a.count == 0 {
		return
	}
	c := a.chunks[0]
	if rest := c[a.head:]; cap(c) > wideChunk && len(rest) < cap(c)/4 {
		a.chunks[0], a.head, a.clean = append(make([]Item, 0, len(rest)), rest...), 0, 0
		return
	}
	clear(c[a.clean:a.head])
	a.clean = a.head
}

const (
	// keptAhead is for how many items the room is kept although there are few.
	keptAhead = 16
	// wideChunk is from how many items on the room of a chunk is not left to the few
	// that are left of them.
	wideChunk = 256
)

func (a *readAhead) account(n int64) {
	a.bytes += n
	a.budget.used.Add(n)
}

// filter drops the items that keep says no to.
func (a *readAhead) filter(keep func(seq uint64) bool) {
	left := a.chunks[:0]
	for i, c := range a.chunks {
		kept := c[:0]
		if i == 0 {
			c = c[a.head:]
		}
		for j := range c {
			if keep(c[j].Seq()) {
				kept = append(kept, c[j])
				continue
			}
			a.count--
			a.account(-c[j].memory())
		}
		clear(kept[len(kept):cap(kept)])
		if len(kept) > 0 {
			left = append(left, kept)
		}
	}
	clear(a.chunks[len(left):])
	a.chunks, a.head, a.clean = left, 0, 0
}

// drop forgets all items; the next read begins at seq.
func (a *readAhead) drop(seq uint64) {
	a.account(-a.bytes)
	*a = readAhead{next: seq, budget: a.budget}
}

// trim drops items at the end until those that are left take no more than most, or
// one is left.
func (a *readAhead) trim(most int64) {
	for a.count > 1 && a.bytes > most {
		last := len(a.chunks) - 1
		c := a.chunks[last]
		it := &c[len(c)-1]
		a.next = it.Seq()
		a.account(-it.memory())
		a.count--
		*it = Item{}
		if a.chunks[last] = c[:len(c)-1]; len(c) == 1 {
			a.chunks[last] = nil
			a.chunks = a.chunks[:last]
		}
	}
}

// fill reads until there are want items or maxBytes of them, or none are left
// below end.
func (a *readAhead) fill(ps PartitionStore, want int, maxBytes int64, end uint64) error {
	for a.next < end && a.len() < want && (a.len() == 0 || a.bytes < maxBytes) {
		chunks, next, err := ps.Read(a.next, want-a.len(), max(1, maxBytes-a.bytes))
		if err != nil {
			return err
		}
		for _, c := range chunks {
			a.add(c)
		}
		if len(chunks) == 0 || next <= a.next {
			next = end
		}
		a.next = next
	}
	return nil
}
