package uplink

import (
	"time"
)

// Report is something that an operator should know.
type Report struct {
	// Kind is a word for programs: a class of package hub, or one of the Alarm constants.
	Kind string
	// Text says it to people.
	Text string
	// Queue and Partition say where, if it is about one partition.
	Queue     string
	Partition int
	// Err is the cause, if there is one.
	Err error
	// Good is set for the end of a trouble; Alarm for what somebody has to look into.
	Good, Alarm bool
	// Left is the number of reports that were left out since the one before.
	Left int
}

// Kinds of alarms.
const (
	AlarmRegressed  = "server_regressed"  // The server lost events that it had acknowledged; they were sent again.
	AlarmRolledBack = "store_rolled_back" // The server has events of this device that the device does not know.
	AlarmForeign    = "foreign_events"    // The last event on the subject is of another installation.
	AlarmIdentity   = "identity_conflict" // Two devices use one name; the uplink has stopped.
	AlarmGap        = "gap"               // Events were given up.
	AlarmConflict   = "fence_conflict"    // Somebody else publishes on the subject.
)

// Events is told what happens. The functions are called by the goroutine of Run.
type Events struct {
	// Report may be nil.
	Report func(Report)
}

// reporter keeps reports rare: in Timing.Log one of trouble with the connection and the server, one of its end,
// and one of each kind of alarm.
type reporter struct {
	to    func(Report)
	every time.Duration
	last  map[string]time.Time // by kind of alarm, or one of the keys below
	left  map[string]int
	bad   bool // the last report that went out was of trouble
}

// Keys of reports that are no alarms.
const (
	keyTrouble = "trouble"
	keyGood    = "good"
)

func newReporter(to func(Report), every time.Duration) *reporter {
	return &reporter{to: to, every: every, last: map[string]time.Time{}, left: map[string]int{}}
}

// send passes a report on unless there was one lately.
func (r *reporter) send(now time.Time, rep Report) {
	if r.to == nil {
		return
	}
	key := keyTrouble
	switch {
	case rep.Alarm:
		key = rep.Kind
	case rep.Good:
		key = keyGood
		if _, before := r.last[key]; before && !r.bad {
			return // Nobody was told of trouble.
		}
	}
	if at, ok := r.last[key]; ok && now.Sub(at) < r.every {
		r.left[key]++
		return
	}
	rep.Left = r.left[key]
	r.left[key] = 0
	r.last[key] = now
	if !rep.Alarm {
		r.bad = !rep.Good
	}
	r.to(rep)
}
