package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// held returns for how many items there is room, and how many bytes of payloads are
// held in it.
func (a *readAhead) held() (room, payloads int) {
	count := func(items []Item) {
		room += cap(items)
		for _, it := range items[:cap(items)] {
			payloads += len(it.Payload)
		}
	}
	count(a.spare)
	for _, c := range a.chunks {
		count(c.items)
	}
	return room, payloads
}

// What was taken from the read-ahead is not held by it any more, and neither is the
// room of a backlog that is gone.
func TestReadAheadLetsGo(t *testing.T) {
	items := func() []Item {
		list := make([]Item, 2000)
		for i := range list {
			list[i] = Item{ID: NewID(uint64(i), Tag{}), Payload: make([]byte, 1000)}
		}
		return list
	}
	for name, fill := range map[string]func(*readAhead){
		"pushed": func(a *readAhead) {
			for _, it := range items() {
				a.push(&it)
			}
		},
		"read": func(a *readAhead) { a.add(items()) },
		"read in parts": func(a *readAhead) {
			list := items()
			a.add(list[:1000])
			a.add(list[1000:1001])
			a.add(list[1001:])
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := readAhead{budget: &budget{limit: 1 << 30}}
			for range 3 {
				fill(&a)
				for i := range 1500 {
					if a.first().Seq() != uint64(i) || a.take().Seq() != uint64(i) {
						t.Fatalf("item %d is not the one that was put in there", i)
					}
				}
				a.tidy()
				room, held := a.held()
				if held != 500*1000 || a.bytes != 500*(&Item{Payload: make([]byte, 1000)}).memory() {
					t.Fatalf("%d bytes are held and %d accounted for 500 items of 1000 bytes", held, a.bytes)
				}
				n := uint64(1500)
				for it := range a.each {
					if it.Seq() != n {
						t.Fatalf("item %d is where %d should be", it.Seq(), n)
					}
					n++
				}
				if a.len() != 500 || n != 2000 || room > 4*500 {
					t.Fatalf("%d items up to %d are left, in room for %d", a.len(), n, room)
				}
				for a.len() > 0 {
					a.take()
				}
				a.tidy()
				if room, held := a.held(); room > keptAhead || held != 0 || a.bytes != 0 || a.budget.used.Load() != 0 {
					t.Fatalf("room for %d items, %d bytes in it and %d accounted are left of nothing", room, held, a.bytes)
				}
			}
		})
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
	if room, _ := a.held(); room > 400 {
		t.Errorf("there is room for %d items for 100 at a time", room)
	}
}

// A read-ahead that was trimmed goes on where it was cut off.
func TestReadAheadTrims(t *testing.T) {
	for parts := 1; parts <= 10; parts++ {
		a := readAhead{budget: &budget{limit: 1 << 30}}
		for i := 0; i < 10; i += parts {
			part := make([]Item, 0, parts)
			for j := i; j < min(i+parts, 10); j++ {
				part = append(part, Item{ID: NewID(uint64(100+j), Tag{}), Payload: make([]byte, 1000)})
			}
			a.add(part)
		}
		a.next = 110
		a.take()
		a.trim(5 * a.first().memory())
		if a.len() != 5 || a.next != 106 || a.first().Seq() != 101 {
			t.Errorf("%d a part: %d items from %d on are left, and %d is next; want 5 from 101 on and 106", parts, a.len(), a.first().Seq(), a.next)
		}
		if a.trim(0); a.len() != 1 || a.next != 102 {
			t.Errorf("%d a part: %d items are left and %d is next; want the first, and 102", parts, a.len(), a.next)
		}
		a.push(&Item{ID: NewID(102, Tag{})})
		if a.take().Seq() != 101 || a.take().Seq() != 102 || a.len() != 0 || a.bytes != 0 {
			t.Errorf("%d a part: what is pushed after that does not follow", parts)
		}
	}
}

