package queue

import (
	"os"
	"strings"
	"time"
)

// SystemClock returns the machine's clock. trusted decides whether the wall
// clock can be believed; nil believes it always.
func SystemClock(trusted func() bool) Clock {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.TrimSpace(string(boot))
	if err != nil || id == "" {
		// Without a boot id every start counts as a boot of its own: leases are
		// then over after a restart, which is safe.
		id = "unknown-" + time.Now().UTC().Format(time.RFC3339Nano)
	}
	return &systemClock{boot: id, trusted: trusted, mono: newBootTime()}
}

type systemClock struct {
	boot    string
	trusted func() bool
	mono    *bootTime
}

func (c *systemClock) Now() time.Time { return time.Now().UTC() }

func (c *systemClock) Boot() string { return c.boot }

func (c *systemClock) Trusted() bool { return c.trusted == nil || c.trusted() }

func (c *systemClock) Mono() time.Duration { return c.mono.now() }
