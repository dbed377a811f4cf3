package uplink

import (
	"sync"
	"time"
)

// meter counts bytes against the budget. It is safe for use by any goroutine.
type meter struct {
	trusted func() bool // may be nil

	mu      sync.Mutex
	budget  Budget
	out, in uint64
	balance float64 // what the rate allows; below zero nothing is sent
	at      time.Time
	used    usage
	dirty   bool
}

// usage is what the budget of the present day and month has lost already.
type usage struct {
	Day        string `json:"day"`
	DayBytes   int64  `json:"day_bytes"`
	Month      string `json:"month"`
	MonthBytes int64  `json:"month_bytes"`
}

// burst is how long a link that was silent may send at once, in seconds of its rate.
const burst = 5

func newMeter(b Budget, trusted func() bool, used usage, now time.Time) *meter {
	return &meter{budget: b, trusted: trusted, used: used, at: now, balance: float64(b.Rate) * burst}
}

// set changes the budget; what was used of it counts on.
func (m *meter) set(b Budget, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Rate != m.budget.Rate {
		m.balance, m.at = float64(b.Rate)*burst, now // Without a rate nobody looks at the balance.
	}
	m.budget = b
}

// count is told of bytes on the network.
func (m *meter) count(out, in int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out += uint64(out)
	m.in += uint64(in)
	m.balance -= float64(out + in)
	m.used.DayBytes += int64(out + in)
	m.used.MonthBytes += int64(out + in)
	m.dirty = true
}

// rateWait returns how long the rate asks to wait before anything more is sent.
func (m *meter) rateWait(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget.Rate <= 0 {
		return 0
	}
	rate := float64(m.budget.Rate)
	if d := now.Sub(m.at); d > 0 {
		m.balance = min(m.balance+d.Seconds()*rate, rate*burst)
	}
	m.at = now
	if m.balance >= 0 {
		return 0
	}
	return time.Duration(-m.balance / rate * float64(time.Second))
}

// closed returns why the uplink may not connect now, and until when at the latest; "" if it may.
func (m *meter) closed(now time.Time) (why string, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	local := now.Local()
	midnight := time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, local.Location())
	switch {
	case m.budget.PerMonth > 0 && m.used.MonthBytes >= m.budget.PerMonth:
		return StateBudget, time.Date(local.Year(), local.Month()+1, 1, 0, 0, 0, 0, local.Location())
	case m.budget.PerDay > 0 && m.used.DayBytes >= m.budget.PerDay:
		return StateBudget, midnight
	}
	if len(m.budget.Windows) == 0 || m.trusted != nil && !m.trusted() {
		return "", time.Time{}
	}
	since := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute +
		time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	next := 24 * time.Hour
	for _, w := range m.budget.Windows {
		if w.holds(since) {
			return "", time.Time{}
		}
		if wait := (w.From - since + 24*time.Hour) % (24 * time.Hour); wait < next {
			next = wait
		}
	}
	return StateClosed, now.Add(next)
}

// holds reports whether a time of day lies in the window.
func (w TimeWindow) holds(t time.Duration) bool {
	if w.From <= w.To {
		return t >= w.From && t < w.To
	}
	return t >= w.From || t < w.To
}

// turn begins a new day and month. A clock that nobody trusts begins none: it might begin one at every start.
func (m *meter) turn(now time.Time) {
	if m.trusted != nil && !m.trusted() && m.used.Day != "" {
		return
	}
	local := now.Local()
	if day := local.Format(time.DateOnly); day != m.used.Day {
		m.used.Day, m.used.DayBytes, m.dirty = day, 0, true
	}
	if month := local.Format("2006-01"); month != m.used.Month {
		m.used.Month, m.used.MonthBytes, m.dirty = month, 0, true
	}
}

// totals returns the bytes of this process, and the usage.
func (m *meter) totals() (out, in uint64, used usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out, m.in, m.used
}

// changed reports whether there is something to write since the last call.
func (m *meter) changed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.dirty
	m.dirty = false
	return was
}
