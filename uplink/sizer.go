package uplink

import "time"

// sizer decides how much is sent at once: as much as the link carries in about two seconds. It begins small,
// doubles while that is quick, and drops to a quarter when something was lost on the way, so that a link that
// holds for seconds only still makes progress, if need be one event at a time.
type sizer struct {
	maxEvents, maxBytes int

	events, bytes int
	rate          float64 // bytes a second that the link was seen to carry; 0: not known
}

// The first size, and the times that make it grow or shrink.
const (
	firstEvents = 25
	firstBytes  = 16 << 10
	leastBytes  = 1 << 10
	quick       = time.Second
	slow        = 2 * time.Second
	// slowestLink is what a link is trusted to carry before it was measured, in bytes a second.
	slowestLink = 2000
)

func newSizer(maxEvents, maxBytes int) *sizer {
	return &sizer{
		maxEvents: maxEvents, maxBytes: maxBytes,
		events: min(firstEvents, maxEvents), bytes: min(firstBytes, maxBytes),
	}
}

// took learns from a batch that arrived.
func (s *sizer) took(bytes int, d time.Duration) {
	if d > 0 {
		seen := float64(bytes) / d.Seconds()
		if s.rate == 0 {
			s.rate = seen
		}
		s.rate = 0.7*s.rate + 0.3*seen
	}
	switch {
	case d < quick:
		s.events, s.bytes = min(2*s.events, s.maxEvents), min(2*s.bytes, s.maxBytes)
	case d > slow:
		s.events, s.bytes = max(s.events/2, 1), max(s.bytes/2, leastBytes)
	}
}

// lost learns from one whose fate is unknown.
func (s *sizer) lost() {
	s.events, s.bytes = max(s.events/4, 1), max(s.bytes/4, leastBytes)
}

// timeout is how long the receipts of so many bytes may take.
func (s *sizer) timeout(base time.Duration, bytes int) time.Duration {
	rate := s.rate / 2 // A link may get worse.
	if rate < slowestLink {
		rate = slowestLink
	}
	return base + time.Duration(float64(bytes)/rate*float64(time.Second))
}
