package queue

import "sync/atomic"

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
type readAhead struct {
	items []Item // items[head:] are ready, in order
	head  int
	clean int // items[:clean] hold nothing any more
	bytes int64
	// next: every ready item below it is in items.
	next   uint64
	budget *budget
}

func (a *readAhead) len() int { return len(a.items) - a.head }

// first returns the first item without taking it; nil if there is none.
func (a *readAhead) first() *Item {
	if a.head == len(a.items) {
		return nil
	}
	return &a.items[a.head]
}

// take removes the first item. The pointer holds until the next push or tidy.
func (a *readAhead) take() *Item {
	it := &a.items[a.head]
	a.head++
	a.account(-it.memory())
	return it
}

// push adds an item behind the others.
func (a *readAhead) push(it *Item) {
	if len(a.items) == cap(a.items) && a.head >= len(a.items)/4 {
		n := copy(a.items, a.items[a.head:]) // Rather than to grow.
		clear(a.items[n:])
		a.items, a.head, a.clean = a.items[:n], 0, 0
	}
	a.items = append(a.items, *it)
	a.account(it.memory())
}

// add adds items behind the others; want is how many there are to be in all. The slice
// is the read-ahead's then.
func (a *readAhead) add(items []Item, want int) {
	n := int64(0)
	for i := range items {
		n += items[i].memory()
	}
	a.account(n)
	if a.len() == 0 && len(items) >= want {
		a.items, a.head, a.clean = items, 0, 0
		return
	}
	if left := a.len(); cap(a.items)-len(a.items) < len(items) {
		// More follows, as long as this is not larger than expected.
		room := make([]Item, left, left+max(len(items), min(want-left, 4*len(items))))
		copy(room, a.items[a.head:])
		a.items, a.head, a.clean = room, 0, 0
	}
	a.items = append(a.items, items...)
}

// tidy lets go of the memory of what was taken.
func (a *readAhead) tidy() {
	clear(a.items[a.clean:a.head])
	a.clean = a.head
	switch n := a.len(); {
	case cap(a.items) > keptAhead && n < cap(a.items)/4:
		a.items = append(make([]Item, 0, 2*n), a.items[a.head:]...)
	case n == 0:
		a.items = a.items[:0]
	default:
		return
	}
	a.head, a.clean = 0, 0
}

// keptAhead is for how many items the room is kept although there are few.
const keptAhead = 16

func (a *readAhead) account(n int64) {
	a.bytes += n
	a.budget.used.Add(n)
}

// filter drops the items that keep says no to.
func (a *readAhead) filter(keep func(seq uint64) bool) {
	kept := a.items[:0]
	for i := a.head; i < len(a.items); i++ {
		if keep(a.items[i].Seq()) {
			kept = append(kept, a.items[i])
		} else {
			a.account(-a.items[i].memory())
		}
	}
	clear(a.items[len(kept):])
	a.items, a.head, a.clean = kept, 0, 0
}

// drop forgets all items; the next read begins at seq.
func (a *readAhead) drop(seq uint64) {
	a.account(-a.bytes)
	a.items, a.head, a.clean, a.next = nil, 0, 0, seq
}

// trim drops items at the end until those that are left take no more than most, or
// one is left.
func (a *readAhead) trim(most int64) {
	for a.len() > 1 && a.bytes > most {
		last := len(a.items) - 1
		a.next = a.items[last].Seq()
		a.account(-a.items[last].memory())
		a.items[last] = Item{}
		a.items = a.items[:last]
	}
}

// fill reads until there are want items or maxBytes of them, or none are left
// below end.
func (a *readAhead) fill(ps PartitionStore, want int, maxBytes int64, end uint64) error {
	for a.next < end && a.len() < want && (a.len() == 0 || a.bytes < maxBytes) {
		items, next, err := ps.Read(a.next, want-a.len(), max(1, maxBytes-a.bytes))
		if err != nil {
			return err
		}
		own(items)
		a.add(items, want)
		if len(items) == 0 || next <= a.next {
			next = end
		}
		a.next = next
	}
	return nil
}
