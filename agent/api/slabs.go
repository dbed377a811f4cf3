package api

import (
	"math/bits"
	"sync"
)

// slabs lends slices that calls need for a moment, of tens of KiB for a batch, and takes
// them back, so that they are not garbage after each call. What nobody has borrowed for a
// while goes with the garbage. There is a pool for each power of two, so that what is in
// one suits most of those who look there. It is safe for use by any goroutine.
type slabs[T any] struct {
	least int // of fewer a new slice is made, which is not kept
	most  int // and of more
	pools [bits.UintSize]sync.Pool
}

// take returns an empty slice with room for n, and for less than twice as many.
func (s *slabs[T]) take(n int) []T {
	if n < s.least || n > s.most {
		return make([]T, 0, n)
	}
	if b, _ := s.pool(n).Get().(*[]T); b != nil && cap(*b) >= n {
		return *b
	}
	// One that is too small is dropped, and a bit more made, so that it fits the next who
	// wants about as much.
	size := min(n+n/8, s.most)
	if bits.Len(uint(size)) > bits.Len(uint(n)) {
		size = n
	}
	return make([]T, 0, size)
}

// give takes a slice back that take has lent and nobody uses any more.
func (s *slabs[T]) give(b []T) {
	if cap(b) < s.least || cap(b) > s.most {
		return
	}
	clear(b)
	b = b[:0]
	s.pool(cap(b)).Put(&b)
}

func (s *slabs[T]) pool(n int) *sync.Pool { return &s.pools[bits.Len(uint(n))] }

const (
	// A batch of a hundred items has 25 KiB of them, and of 4 KiB each 400 KiB in a reply.
	leastItems, mostItems = 16, 1000
	leastReply, mostReply = 4 << 10, 1 << 20
)
