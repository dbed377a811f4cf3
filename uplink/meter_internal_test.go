package uplink

import (
	"testing"
	"time"
)

// TestBudgetOverDays looks at the budget at moments of which a test cannot wait for, which is why it is inside.
func TestBudgetOverDays(t *testing.T) {
	trusted := true
	day := func(d, h int) time.Time { return time.Date(2026, 1, d, h, 0, 0, 0, time.Local) }
	m := newMeter(Budget{PerDay: 100, PerMonth: 250}, func() bool { return trusted }, usage{}, day(30, 8))
	for _, step := range []struct {
		at      time.Time
		bytes   int
		trusted bool
		want    string
	}{
		{day(30, 8), 99, true, ""},
		{day(30, 9), 1, true, StateBudget},
		{day(30, 23), 0, true, StateBudget},
		{day(31, 0), 90, true, ""},           // Another day.
		{day(60, 0), 10, false, StateBudget}, // A clock that may be wrong begins none.
		{day(31, 20), 0, true, StateBudget},
		{day(32, 1), 99, true, ""}, // Another month, too.
		{day(33, 1), 99, true, ""},
		{day(34, 1), 60, true, StateBudget}, // The month has 258.
		{day(35, 1), 0, true, StateBudget},
		{day(60, 1), 0, true, ""},
	} {
		trusted = step.trusted
		m.turn(step.at)
		m.count(step.bytes, 0)
		if got, until := m.closed(step.at); got != step.want || got != "" && !until.After(step.at) {
			t.Errorf("%s: %q until %s, not %q; %+v", step.at, got, until, step.want, m.used)
		}
	}
}

func TestWindowsOverMidnight(t *testing.T) {
	windows := []TimeWindow{{From: 22 * time.Hour, To: 5 * time.Hour}, {From: 12 * time.Hour, To: 13 * time.Hour}}
	m := newMeter(Budget{Windows: windows}, nil, usage{}, time.Now())
	for hour, until := range map[int]int{0: -1, 4: -1, 5: 12, 11: 12, 12: -1, 13: 22, 21: 22, 22: -1, 23: -1} {
		now := time.Date(2026, 1, 30, hour, 0, 0, 0, time.Local)
		state, next := m.closed(now)
		if open := until < 0; open != (state == "") || !open && next.Hour() != until {
			t.Errorf("at %d: %q until %s", hour, state, next)
		}
	}
}
