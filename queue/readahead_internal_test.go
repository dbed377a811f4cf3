package queue

import "testing"

// What was taken from the read-ahead is not held by it any more, and neither is the
// room of a backlog that is gone.
func TestReadAheadLetsGo(t *testing.T) {
	a := readAhead{budget: &budget{limit: 1 << 30}}
	for range 3 {
		for i := range 2000 {
			a.push(&Item{ID: NewID(uint64(i), Tag{}), Payload: make([]byte, 1000)})
		}
		for range 1500 {
			a.take()
		}
		a.tidy()
		held := 0
		for _, it := range a.items[:cap(a.items)] {
			held += len(it.Payload)
		}
		if held != 500*1000 || a.bytes != 500*(&Item{Payload: make([]byte, 1000)}).memory() {
			t.Fatalf("%d bytes are held and %d accounted for 500 items of 1000 bytes", held, a.bytes)
		}
		if a.len() != 500 || a.first().Seq() != 1500 || cap(a.items) > 4*500 {
			t.Fatalf("%d items from %d on are left, in room for %d", a.len(), a.first().Seq(), cap(a.items))
		}
		for a.len() > 0 {
			a.take()
		}
		a.tidy()
		if cap(a.items) > keptAhead || a.bytes != 0 || a.budget.used.Load() != 0 {
			t.Fatalf("room for %d items and %d bytes are left of nothing", cap(a.items), a.bytes)
		}
	}
}

// Items that come and go one by one take no more room than there are at a time.
func TestReadAheadGoesRound(t *testing.T) {
	a := readAhead{budget: &budget{limit: 1 << 30}}
	next := uint64(0)
	for i := range uint64(100_000) {
		a.push(&Item{ID: NewID(i, Tag{})})
		if a.len() > 100 {
			if it := a.take(); it.Seq() != next {
				t.Fatalf("took item %d, want %d", it.Seq(), next)
			}
			next++
		}
		if i%10 == 0 {
			a.tidy()
		}
	}
	if cap(a.items) > 400 {
		t.Errorf("there is room for %d items for 100 at a time", cap(a.items))
	}
}

// A read-ahead that was trimmed goes on where it was cut off.
func TestReadAheadTrims(t *testing.T) {
	a := readAhead{budget: &budget{limit: 1 << 30}}
	for i := range 10 {
		a.push(&Item{ID: NewID(uint64(100+i), Tag{}), Payload: make([]byte, 1000)})
	}
	a.next = 110
	a.take()
	a.trim(5 * a.first().memory())
	if a.len() != 5 || a.next != 106 || a.first().Seq() != 101 {
		t.Errorf("%d items from %d on are left, and %d is next; want 5 from 101 on and 106", a.len(), a.first().Seq(), a.next)
	}
	if a.trim(0); a.len() != 1 || a.next != 102 {
		t.Errorf("%d items are left and %d is next; want the first, and 102", a.len(), a.next)
	}
}
