package uplink

import (
	"math/rand/v2"
	"time"
)

// backoff spaces out attempts: each waits a random part of a bound that doubles ("full jitter"), so that a
// thousand devices that lost their server at once do not come back at once.
type backoff struct {
	min, max time.Duration
	tries    int
	random   func(n int64) int64 // rand.Int64N, or a test's.
}

func newBackoff(least, most time.Duration) *backoff {
	return &backoff{min: least, max: most, random: rand.Int64N}
}

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	bound := b.max
	if b.tries < 32 && b.min<<b.tries < b.max && b.min<<b.tries > 0 {
		bound = b.min << b.tries
	}
	b.tries++
	return time.Duration(b.random(int64(bound) + 1))
}

// reset starts anew after a success.
func (b *backoff) reset() { b.tries = 0 }
