package agent

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
)

// trust decides whether the wall clock can be believed, by the setting [clock]
// trust.
type trust struct {
	setting string
	// floor is a time that it is later than: when the agent was built or was
	// seen running last.
	floor time.Time
}

// newTrust returns the rule of a setting. built is when the program was, zero for
// what Go's build noted; seen is the last time known from earlier runs.
func newTrust(setting string, built, seen time.Time) *trust {
	t := &trust{setting: setting, floor: releaseTime()}
	if built.IsZero() {
		built = commitTime()
	}
	if built.After(t.floor) {
		t.floor = built
	}
	if seen.After(t.floor) {
		t.floor = seen
	}
	return t
}

// holds reports whether the wall clock is believed now. Any goroutine may call
// it.
func (t *trust) holds() bool {
	switch t.setting {
	case config.TrustAlways:
		return true
	case config.TrustNTP:
		return device.Synchronised()
	}
	return time.Now().After(t.floor) || device.Synchronised() // Asking the kernel costs more.
}

// floorTime is a time that it must be by now.
func (t *trust) floorTime() time.Time { return t.floor }

// reason says why it is believed or not.
func (t *trust) reason() string {
	switch {
	case t.setting == config.TrustAlways:
		return "the configuration says so"
	case device.Synchronised():
		return "the kernel says that it is synchronised"
	case t.setting == config.TrustNTP:
		return "the kernel says that it is not synchronised"
	case time.Now().After(t.floor):
		return "it is not synchronised, and later than the last time known"
	}
	return "it is not synchronised, and earlier than " + t.floor.UTC().Format("2006-01-02 15:04 MST") + ", when the agent was built or ran last"
}

// releaseTime is the earliest time that an agent of this version can run at.
func releaseTime() time.Time { return time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC) }

// commitTime returns the time of the commit that Go built the program from, zero
// if it noted none: no clock that is right shows an earlier time.
func commitTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

// lastSeen remembers, over reboots, how late it has been: the time stamp of a
// file in the data directory. A board without a clock of its own starts in the
// past, and this is how it shows.
type lastSeen struct {
	path string
	at   time.Time // when the agent ran last
}

const lastSeenEvery = time.Hour

func newLastSeen(dir string) *lastSeen {
	s := &lastSeen{path: filepath.Join(dir, "last-seen")}
	if fi, err := os.Stat(s.path); err == nil {
		s.at = fi.ModTime()
	}
	return s
}

// keep stamps the file now, every hour and at the end, unless the clock shows a
// time that it has shown before. Where NTP keeps the clock, its word counts, since
// a clock that was ahead once would else make the right time look wrong for ever.
func (s *lastSeen) keep(ctx context.Context) {
	tick := time.NewTicker(lastSeenEvery)
	defer tick.Stop()
	for {
		s.stamp(time.Now(), device.Synchronised())
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.stamp(time.Now(), device.Synchronised())
			return
		}
	}
}

// stamp is best effort: a clock that is believed a little too early is no harm.
func (s *lastSeen) stamp(now time.Time, synchronised bool) {
	if !now.After(s.at) && !synchronised {
		return
	}
	if err := os.Chtimes(s.path, now, now); os.IsNotExist(err) {
		_ = os.WriteFile(s.path, nil, 0o600)
	}
}
