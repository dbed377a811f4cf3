package api

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Budget bounds the bytes of request and response bodies that are held at the
// same time. Whoever wants to hold n bytes reserves them first, and releases
// them when they are gone. Its methods are safe for use by any goroutine.
type Budget struct {
	limit int64
	used  atomic.Int64
	line  line         // of large requests
	spent atomic.Int64 // bytes of huge bodies since the last collection
	claim claim
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, claim: claim{begun: time.Now()}}
}

// Limit returns the size of the budget in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// InFlight returns how many bytes are reserved. It can exceed Limit by what was
// taken.
func (b *Budget) InFlight() int64 { return b.used.Load() }

// smallBody is the size up to which a body may use the whole budget. Larger ones
// leave an eighth of it alone, so that clients with small requests are served
// while others are slow with large ones.
const smallBody = 64 << 10

// limitOf returns how much of the budget a body of whole bytes may use.
func (b *Budget) limitOf(whole int64) int64 {
	if whole > smallBody {
		return b.limit - b.limit/8
	}
	return b.limit
}

// Reserve takes n bytes of the budget for a body of whole bytes, or returns an
// error of kind queue.ErrOverloaded. It does not wait: a client that comes again
// later costs nothing, one that waits here with half a body does. Large requests
// wait before they are read (call.await).
func (b *Budget) Reserve(n, whole int64) error {
	if err := b.fits(whole); err != nil {
		return err
	}
	if !b.reserve(n, b.limitOf(whole)) {
		return b.busy()
	}
	return nil
}

// reserve takes n bytes if no more than limit are taken then.
func (b *Budget) reserve(n, limit int64) bool {
	for {
		used := b.used.Load()
		if used+n > limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// busy returns the error for want of room.
func (b *Budget) busy() error {
	return &queue.Error{Kind: queue.ErrOverloaded, Op: "read body", Msg: fmt.Sprintf(
		"the agent is busy: %d bytes of requests are in flight, limit %d; try again", b.InFlight(), b.limit)}
}

// fits returns an error if a body of whole bytes never finds room.
func (b *Budget) fits(whole int64) error {
	limit := b.limitOf(whole)
	if whole <= limit {
		return nil
	}
	return &queue.Error{Kind: queue.ErrOverloaded, Op: "read body", Msg: fmt.Sprintf(
		"the request is too large for this agent: %d bytes, and at most %d may be in flight;"+
			" raise memory-limit or send smaller parts", whole, limit)}
}

// hugeBody is from what size on bodies are garbage that the collector has to be
// told of: it begins in time for what small ones leave behind, and would be far
// beyond the memory limit before it is done when a few of 5 MB come at once.
const hugeBody = 1 << 20

// spend is called before n bytes are allocated for a body. It collects garbage
// when as much as a quarter of the budget was allocated for huge ones since.
func (b *Budget) spend(n int64) {
	if n < hugeBody {
		return
	}
	if sum := b.spent.Add(n); sum > b.limit/4 && b.spent.CompareAndSwap(sum, 0) {
		runtime.GC()
	}
}

// Take takes n bytes whether there is room or not. It is for replies: what they
// answer has been done, so they cannot be refused any more, but they keep
// further requests out until they are written.
func (b *Budget) Take(n int64) { b.used.Add(n) }

// Release gives n bytes back, to those who wait for them if there are any.
func (b *Budget) Release(n int64) {
	b.undo(n)
	b.line.serve()
}

// undo gives n bytes back that were reserved a moment ago, which nobody can have
// missed who waits.
func (b *Budget) undo(n int64) {
	if b.used.Add(-n) < 0 {
		panic(fmt.Sprintf("BUG: %d bytes released that were not reserved", n))
	}
}
