package uplink

import (
	"context"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// States of the uplink.
const (
	StateConnecting = "connecting" // It has no connection, and tries.
	StateConnected  = "connected"  // It has a connection; Class says what is wrong, if anything.
	StatePaused     = "paused"     // An operator paused it.
	StateBudget     = "budget"     // The budget of the day or the month is used up.
	StateClosed     = "closed"     // Outside of the windows of time.
	StateStopped    = "stopped"    // Two devices use one name; resume when that is put right.
	StateEnded      = "ended"      // Run has returned.
)

// Status is what the uplink knows of itself at one moment.
type Status struct {
	State string
	// Since is how long it is in the state.
	Since time.Duration
	// Class is the kind of the present trouble, Error its text; empty if all is well.
	Class string
	Error string
	// LastError is the last trouble, present or not.
	LastError string
	// URL and ServerVersion are of the connection.
	URL, ServerVersion string
	// Mode is how events are published on the connection: batch, window, single or packed.
	Mode string

	// Connects counts connections, Delivered events that the server acknowledged, Resent those of them that it
	// had acknowledged before and lost, Conflicts fences that it refused, Shortened events without their
	// payload or labels since the server found them too large, and Gaps gap events that it has. Lost are the events
	// that were given up, whether the server has been told by a gap event or will be. It never falls.
	Connects, Delivered, Resent, Conflicts, Shortened, Gaps, Lost uint64

	// Partitions is the number of partitions, Pending their events to be delivered, Bytes what is occupied for
	// them, Oldest the age of the oldest event, counted while the device ran.
	Partitions int
	Pending    uint64
	Bytes      int64
	Oldest     time.Duration
	// Blocked is the number of partitions that refuse completes since there is no room for events.
	Blocked int

	// BytesOut and BytesIn went over the network since the start; DayBytes and MonthBytes count both against
	// the budget.
	BytesOut, BytesIn    uint64
	DayBytes, MonthBytes int64

	// Downlinks are those of the configuration, in its order.
	Downlinks []downlink.Status
}

// Status returns the present figures; those of the outboxes are asked for within ctx. It is safe for use by any
// goroutine.
func (u *Uplink) Status(ctx context.Context) Status {
	u.mu.Lock()
	s := u.status
	s.Since = time.Since(u.stateAt).Truncate(time.Second)
	u.mu.Unlock()
	for _, box := range u.src.Outboxes() {
		st, err := box.State(ctx)
		s.Partitions++
		if err != nil {
			continue
		}
		s.Pending += st.Pending
		s.Lost += st.Head - st.Delivered - st.Pending
		s.Bytes += st.Bytes
		if st.Pending > 0 {
			s.Oldest = max(s.Oldest, st.OldestAge)
		}
		if st.Full {
			s.Blocked++
		}
	}
	u.mu.Lock()
	u.lost = max(u.lost, s.Lost) // A gap that is delivered in the middle of this counts for nobody, for a moment.
	s.Lost = u.lost
	u.mu.Unlock()
	var used usage
	s.BytesOut, s.BytesIn, used = u.meter.totals()
	s.DayBytes, s.MonthBytes = used.DayBytes, used.MonthBytes
	s.Downlinks = u.down.Status()
	return s
}

// change changes the figures.
func (u *Uplink) change(f func(s *Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.status)
}

// enter sets the state.
func (u *Uplink) enter(state string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.status.State == state {
		return
	}
	u.status.State, u.stateAt = state, time.Now()
	if state != StateConnected {
		u.status.URL, u.status.ServerVersion, u.status.Mode = "", "", ""
	}
}
