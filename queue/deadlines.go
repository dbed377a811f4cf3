package queue

// deadlines is a min-heap of moments at which an item wants attention. Entries
// are not taken out when the item changes; whoever pops one checks whether it
// still holds. Those of one moment come in the order of their sequence numbers, so
// that leases which end together leave the order of their items as it was.
type deadlines []deadline

type deadline struct {
	at  int64 // nanoseconds, of the clock that the heap is for
	seq uint64
}

func (d deadline) before(e deadline) bool {
	return d.at < e.at || d.at == e.at && d.seq < e.seq
}

func (h *deadlines) push(at int64, seq uint64) {
	s := append(*h, deadline{at, seq})
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s[i].before(s[up]) {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
	*h = s
}

// top returns the earliest entry.
func (h deadlines) top() (deadline, bool) {
	if len(h) == 0 {
		return deadline{}, false
	}
	return h[0], true
}

func (h *deadlines) pop() deadline {
	s := *h
	first := s[0]
	last := len(s) - 1
	s[0] = s[last]
	s = s[:last]
	for i := 0; ; {
		kid := 2*i + 1
		if kid >= last {
			break
		}
		if kid+1 < last && s[kid+1].before(s[kid]) {
			kid++
		}
		if !s[kid].before(s[i]) {
			break
		}
		s[i], s[kid] = s[kid], s[i]
		i = kid
	}
	*h = s
	return first
}

// crowded reports whether the heap has so many stale entries that it is to be
// rebuilt, when so many hold.
func (h deadlines) crowded(live int) bool { return len(h) > 2*live+64 }
