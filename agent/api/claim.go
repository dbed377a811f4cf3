package api

import (
	"sync/atomic"
	"time"
)

// claimFor is for how long a claim holds that nobody renews.
const claimFor = 200 * time.Millisecond

// claim keeps room of a budget aside for a large item that is to be leased: else
// large bodies that stand in line would take all that is given back, each before the
// item finds as much as it needs. It is safe for use by any goroutine.
type claim struct {
	begun time.Time    // what until counts from
	bytes atomic.Int64 // 0 is none
	until atomic.Int64 // when it ends
}

// kept returns how many bytes are kept aside.
func (c *claim) kept() int64 {
	if n := c.bytes.Load(); n > 0 && time.Since(c.begun) < time.Duration(c.until.Load()) {
		return n
	}
	return 0
}

// set claims n bytes; 0 ends it.
func (c *claim) set(n int64) {
	c.until.Store(int64(time.Since(c.begun) + claimFor))
	c.bytes.Store(n)
}

// largeOf returns what an item of so many bytes takes of the budget: one that is
// larger than all that large bodies may have takes as much as that.
func (b *Budget) largeOf(bytes int64) int64 { return min(bytes, b.limitOf(smallBody+1)) }

// TakeLarge takes room for a large item that is to be leased; see queue.LargeRoom.
// It goes before large bodies that are not being read yet. Where the budget is small
// there is either such an item or a large body in memory, not both.
func (b *Budget) TakeLarge(bytes int64) bool {
	n := b.largeOf(bytes)
	if !b.reserve(n, b.limit) {
		b.claim.set(n)
		return false
	}
	b.claim.set(0)
	return true
}

// awaitLarge waits, for as long as it takes, until there is room for a large item in a
// reply, and more bytes. It takes turns with the large requests that wait, so that it
// does not keep out for long who needs less. It returns how many bytes of the call are
// for it, all told. The error is that of the request's context.
func (c *call) awaitLarge(bytes, more int64) (int64, error) {
	b := c.h.budget
	n := min(b.largeOf(bytes)+more, b.limit)
	ctx := c.r.Context()
	for ctx.Err() == nil {
		taken, _ := b.line.wait(ctx, c.user(), roomWait, func() (full bool, err error) {
			if b.InFlight()+n > b.limit-b.claim.kept() || !b.reserve(n, b.limit) {
				return true, b.busy()
			}
			return false, nil
		})
		if taken {
			c.h.guard.TakeBytes(c.peer, n)
			c.reserved += n
			return n, nil
		}
	}
	return 0, ctx.Err()
}

// GiveLarge gives it back, to large bodies that wait before another item gets it.
func (b *Budget) GiveLarge(bytes int64) { b.Release(b.largeOf(bytes)) }
