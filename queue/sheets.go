package queue

import "sync"

// sheet is the memory that a group writes its commit on.
type sheet struct {
	items  []Item
	fresh  []int
	leases []Lease
}

// sheets lends sheets to the groups of all partitions: a commit of hundreds of items
// takes a hundred KiB, which would be garbage as soon as it is written. There are as many
// as groups at a time, and those that nobody uses go with the next garbage. It is safe
// for use by any goroutine.
type sheets struct{ pool sync.Pool }

// keptSheet is from how many items or leases on a sheet is not kept, so that one large
// commit does not leave its memory behind.
const keptSheet = 1024

// lend gives a sheet to a group that has none, with room for so many items.
func (s *sheets) lend(g *group, items int) {
	sh, _ := s.pool.Get().(*sheet)
	if sh == nil {
		sh = &sheet{}
	}
	if cap(sh.items) < items {
		sh.items, sh.fresh = make([]Item, 0, items), make([]int, 0, items)
	}
	g.sheet, g.c.Items, g.fresh, g.c.Leases = sh, sh.items, sh.fresh, sh.leases
}

// giveBack takes the sheet of a group back that is over: nobody looks at the commit any
// more.
func (s *sheets) giveBack(g *group) {
	sh := g.sheet
	if sh == nil {
		return
	}
	// Payloads are let go.
	clear(g.c.Items)
	sh.items, sh.leases = g.c.Items[:0], g.c.Leases[:0]
	if cap(sh.items) > keptSheet {
		sh.items, sh.fresh = nil, nil
	}
	if cap(sh.leases) > keptSheet {
		sh.leases = nil
	}
	g.sheet, g.c, g.fresh = nil, Commit{}, nil
	s.pool.Put(sh)
}
