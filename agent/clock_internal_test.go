package agent

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// TestClockFloor checks what a wall clock has to be later than to be believed.
func TestClockFloor(t *testing.T) {
	release := releaseTime()
	day := 24 * time.Hour
	for _, tt := range []struct {
		name              string
		built, seen, want time.Time
	}{
		{"built after the release", release.Add(day), time.Time{}, release.Add(day)},
		{"seen running after it was built", release.Add(day), release.Add(2 * day), release.Add(2 * day)},
		{"seen running before it was built, which is an upgrade", release.Add(2 * day), release.Add(day), release.Add(2 * day)},
		{"a build that says it is of 1970", time.Unix(0, 0), time.Time{}, release},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newTrust(config.TrustAuto, tt.built, tt.seen).floorTime(); !got.Equal(tt.want) {
				t.Errorf("the floor is %s, want %s", got, tt.want)
			}
		})
	}
	if got := newTrust(config.TrustAuto, time.Time{}, time.Time{}).floorTime(); got.Before(release) {
		t.Errorf("without a time of the build the floor is %s, before the release", got)
	}
}
