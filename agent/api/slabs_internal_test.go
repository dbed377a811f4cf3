package api

import (
	"testing"
)

// What is lent is empty, has room, and has not much more than was asked for; what is given
// back holds nothing of what was in it.
func TestSlabs(t *testing.T) {
	s := slabs[*int]{least: 16, most: 1000}
	for n := range 1100 {
		b := s.take(n)
		if len(b) != 0 || cap(b) < n || cap(b) > wasteful*max(n, 16) {
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
			if v != nil && n >= s.least {
				t.Fatalf("element %d of %d is still held", i, n)
			}
		}
	}
	if s.give(make([]*int, 0, 5000)); cap(s.take(1000)) >= 5000 {
		t.Error("a slice that is far too large was kept")
	}
}
