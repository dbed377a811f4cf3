package queue

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// seats bounds how many partitions have their store open for writing, which is
// what a partition costs in memory. A partition takes a seat before it reserves
// room for a commit, and keeps it until its store is closed: because it was not
// used for long, or because another partition waits for a seat and this one was
// asked for its own.
//
// Nobody who has a seat waits for another partition, and a loop that waits for a
// seat holds nothing that others need; so whoever waits gets one in the end.
// Those who wait are served in the order in which they came. The one that is
// asked is the one that was not used for longest, when some were not used for a
// while, else the one whose turn ends first.
//
// When more partitions are in use than there are seats, opening and closing
// stores must not become all the work: the processor and the device do it for one
// at a time anyway, however many ask. So few are asked at a time, and those in
// use give their seat up only after a pause as long as the last change of seats
// took, unless somebody has waited for long. All others go on serving meanwhile.
//
// The zero value has no bound. It is safe for use by any goroutine.
type seats struct {
	limit int // 0 is no bound

	mu    sync.Mutex
	taken []*seat // at most limit
	line  []*seat // those who wait, in order
	pause int64   // boot time until which no partition in use has to give its seat up
}

// seat is what a partition knows of its place. The loop of the partition owns
// it, but for what its comments say.
type seat struct {
	of    *partition
	taken bool
	came  int64         // boot time at which it began to wait; guarded by seats.mu
	cost  atomic.Int64  // what opening and closing took the last time, in nanoseconds, read by others
	used  atomic.Int64  // boot time of the last use, read by others
	ends  atomic.Int64  // boot time at which the turn ends; put off by others
	asked atomic.Bool   // set by others: somebody waits
	given chan struct{} // closed when the seat is there; guarded by seats.mu
}

const (
	// maxAsked is how many are asked for their seat at a time.
	maxAsked = 2
	// leastTurn is how long a partition that is in use keeps its seat at least.
	leastTurn = 50 * time.Millisecond
	// longWait is how long one may wait for a seat before the others hurry up.
	longWait = time.Second
	// leastUnused is after how long without requests a partition gives its seat up
	// although its turn has not ended; longer, when opening the store takes longer.
	leastUnused = time.Millisecond
)

// take waits for a seat, unless the partition has one, or until stop is closed;
// then it returns false. The loop of the partition calls it.
func (s *seats) take(t *seat, stop <-chan struct{}) bool {
	now := t.now()
	t.used.Store(now)
	if t.taken || s.limit == 0 {
		return true
	}
	s.mu.Lock()
	t.given, t.came = make(chan struct{}), now
	s.line = append(s.line, t)
	s.serve()
	s.mu.Unlock()
	for {
		select {
		case <-t.given:
			t.begin()
			return true
		case to := <-t.of.probes:
			to <- t.of // It waits; it does not hang.
		case <-stop:
			s.leave(t)
			return false
		}
	}
}

func (t *seat) now() int64 { return int64(t.of.clock.Mono()) }

// begin begins a turn.
func (t *seat) begin() {
	now := t.now()
	t.taken = true
	t.used.Store(now)
	t.ends.Store(now + int64(leastTurn))
}

// leave gives up waiting, or gives the seat back.
func (s *seats) leave(t *seat) {
	t.taken = false
	t.asked.Store(false)
	if s.limit == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := t.now()
	s.pause = now
	if len(s.line) > 0 && now-s.line[0].came < int64(longWait) {
		s.pause += min(t.cost.Load(), int64(longWait))
	}
	same := func(o *seat) bool { return o == t }
	s.line = slices.DeleteFunc(s.line, same)
	s.taken = slices.DeleteFunc(s.taken, same)
	s.serve()
}

// serve gives free seats to those who wait, and asks others for theirs if more
// are wanted.
func (s *seats) serve() {
	for len(s.line) > 0 && len(s.taken) < s.limit {
		t := s.line[0]
		s.line = slices.Delete(s.line, 0, 1)
		s.taken = append(s.taken, t)
		// Until its loop runs, it is in use.
		t.ends.Store(math.MaxInt64)
		t.used.Store(math.MaxInt64)
		close(t.given)
	}
	asked := 0
	for _, t := range s.taken {
		if t.asked.Load() {
			asked++
		}
	}
	for ; asked < min(len(s.line), len(s.taken), maxAsked); asked++ {
		t := s.next()
		t.ends.Store(max(t.ends.Load(), s.pause))
		t.asked.Store(true)
		t.of.inbox.poke()
	}
}

// next returns the seat that was not asked for yet and can be given up first.
func (s *seats) next() *seat {
	var best *seat
	var soonest int64
	for _, t := range s.taken {
		if t.asked.Load() {
			continue
		}
		if at := t.until(); best == nil || at < soonest {
			best, soonest = t, at
		}
	}
	return best
}

// until returns the boot time at which the seat can be given up.
func (t *seat) until() int64 {
	return min(t.ends.Load(), addSat(t.used.Load(), max(t.cost.Load(), int64(leastUnused))))
}

// isSeated reports whether the partition need not wait for a seat. Whoever has
// the turn calls it.
func (p *partition) isSeated() bool { return p.seat.taken || p.seats.limit == 0 }

// due returns the boot time at which the seat is to be given up, if somebody
// wants it.
func (t *seat) due() (at int64, wanted bool) {
	if !t.taken || !t.asked.Load() {
		return 0, false
	}
	return t.until(), true
}
