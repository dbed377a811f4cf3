package api

import (
	"errors"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/queue"
)

// holder is the process that leases end with, if they do.
type holder struct{ process *access.Process }

// name returns what the engine calls it, 0 for nobody.
func (h holder) name() uint64 {
	if h.process == nil {
		return 0
	}
	return h.process.Holder()
}

// check ends the leases that were given while the process ended.
func (h holder) check(s *queue.Service) {
	if h.process != nil && h.process.Ended() {
		s.ReleaseHolders(h.process.Holder())
	}
}

// holder returns the process that makes the call.
func (c *call) holder() (holder, error) {
	process, err := c.h.guard.Hold(c.peer)
	if errors.Is(err, access.ErrNoProcess) {
		return holder{}, badRequest("release_on_exit is invalid; the process that made the connection has ended, or cannot be watched")
	}
	return holder{process}, err
}

// leaseHolder returns whom the leases of a request end with. asked is what the
// request says about it, nil for nothing.
func (c *call) leaseHolder(q *queue.Queue, asked *bool) (holder, error) {
	switch {
	case asked != nil && *asked:
		return c.holder()
	case asked != nil || !q.ReleaseOnExit():
		return holder{}, nil
	}
	// The queue cannot know that nobody knows this process; the lease timeout is
	// there for that.
	process, err := c.h.guard.Hold(c.peer)
	if errors.Is(err, access.ErrNoProcess) {
		return holder{}, nil
	}
	return holder{process}, err
}
