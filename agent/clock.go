package agent

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// trustRule returns the function that decides whether the wall clock can be
// believed, by the setting [clock] trust. seen is the last time known from
// earlier runs.
func trustRule(trust string, seen time.Time) func() bool {
	switch trust {
	case config.TrustAlways:
		return nil
	case config.TrustNTP:
		return synchronised
	}
	floor := buildTime()
	if seen.After(floor) {
		floor = seen
	}
	return func() bool { return synchronised() || time.Now().After(floor) }
}

// synchronised reports whether the kernel says that NTP keeps the clock right.
func synchronised() bool {
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	const timeError, staUnsync = 5, 0x0040 // adjtimex(2): TIME_ERROR, STA_UNSYNC.
	return err == nil && state != timeError && t.Status&staUnsync == 0
}

// releaseTime is the earliest time that an agent of this version can run at.
func releaseTime() time.Time { return time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC) }

// buildTime returns when the program was built, as far as it knows: no clock
// that is right shows an earlier time.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return releaseTime()
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil && t.After(releaseTime()) {
				return t
			}
		}
	}
	return releaseTime()
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
// time that it has shown before.
func (s *lastSeen) keep(ctx context.Context) {
	tick := time.NewTicker(lastSeenEvery)
	defer tick.Stop()
	for {
		s.stamp(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.stamp(time.Now())
			return
		}
	}
}

// stamp is best effort: a clock that is believed a little too early is no harm.
func (s *lastSeen) stamp(now time.Time) {
	if !now.After(s.at) {
		return
	}
	if err := os.Chtimes(s.path, now, now); os.IsNotExist(err) {
		_ = os.WriteFile(s.path, nil, 0o600)
	}
}