// A filter takes out what it says no to, wherever it lies, and accounts for it.
func TestReadAheadFilters(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		a := readAhead{budget: &budget{limit: 1 << 30}}
		var want []uint64
		next := uint64(0)
		for range 30 {
			switch rng.IntN(4) {
			case 0:
				a.push(&Item{ID: NewID(next, Tag{}), Payload: []byte{1}})
				want = append(want, next)
				next++
			case 1:
				part := make([]Item, 1+rng.IntN(40))
				for i := range part {
					part[i] = Item{ID: NewID(next, Tag{}), Payload: []byte{1}}
					want = append(want, next)
					next++
				}
				a.add(part)
			case 2:
				for range rng.IntN(a.len() + 1) {
					if a.take().Seq() != want[0] {
						t.Fatalf("seed %d: items are out of order", seed)
					}
					want = want[1:]
				}
			default:
				gone := func(seq uint64) bool { return seq%(2+seed%5) == 0 }
				a.filter(func(seq uint64) bool { return !gone(seq) })
				want = slices.DeleteFunc(want, gone)
			}
			a.tidy()
			if _, held := a.held(); held != a.len() {
				t.Fatalf("seed %d: %d items are held, %d are there", seed, held, a.len())
			}
			whole := int64(0)
			for _, c := range a.chunks {
				whole += c.whole
			}
			if used := a.budget.used.Load(); used != whole || used < a.bytes {
				t.Fatalf("seed %d: %d bytes are counted in the budget, of chunks with %d and items with %d", seed, used, whole, a.bytes)
			}
			got := []uint64{}
			for it := range a.each {
				got = append(got, it.Seq())
			}
			if !slices.Equal(got, want) && len(got)+len(want) > 0 || a.len() != len(want) || a.bytes != int64(len(want))*(&Item{Payload: []byte{1}}).memory() {
				t.Fatalf("seed %d: the read-ahead holds %v with %d bytes, want %v", seed, got, a.bytes, want)
			}
		}
	}
}

// Whatever is left of what shared a buffer, it does not hold more than it counts for, and
// what was taken is not held by room that is used again.
func TestReadAheadHoldsWhatItCounts(t *testing.T) {
	shared := make([]byte, 256<<10)
	part := func(n int) []Item {
		list := make([]Item, n)
		for i := range list {
			list[i] = Item{ID: NewID(uint64(i), Tag{}), Payload: shared[i*1000 : (i+1)*1000 : (i+1)*1000]}
		}
		return list
	}
	isShared := func(it *Item) bool {
		return len(it.Payload) > 0 && uintptr(unsafe.Pointer(&it.Payload[0]))-uintptr(unsafe.Pointer(&shared[0])) < uintptr(len(shared))
	}
	a := readAhead{budget: &budget{limit: 1 << 30}}
	a.add(part(200))
	one := (&part(1)[0]).memory()
	for taken := 1; taken < 200; taken++ {
		a.take()
		a.tidy()
		holds := 200 * one
		if !isShared(a.first()) {
			holds = int64(len(a.chunks[0].items)) * one
		}
		if used := a.budget.used.Load(); used < holds || used > fewLeft*a.bytes+one*fewLeft {
			t.Fatalf("after %d items %d bytes are held, %d counted, for %d of items", taken, holds, used, a.bytes)
		}
	}
	// What is left of a block that was handed over in part is no room for others: they
	// would hold what else is in it.
	block := part(40)
	c := readAhead{budget: &budget{limit: 1 << 30}}
	c.add(block[20:30:30])
	for range 10 {
		c.take()
	}
	c.push(&Item{ID: NewID(40, Tag{})})
	c.tidy()
	begin := uintptr(unsafe.Pointer(&block[0]))
	if at := uintptr(unsafe.Pointer(c.first())); at-begin < uintptr(len(block))*unsafe.Sizeof(Item{}) {
		t.Error("an item that was pushed lies in a block, and holds it")
	}
	// The last of a small chunk is taken and another pushed in the same commit.
	b := readAhead{budget: &budget{limit: 1 << 30}}
	for i := range 31 {
		b.push(&Item{ID: NewID(uint64(i), Tag{}), Payload: make([]byte, 60<<10)})
	}
	for range 31 {
		b.take()
	}
	b.push(&Item{ID: NewID(31, Tag{}), Payload: make([]byte, 10)})
	b.tidy()
	if _, held := b.held(); held != 10 {
		t.Errorf("%d bytes are held for an item of 10", held)
	}
}

// The memory of a commit goes back without what was in it, and too much of it not at all.
func TestSheetsLetGo(t *testing.T) {
	for _, n := range []int{1, 100, keptSheet, 10 * keptSheet} {
		var s sheets
		g := &group{}
		s.lend(g, n)
		for range n {
			g.c.Items = append(g.c.Items, Item{Payload: make([]byte, 10), SourceID: "id"})
			g.c.Leases = append(g.c.Leases, Lease{})
		}
		items, sheet := g.c.Items, g.sheet
		s.giveBack(g)
		for i := range items {
			if items[i].Payload != nil || items[i].SourceID != "" {
				t.Fatalf("item %d of %d is held", i, n)
			}
		}
		if g.c.Items != nil || g.c.Leases != nil || g.fresh != nil || g.sheet != nil {
			t.Fatal("the group still has the memory")
		}
		if large := n > keptSheet; (cap(sheet.items) == 0) != large || cap(sheet.leases) > 2*keptSheet {
			t.Errorf("of %d items and leases room for %d and %d is kept", n, cap(sheet.items), cap(sheet.leases))
		}
		s.giveBack(g) // One that has none.
	}
}
