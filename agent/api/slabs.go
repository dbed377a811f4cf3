package api

import "sync"

// slabs lends slices that calls need for a moment, of tens of KiB for a batch, and takes
// them back, so that they are not garbage after each call. What nobody has borrowed for a
// while goes with the next garbage. It is safe for use by any goroutine.
type slabs[T any] struct {
	pool  sync.Pool // of *[]T
	least int       // of fewer a new slice is made
	most  int       // of more none is kept
}

// wasteful is how many times what was asked for a slice may have: what a call has is not
// much more than what it accounts for.
const wasteful = 2

// take returns an empty slice with room for n.
func (s *slabs[T]) take(n int) []T {
	if n < s.least || n > s.most {
		return make([]T, 0, n)
	}
	b, _ := s.pool.Get().(*[]T)
	switch {
	case b == nil:
	case cap(*b) > wasteful*n:
		s.pool.Put(b) // For somebody else.
	case cap(*b) >= n:
		return *b
	}
	// A bit more, so that it fits the next who wants about as much.
	return make([]T, 0, n+n/8)
}

// give takes a slice back that nobody uses any more, whoever made it.
func (s *slabs[T]) give(b []T) {
	if cap(b) < s.least || cap(b) > s.most+s.most/8 {
		return
	}
	clear(b)
	b = b[:0]
	s.pool.Put(&b)
}

const (
	// A batch of a hundred items has 25 KiB of them, and of 4 KiB each 400 KiB in a reply.
	leastItems, mostItems = 16, 1000
	leastReply, mostReply = 4 << 10, 1 << 20
)
