package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// roomPatience is for how long a lease or a complete waits for room.
	roomPatience = 2 * time.Second
	// roomSlack is by how much less a clock of ours may see of that.
	roomSlack = 100 * time.Millisecond
	// roomSeen: an agent that runs takes room that is there for so long, also on a
	// busy machine. It looks every 20 ms.
	roomSeen = 400 * time.Millisecond
	// roomBytes is free where there is room. Segments for records take a tenth.
	roomBytes = 4 << 20
)

// stretch is a time from one moment to another; a zero end is now.
type stretch struct{ from, to time.Time }

// within returns what of it lies between two moments; false if nothing does.
func (s stretch) within(from, to time.Time) (stretch, bool) {
	if s.from.Before(from) {
		s.from = from
	}
	if s.to.IsZero() || s.to.After(to) {
		s.to = to
	}
	return s, s.from.Before(s.to)
}

// room knows when others left room on a disk, and when the agent was halted. It
// proves that a request could not but be refused.
type room struct {
	mu    sync.Mutex
	open  []stretch // there was room
	halts []stretch
}

// maxStretches bounds how much is remembered: minutes.
const maxStretches = 1000

// note notes that something is so from now on, or not any more.
func (r *room) note(list *[]stretch, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(*list)
	switch was := n > 0 && (*list)[n-1].to.IsZero(); {
	case is && !was:
		*list = append((*list)[max(0, n-maxStretches):], stretch{from: time.Now()})
	case !is && was:
		(*list)[n-1].to = time.Now()
	}
}

// has notes whether there is room.
func (r *room) has(is bool) { r.note(&r.open, is) }

// isHalted notes whether the agent is halted.
func (r *room) isHalted(is bool) { r.note(&r.halts, is) }

// longest returns the longest time without a break in which there was room and the
// agent ran.
func (r *room) longest(from, to time.Time) (most time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.open {
		s, ok := o.within(from, to)
		for _, h := range r.halts {
			if halt, overlaps := h.within(s.from, s.to); ok && overlaps {
				most = max(most, halt.from.Sub(s.from))
				s.from = halt.to
			}
		}
		if ok {
			most = max(most, s.to.Sub(s.from))
		}
	}
	return most
}

// judge returns what is wrong with a refusal for want of room of a request that
// would have waited for so long; "" if the rule allows it: others held the disk
// for as long as such a request has to wait.
func (r *room) judge(sent, refused time.Time, wait time.Duration) string {
	if waited := refused.Sub(sent); waited < min(wait, roomPatience)-roomSlack {
		return fmt.Sprintf("it was refused after %s", waited)
	}
	if most := r.longest(sent, refused); most >= roomSeen {
		return fmt.Sprintf("there was room for %s of the %s in which it waited", most, refused.Sub(sent))
	}
	return ""
}

// fill takes all of the disk, or some of it, for a while, again and again.
func (r *room) fill(dir string, seed uint64, stop <-chan struct{}) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	path := filepath.Join(dir, "other")
	defer os.Remove(path)
	wait := func(d time.Duration) bool {
		select {
		case <-stop:
			return false
		case <-time.After(d):
			return true
		}
	}
	for goesOn := true; goesOn; {
		r.has(false)
		if f, err := os.Create(path); err == nil {
			most := 24 << 20
			if rnd.IntN(3) == 0 {
				most = rnd.IntN(most)
			}
			for n := 0; n < most && err == nil; n += 16 << 10 {
				_, err = f.Write(make([]byte, 16<<10)) // A full disk is what it is for.
			}
			f.Close()
		}
		var st syscall.Statfs_t
		r.has(syscall.Statfs(dir, &st) == nil && int64(st.Bavail)*int64(st.Bsize) >= roomBytes)
		goesOn = wait(time.Duration(100+rnd.IntN(900)) * time.Millisecond)
		os.Remove(path)
		r.has(true)
		goesOn = goesOn && wait(time.Duration(rnd.IntN(600))*time.Millisecond)
	}
}

// A check that cannot fail checks nothing.
func TestRoomJudges(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	r := &room{
		open:  []stretch{{at(0), at(100)}, {at(1000), at(1600)}, {at(5000), at(5300)}, {at(9000), time.Time{}}},
		halts: []stretch{{at(1200), at(1300)}, {at(9100), at(11900)}},
	}
	for _, test := range []struct {
		sent, refused int
		wait          time.Duration
		isFine        bool
	}{
		{200, 900, 2 * time.Second, false}, // It did not wait.
		{200, 900, 700 * time.Millisecond, true},
		{100, 2200, time.Minute, true}, // The halt lies in the middle of the room.
		{1600, 3600, time.Minute, true},
		{3500, 5550, time.Minute, true},   // Too short.
		{7000, 9350, time.Minute, true},   // Halted nearly as soon as there was room.
		{9000, 12350, time.Minute, false}, // It ran on for long enough.
	} {
		if bad := r.judge(at(test.sent), at(test.refused), test.wait); (bad == "") != test.isFine {
			t.Errorf("sent at %d, refused at %d ms, would have waited %s: %q", test.sent, test.refused, test.wait, bad)
		}
	}
	if r.halts = nil; r.judge(at(100), at(2200), time.Minute) == "" {
		t.Error("a refusal while there was room passes")
	}
}
