package queue

import (
	"errors"
	"time"
)

const (
	// roomPatience is how long a request about items that are there waits for room
	// for its record: whoever has filled the disk to the last byte may let go of it
	// soon, as when a log is rotated.
	roomPatience = 2 * time.Second
	// roomNap is how long a partition waits before it looks again.
	roomNap = 20 * time.Millisecond
	// roomStep is how much of the time between two looks counts at most: while the
	// process is halted, or its device is, nobody looks, and the time may pass at once.
	roomStep = 5 * roomNap
	// roomRest is how long a partition that cannot be opened for want of room waits
	// while nobody asks for anything.
	roomRest = time.Second
)

// patience is the time for which somebody has waited for room. The zero value is
// that of one who has not looked yet.
type patience struct {
	looked time.Time // when there was none the last time
	waited time.Duration
}

// looks notes that there is no room now, and reports whether that was waited for
// long enough.
func (w *patience) looks() (over bool) {
	now := time.Now()
	if !w.looked.IsZero() {
		w.waited += min(now.Sub(w.looked), roomStep)
	}
	w.looked = now
	return w.waited >= roomPatience
}

// putOff answers requests that find no room even for a record: what adds items is
// refused, the rest is tried again for a while. It reports whether something is.
func (p *partition) putOff(reqs []*request, err error) (waits bool) {
	for _, r := range reqs {
		if errors.Is(err, ErrFull) && p.awaitsRoom(r) {
			waits = true
			continue
		}
		p.taken(r)
		p.reject(r, err)
	}
	return waits
}

// awaitsRoom puts a request that found no room back into the inbox. It reports
// false when it has waited for long enough.
func (p *partition) awaitsRoom(r *request) bool {
	if r.kind == kindProduce || r.room.looks() || r.lease != nil && p.core.waiters.isCancelled(r.lease) {
		return false
	}
	if !p.inbox.add(r) {
		return false
	}
	if r.counted {
		p.core.queued.Add(1)
	}
	return true
}
