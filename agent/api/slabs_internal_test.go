package api

import (
	"testing"
	"unsafe"
)

// What is lent is empty, has room, and has not much more than was asked for; what is given
// back holds nothing of what was in it.
func TestSlabs(t *testing.T) {
	s := slabs[*int]{least: 16, most: 1000}
	for n := range 1100 {
		b := s.take(n)
		if len(b) != 0 || cap(b) < n || cap(b) >= 2*max(n, 16) {
			t.Fatalf("asked for %d, got %d of %d", n, len(b), cap(b))
		}
		for i, v := range b[:cap(b)] {
			if v != nil {
				t.Fatalf("element %d of %d is somebody else's", i, cap(b))
			}
		}
		for range n {
			b = append(b, new(int))
		}
		s.give(b)
		for i, v := range b {
			if v != nil && n >= s.least && n <= s.most {
				t.Fatalf("element %d of %d is still held", i, n)
			}
		}
	}
}

// Whatever sizes are wanted in turn, most of what is lent was lent before, so that nothing
// piles up; what is too small or too large to be lent is not kept.
func TestSlabsGoRound(t *testing.T) {
	for _, sizes := range [][]int{{100}, {20, 400}, {100, 250}, {100, 120, 110}, {1000, 16}, {100, 2000, 3}} {
		s := slabs[int]{least: 16, most: 1000}
		known := map[*int]bool{}
		const rounds = 3000
		for i := range rounds {
			b := s.take(sizes[i%len(sizes)])
			known[unsafe.SliceData(b[:1])] = true
			s.give(b)
		}
		lent := 0
		for _, n := range sizes {
			if n >= s.least && n <= s.most {
				lent++
			}
		}
		// With the race detector a pool forgets a quarter of what it is given.
		if most := rounds*(len(sizes)-lent)/len(sizes) + rounds*lent/len(sizes)/2; len(known) > most {
			t.Errorf("sizes %v: %d slices were made in %d calls, want %d at most", sizes, len(known), rounds, most)
		}
	}
}
