package queuetest

import (
	"sync"
	"time"
)

// Clock is a queue.Clock that tests set. Both of its times advance as time.Now
// does; in a bubble of testing/synctest they stand still until all goroutines
// wait. A Clock that is used in a bubble is made in it. Its methods are safe
// for use by any goroutine.
type Clock struct {
	mu      sync.Mutex // guards what follows
	start   time.Time  // when the present boot began, with the clock of the process
	wall    time.Time  // what the wall clock showed then
	mono    time.Duration
	boot    string
	trusted bool
}

// NewClock returns a trusted clock in boot "boot-1", one minute after the
// kernel started, that shows the wall time.
func NewClock(wall time.Time) *Clock {
	return &Clock{start: time.Now(), wall: wall.Round(0).UTC(), mono: time.Minute, boot: "boot-1", trusted: true}
}

// Now returns the wall clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall.Add(time.Since(c.start))
}

// Mono returns the time since the kernel started.
func (c *Clock) Mono() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono + time.Since(c.start)
}

// Boot returns the name of the boot.
func (c *Clock) Boot() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// Trusted reports whether the wall clock can be believed.
func (c *Clock) Trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trusted
}

// Step moves the wall clock by d, which may be negative.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// SetWall sets the wall clock.
func (c *Clock) SetWall(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = now.Round(0).UTC().Add(-time.Since(c.start))
}

// SetTrusted says whether the wall clock can be believed.
func (c *Clock) SetTrusted(trusted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted = trusted
}

// Set sets the wall clock, and says whether it can be believed from then on.
func (c *Clock) Set(now time.Time, trusted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.trusted = now.Round(0).UTC().Add(-time.Since(c.start)), trusted
}

// Suspend moves both clocks on by d at once, as when the device slept.
func (c *Clock) Suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

// Reboot starts a boot of that name: the time since boot begins again, the wall
// clock goes on.
func (c *Clock) Reboot(boot string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.wall = c.wall.Add(now.Sub(c.start))
	c.start, c.mono, c.boot = now, 5*time.Second, boot
}
