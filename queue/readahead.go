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
// nothing is copied to put it behind the others. It counts in the budget as a whole
// until it is gone, or few of its items are left: these are copied after all, since they
// hold the memory of all.
type readAhead struct {
	chunks []chunk // ready, in order. None is empty.
	count  int     // of all of them
	spare  []Item  // room for the next ones that are pushed; empty, but not clean before tidy
	bytes  int64   // of the items
	// next: every ready item below it is in chunks.
	next   uint64
	budget *budget
}

// chunk is items that share memory.
type chunk struct {
	items []Item // those from head on are there
	head  int
	clean int   // items[:clean] hold nothing any more
	left  int64 // what those take that are there
	whole int64 // what it counts for in the budget
	ours  bool  // the room was made here, and nothing else is in it
}

func (a *readAhead) len() int { return a.count }

// first returns the first item without taking it; nil if there is none.
func (a *readAhead) first() *Item {
	if a.count == 0 {
		return nil
	}
	c := &a.chunks[0]
	return &c.items[c.head]
}

// each yields the items in order.
func (a *readAhead) each(yield func(*Item) bool) {
	for i := range a.chunks {
		c := &a.chunks[i]
		for j := c.head; j < len(c.items); j++ {
			if !yield(&c.items[j]) {
				return
			}
		}
	}
}

// take removes the first item. The pointer holds until the next push or tidy.
func (a *readAhead) take() *Item {
	c := &a.chunks[0]
	it := &c.items[c.head]
	n := it.memory()
	c.head++
	c.left -= n
	a.count--
	a.bytes -= n
	if c.head == len(c.items) {
		a.budget.used.Add(-c.whole)
		if c.ours && cap(c.items) <= keptAhead {
			a.spare = c.items[:0]
		}
		*c = chunk{}
		a.chunks = a.chunks[1:]
	}
	return it
}

// push adds an item behind the others.
func (a *readAhead) push(it *Item) {
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last].items) == cap(a.chunks[last].items) {
		a.chunks = append(a.chunks, chunk{items: a.room(last), ours: true})
		last++
	}
	c, n := &a.chunks[last], it.memory()
	c.items = append(c.items, *it)
	c.left, c.whole = c.left+n, c.whole+n
	a.count++
	a.bytes += n
	a.budget.used.Add(n)
}

// room returns room for items that are pushed behind the last chunk.
func (a *readAhead) room(last int) []Item {
	if cap(a.spare) > 0 {
		s := a.spare
		a.spare = nil
		clear(s[:cap(s)])
		return s
	}
	n := 1
	if last >= 0 {
		n = min(2*cap(a.chunks[last].items), keptAhead)
	}
	return make([]Item, 0, n)
}

// add adds items, one at least, behind the others. The slice is the read-ahead's then.
func (a *readAhead) add(items []Item) {
	n := int64(0)
	for i := range items {
		n += items[i].memory()
	}
	a.bytes += n
	a.budget.used.Add(n)
	a.count += len(items)
	a.chunks = append(a.chunks, chunk{items: slices.Clip(items), left: n, whole: n})
}

// tidy lets go of the memory of what was taken.
func (a *readAhead) tidy() {
	clear(a.spare[:cap(a.spare)])
	if a.count == 0 {
		return
	}
	c := &a.chunks[0]
	if c.left < c.whole/fewLeft {
		items := slices.Clone(c.items[c.head:])
		Own(items)
		a.budget.used.Add(c.left - c.whole)
		*c = chunk{items: slices.Clip(items), left: c.left, whole: c.left}
		return
	}
	clear(c.items[c.clean:c.head])
	c.clean = c.head
}

const (
	// keptAhead is for how many items the room is kept although there are few.
	keptAhead = 16
	// fewLeft is the part of a chunk, one in so many by its memory, below which the items
	// that are left are copied to memory of their own.
	fewLeft = 4
)

// filter drops the items that keep says no to.
func (a *readAhead) filter(keep func(seq uint64) bool) {
	left := a.chunks[:0]
	for _, c := range a.chunks {
		kept := c.items[:0]
		for _, it := range c.items[c.head:] {
			if keep(it.Seq()) {
				kept = append(kept, it)
				continue
			}
			n := it.memory()
			c.left -= n
			a.count--
			a.bytes -= n
		}
		clear(kept[len(kept):cap(kept)])
		if len(kept) > 0 {
			left = append(left, chunk{items: kept, left: c.left, whole: c.whole, ours: c.ours})
		} else {
			a.budget.used.Add(-c.whole)
		}
	}
	clear(a.chunks[len(left):])
	a.chunks = left
}

// drop forgets all items; the next read begins at seq.
func (a *readAhead) drop(seq uint64) {
	for i := range a.chunks {
		a.budget.used.Add(-a.chunks[i].whole)
	}
	*a = readAhead{next: seq, budget: a.budget}
}

// trim drops items at the end until those that are left take no more than most, or
// one is left.
func (a *readAhead) trim(most int64) {
	for a.count > 1 && a.bytes > most {
		last := len(a.chunks) - 1
		c := &a.chunks[last]
		it := &c.items[len(c.items)-1]
		n := it.memory()
		a.next = it.Seq()
		a.bytes -= n
		a.count--
		*it = Item{}
		c.left -= n
		if c.items = c.items[:len(c.items)-1]; len(c.items) == c.head {
			a.budget.used.Add(-c.whole)
			*c = chunk{}
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
