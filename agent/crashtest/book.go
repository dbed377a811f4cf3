package crashtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// Book holds what is known of every item and queue. Its methods are safe for use
// by any goroutine, but Check runs while nothing else uses the agent.
type Book struct {
	// Patience is for how long what the agent shows may differ from the book: it
	// moves items by itself, and a picture takes several calls.
	Patience time.Duration

	mu       sync.Mutex
	next     uint64 // number of the next item
	items    map[uint64]*item
	queues   map[string]*queueBook
	unknown  []*change // sent, and not answered
	problems []string
	// held are leases that are kept over the end of the agent.
	held []lease
	// kept are those of earlier rounds.
	kept []lease
	// redriving: items of dead queues may be on their way to redriveTo.
	redriving bool
	// cut: the power was cut since the last check, so that leases of the round may
	// be forgotten.
	cut    bool
	totals Totals

	// start counts the starts of the agent; completed are the items that are, and
	// by which complete.
	start     int
	completed map[uint64]completion
}

// Totals sum up what was done.
type Totals struct {
	Kills        int
	Cuts         int // of the power
	Operations   int // calls that were answered or broken off
	Acknowledged int // items whose produce was acknowledged
	Completed    int // items whose complete was acknowledged
	Unknown      int // items that were in a change under way when the agent ended
	Checked      int // items looked at in checks
	Events       int // events that were delivered
	Gapped       int // completed items that gap events stand for
}

// item is one item that may be there.
type item struct {
	n        uint64
	home     string // the queue it was produced to
	at       string // the queue it was seen in last
	producer int
	batch    *batch
	sourceID string
	kind     string
	due      time.Time // not to be leased before; zero if it was not scheduled
	size     int
	attempts int
	sure     int // of the attempts, those that are on flash for sure
	// loose: the item may have a new id, so its place among others is open.
	loose    bool
	deadSent bool // it was given back as dead
	change   *change
}

// batch is what one produce request brought.
type batch struct {
	queue string
	items []*item
	acked bool // it is there; else the answer was lost
	// wire are the payloads, of a batch with source ids that is not answered.
	wire [][]byte
}

// lease is a lease of items of one partition, as the client knows it.
type lease struct {
	queue     string
	partition int
	ids       []string
	items     []*item
	until     time.Time // it holds at least until then
}

type changeKind int

const (
	changeComplete changeKind = iota
	changeRetry
	changeDead
	changeDelete
	changeClear
)

// change is a request about items that was sent.
type change struct {
	kind      changeKind
	queue     string
	partition int
	ids       []string
	items     []*item
	until     time.Time // of the lease, before the change
	start     int       // of the agent that it was sent to
}

// presence says whether a queue is there.
type presence int

const (
	present presence = iota
	absent
	coming // a create is under way
	going  // a delete is under way
)

// queueBook is what is known of a queue.
type queueBook struct {
	info  client.QueueInfo
	state presence
	// lost counts lease requests of this round whose answer was lost: each may
	// have raised the attempts of an item.
	lost int
	// The ledger as it must be.
	produced, completed, deleted int
	// seen is the last item of each producer that was leased the first time.
	seen map[track]uint64
}

// track is one order: items of a producer in a partition.
type track struct{ partition, producer int }

// NewBook returns a book of an agent that holds nothing.
func NewBook() *Book {
	return &Book{Patience: checkPatience, items: make(map[uint64]*item), queues: make(map[string]*queueBook), completed: make(map[uint64]completion)}
}

// Problems returns what broke a promise so far.
func (b *Book) Problems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.problems...)
}

// Totals returns the sums so far.
func (b *Book) Totals() Totals {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.totals
}

// Live returns how many items may be there, and their bytes.
func (b *Book) Live() (items int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		bytes += int64(it.size)
	}
	return len(b.items), bytes
}

const maxProblems = 60

// problem notes a broken promise. The caller holds mu.
func (b *Book) problem(format string, args ...any) {
	if len(b.problems) < maxProblems {
		b.problems = append(b.problems, fmt.Sprintf(format, args...))
	}
}

// Problem notes a broken promise.
func (b *Book) Problem(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problem(format, args...)
}

// String describes an item for a report.
func (it *item) String() string {
	return fmt.Sprintf("item %d (produced to %s by %d, last seen in %s with %d attempts)", it.n, it.home, it.producer, it.at, it.attempts)
}

// deadQueue returns the dead queue of a queue, or "". The caller holds mu.
func (b *Book) deadQueue(queue string) string {
	if q := b.queues[queue]; q != nil {
		return q.info.DeadQueue
	}
	return ""
}

// mayBeDead reports whether the item can have come to the dead queue of the
// queue it was in. The caller holds mu.
func (b *Book) mayBeDead(it *item) bool {
	q := b.queues[it.at]
	if q == nil || q.info.DeadQueue == "" {
		return false
	}
	return it.deadSent || q.info.MaxAttempts > 0 && it.attempts+q.lost >= q.info.MaxAttempts
}

// redriveTo is the queue that dead items are moved to.
const redriveTo = "single"

// mayBeIn reports whether the item can be in the queue. The caller holds mu.
func (b *Book) mayBeIn(it *item, queue string) bool {
	if queue == it.at {
		return true
	}
	dead := b.deadQueue(it.at)
	switch {
	case dead == "":
		return b.redriving && it.at == deadName && queue == redriveTo
	case !b.mayBeDead(it):
		return false
	}
	return queue == dead || b.redriving && queue == redriveTo
}

// moved notes that the item was seen in a queue with so many attempts. It
// returns what is wrong with that, or "". The caller holds mu.
func (b *Book) moved(it *item, queue string, attempts int) string {
	if !b.mayBeIn(it, queue) {
		return fmt.Sprintf("%v is in queue %s", it, queue)
	}
	low := it.attempts
	if b.cut {
		low = it.sure
	}
	high := it.attempts
	if queue != it.at {
		low, high = 0, 0
	}
	if q := b.queues[queue]; q != nil {
		high += q.lost
	}
	if attempts < low || attempts > high {
		return fmt.Sprintf("%v has %d attempts in queue %s, %d to %d are possible", it, attempts, queue, low, high)
	}
	return ""
}

// PowerCut notes that the agent ended by a power cut: leases are over, and those
// of the round may be forgotten.
func (b *Book) PowerCut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Cuts++
	b.forgetLeases()
}

// DeviceFailed notes that the agent ended while syncs may have failed: leases of
// the round may be forgotten, since they are answered before they are synced.
func (b *Book) DeviceFailed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetLeases()
}

// forgetLeases notes that leases may be forgotten. The caller holds mu.
func (b *Book) forgetLeases() {
	b.cut = true
	b.held, b.kept = nil, nil
	for _, q := range b.queues {
		clear(q.seen)
	}
}

// settle notes where the item is. The caller holds mu.
func (it *item) settle(queue string, attempts int) {
	if queue != it.at {
		it.at, it.loose, it.deadSent, it.sure = queue, true, false, 0
	}
	it.attempts = attempts
}
