package uplink

// An internal test: the log over weeks, by times that are made up.

import (
	"errors"
	"testing"
	"time"
)

// TestLogOverWeeks has an uplink without a network for three weeks, which tries again and again: at most one line in
// five minutes, each with how many were left out, and one when it is over. (Row 1 of the failure matrix.)
func TestLogOverWeeks(t *testing.T) {
	t.Parallel()
	timing := Timing{}.withDefaults()
	var lines []Report
	r := newReporter(func(rep Report) { lines = append(lines, rep) }, timing.Log)
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	redial := newBackoff(timing.BackoffMin, timing.BackoffMax)
	now, tries := begin, 0
	for now.Sub(begin) < 21*24*time.Hour {
		r.send(now, Report{Kind: "disconnected", Text: "no connection", Err: errors.New("no route to host")})
		tries++
		wait := redial.next()
		if wait > 5*time.Minute {
			t.Fatalf("it waits %s between tries", wait)
		}
		now = now.Add(wait)
	}
	told := 0
	for i := range lines {
		told += 1 + lines[i].Left
	}
	if most := int(now.Sub(begin)/(5*time.Minute)) + 1; len(lines) > most || tries-told > 1000 {
		t.Errorf("%d lines of %d tries in three weeks, which tell of %d", len(lines), tries, told)
	}
	if least := int(21 * 24 * time.Hour / timing.BackoffMax); tries < least {
		t.Errorf("only %d tries", tries)
	}
	n := len(lines)
	for range 3 {
		r.send(now, Report{Kind: StateConnected, Good: true})
	}
	if len(lines) != n+1 || !lines[n].Good {
		t.Errorf("%d lines about the end of the trouble", len(lines)-n)
	}
}
