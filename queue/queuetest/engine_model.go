package queuetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// The model of a queue: what the contract says becomes of items, without ids,
// stores, commits or goroutines. Items are known by a number in their payload.
// All times are boot times in nanoseconds unless they are called wall.

type itemState uint8

const (
	stateReady itemState = iota
	stateLeased
	stateScheduled
)

type modelItem struct {
	n        int
	state    itemState
	source   string
	created  time.Time
	attempts int32

	id    queue.ID // zero until it was seen at its present place
	since int64    // when it got its present place; orders the items of one look
	batch int      // items of one request keep their order; 0 is none
	died  bool     // came as a dead letter
	learn bool     // when it came is to be learned

	deadline  int64     // of the lease; lapsed if it is below 0
	leaseWall time.Time // the same as it is shown
	due       int64     // of a scheduled item in boot time, 0 if dueWall decides
	dueWall   int64

	expire     int64 // in the boot that expireBoot names; of an untrusted one in any
	expireBoot string
	expireWall int64 // the same as it is shown, now or later by up to newLife
	newLife    time.Duration
	restored   bool  // leased before the last restart: expiry waits for the lease's end
	lateSince  int64 // when it was first seen although it had expired; 0 is never

	untrusted bool  // nobody believed the wall clock when it got its present place
	left      int64 // what it had left to live then
}

// modelQueue is one queue with one partition.
type modelQueue struct {
	name  string
	info  queue.Info
	items map[int]*modelItem
	dead  *modelQueue // nil: dead items are dropped
	maxID queue.ID    // greatest that was ever seen
	// leased is the greatest that was ever leased: what is ready lies above it.
	leased   queue.ID
	moved    []*modelItem
	lastLook int64
	told     told
}

// moment is one moment as the model sees it.
type moment struct {
	mono    int64
	wall    int64
	boot    string
	trusted bool
}

func (q *modelQueue) list(state itemState) []*modelItem {
	var list []*modelItem
	for _, it := range q.items {
		if it.state == state {
			list = append(list, it)
		}
	}
	slices.SortFunc(list, func(a, b *modelItem) int {
		if c := slices.Compare(a.id[:], b.id[:]); c != 0 {
			return c
		}
		return a.n - b.n
	})
	return list
}

// add puts an item in, now.
func (q *modelQueue) add(it *modelItem, now moment) {
	it.since, it.id, it.untrusted = now.mono, queue.ID{}, !now.trusted
	q.items[it.n] = it
}

// setExpiry starts the life of an item with the queue's expire timeout.
func (it *modelItem) setExpiry(timeout time.Duration, now moment) {
	it.expire, it.expireBoot, it.expireWall = now.mono+int64(timeout), now.boot, now.wall+int64(timeout)
	it.newLife, it.lateSince = 0, 0
}

// agesByBoot reports whether the time since boot tells when the item expires: it
// is of this boot, or nobody knows how much older it is.
func (it *modelItem) agesByBoot(now moment) bool { return it.expireBoot == now.boot || it.untrusted }

// isExpired: an item of this boot ages by the time since boot, an older one by
// the wall clock if that can be believed, and could be when it was written.
func (it *modelItem) isExpired(now moment) bool {
	if it.agesByBoot(now) {
		return now.mono >= it.expire
	}
	return now.trusted && now.wall >= it.expireWall
}

// tail moves an item to the tail at a moment that may lie before now. Its age
// counts in boot time from then on; nobody knows that of an item of an earlier
// boot while the clock cannot be believed.
func (q *modelQueue) tail(it *modelItem, at int64, now moment) {
	switch {
	case it.expireBoot == now.boot:
		it.expireWall = now.wall + it.expire - now.mono
	case it.untrusted:
		it.expireBoot = now.boot
		shown := now.wall + it.expire - now.mono
		if time.Duration(shown-it.expireWall).Abs() > time.Second {
			it.expireWall = shown
		} else { // The engine takes that for inaccuracy.
			it.expire += it.expireWall - shown
		}
	case now.trusted:
		it.expire, it.expireBoot = now.mono+it.expireWall-now.wall, now.boot
	default:
		begin := max(at, q.lastLook) // The engine may have slept then.
		it.setExpiry(q.info.ExpireTimeout, moment{mono: begin, wall: now.wall - (now.mono - begin), boot: now.boot})
		it.newLife = time.Duration(now.mono - begin)
	}
	it.place(at, now)
}

// place makes the item ready at a new place.
func (it *modelItem) place(at int64, now moment) {
	if it.state != stateScheduled || it.due != 0 {
		it.batch = 0
	}
	it.state, it.since, it.id, it.restored, it.untrusted = stateReady, at, queue.ID{}, false, !now.trusted
	it.deadline, it.leaseWall, it.due, it.dueWall = 0, time.Time{}, 0, 0
}

// anySource stands for a source id that is to be learned.
const anySource = "*"

// die sends an item to the dead queue or drops it. It happened after the moment
// at.
func (q *modelQueue) die(it *modelItem, at int64, now moment) {
	delete(q.items, it.n)
	q.told.died(it.n)
	if q.dead == nil {
		return
	}
	it.source = it.id.String()
	if it.id.IsZero() {
		it.source = anySource
	}
	it.place(at, now)
	it.attempts, it.died, it.learn = 0, true, true
	it.created = time.Unix(0, now.wall-(now.mono-at)).UTC()
	it.setExpiry(q.dead.info.ExpireTimeout, moment{mono: at, wall: it.created.UnixNano(), boot: now.boot})
	q.dead.items[it.n] = it
}

// pass lets the time pass up to now: leases end, scheduled items become due.
// Expiry is left to look, since it may be late.
func (q *modelQueue) pass(now moment) {
	for _, it := range q.list(stateLeased) {
		if it.deadline > now.mono {
			continue
		}
		at := it.deadline
		if at < 0 {
			at = now.mono // A reboot ended it.
		}
		if q.info.MaxAttempts > 0 && int(it.attempts) >= q.info.MaxAttempts {
			q.die(it, q.lastLook, now)
		} else {
			q.tail(it, at, now)
		}
	}
	for _, it := range q.list(stateScheduled) {
		switch {
		case it.due != 0 && it.due <= now.mono:
			q.tail(it, it.due, now)
		case it.due == 0 && now.trusted && it.dueWall <= now.wall:
			q.tail(it, now.mono-(now.wall-it.dueWall), now)
		}
	}
}

// reboot is what a reboot makes of the items.
func (q *modelQueue) reboot() {
	for _, it := range q.items {
		switch it.state {
		case stateLeased:
			it.deadline = -1
		case stateScheduled:
			it.due = 0
		}
		it.since, it.lateSince = 0, 0
	}
	q.lastLook = 0
}

// reopen is what opening a partition makes of the items.
func (q *modelQueue) reopen(now moment) {
	for _, it := range q.items {
		it.restored = it.state == stateLeased
		if it.untrusted && it.expireBoot != now.boot {
			it.expire, it.lateSince = now.mono+it.left, 0
		}
	}
}

// look compares what the engine lists with the model, and learns the ids of
// items that have a new place. Gone items that have expired are accepted.
func (q *modelQueue) look(seen, scheduled []queue.Item, now moment, inOrder bool) error {
	numbers := make(map[int]bool)
	var last *modelItem
	for i, got := range slices.Concat(seen, scheduled) {
		n, it, err := q.find(&got)
		if err != nil {
			return err
		}
		if numbers[n] {
			return fmt.Errorf("item %d is there twice", n)
		}
		numbers[n] = true
		if err := it.compare(&got, i >= len(seen), now); err != nil {
			return fmt.Errorf("item %d: %w", n, err)
		}
		if err := it.learnWritten(&got, now); err != nil {
			return fmt.Errorf("item %d: %w", n, err)
		}
		if it.state == stateReady && slices.Compare(got.ID[:], q.leased[:]) <= 0 {
			return fmt.Errorf("item %d is ready at %s, behind it %s was leased", n, got.ID, q.leased)
		}
		if it.id == got.ID {
			continue
		}
		if err := q.newID(it, got.ID); err != nil {
			return err
		}
		if inOrder && i < len(seen) && last != nil && last.comesAfter(it) {
			return fmt.Errorf("item %d of %d comes before item %d of %d", last.n, last.since, it.n, it.since)
		}
		last = it
	}
	for _, it := range q.moved {
		if slices.Compare(it.id[:], q.maxID[:]) > 0 {
			q.maxID = it.id
		}
	}
	q.moved = q.moved[:0]
	err := q.lookForLost(numbers, now)
	q.lastLook = now.mono
	return err
}

// newID learns the id of an item at a new place.
func (q *modelQueue) newID(it *modelItem, id queue.ID) error {
	switch {
	case !it.id.IsZero():
		return fmt.Errorf("item %d has moved from %s to %s", it.n, it.id, id)
	case slices.Compare(id[:], q.maxID[:]) <= 0:
		return fmt.Errorf("item %d got the id %s, which is not above %s", it.n, id, q.maxID)
	}
	it.id = id
	q.moved = append(q.moved, it)
	return nil
}

// comesAfter reports whether the place of it must be behind that of o.
func (it *modelItem) comesAfter(o *modelItem) bool {
	switch {
	case it.died || o.died:
		return false
	case it.since == o.since:
		return it.batch != 0 && it.batch == o.batch && it.n > o.n
	}
	return it.since > o.since
}

func (q *modelQueue) find(got *queue.Item) (int, *modelItem, error) {
	n, err := numberOf(got)
	if err != nil {
		return 0, nil, err
	}
	it := q.items[n]
	if it == nil {
		return n, nil, fmt.Errorf("item %d is there, it should be gone: %s, attempts %d, leased %t", n, got.ID, got.Attempts, got.IsLeased)
	}
	return n, it, nil
}

// compare compares an item as it is listed.
func (it *modelItem) compare(got *queue.Item, scheduled bool, now moment) error {
	if it.learn {
		it.learnDeath(got, now)
	}
	if it.newLife > 0 {
		it.learnLife(got)
	}
	switch {
	case scheduled != (it.state == stateScheduled) || got.IsLeased != (it.state == stateLeased):
		return fmt.Errorf("leased %t, scheduled %t, want state %d", got.IsLeased, scheduled, it.state)
	case got.Attempts != it.attempts:
		return fmt.Errorf("attempts are %d, want %d", got.Attempts, it.attempts)
	case got.SourceID != it.source:
		return fmt.Errorf("source id is %q, want %q", got.SourceID, it.source)
	case !got.CreatedAt.Equal(it.created):
		return fmt.Errorf("created at %v, want %v", got.CreatedAt, it.created)
	case got.ExpireDeadline.UnixNano() != it.expireWall:
		return fmt.Errorf("expires at %v, want %v", got.ExpireDeadline, time.Unix(0, it.expireWall).UTC())
	case it.state == stateLeased && !got.LeaseDeadline.Equal(it.leaseWall):
		return fmt.Errorf("lease deadline is %v, want %v", got.LeaseDeadline, it.leaseWall)
	}
	return nil
}

// learnDeath takes over when an item came to the dead queue.
func (it *modelItem) learnDeath(got *queue.Item, now moment) {
	late := got.CreatedAt.Sub(it.created)
	if it.source == anySource {
		it.source = got.SourceID
	}
	it.learn = false
	if late >= 0 && got.CreatedAt.UnixNano() <= now.wall {
		it.created = got.CreatedAt
		it.expire += int64(late)
		it.expireWall += int64(late)
	}
}

// learnLife takes over when the new life of an item began.
func (it *modelItem) learnLife(got *queue.Item) {
	late := time.Duration(got.ExpireDeadline.UnixNano() - it.expireWall)
	if late >= 0 && late <= it.newLife {
		it.expire += int64(late)
		it.expireWall += int64(late)
	}
	it.newLife = 0
}

// learnWritten takes over what an item had left to live when it got its place.
func (it *modelItem) learnWritten(got *queue.Item, now moment) error {
	isNew := it.expireBoot == now.boot
	switch w := got.Written; {
	case w.Untrusted != it.untrusted || got.SameBoot != isNew:
		return fmt.Errorf("written under an untrusted clock %t, in this boot %t; want %t, %t", w.Untrusted, got.SameBoot, it.untrusted, isNew)
	case isNew && (w.Mono < it.since || w.Mono > now.mono):
		return fmt.Errorf("written at %d, want %d to %d", w.Mono, it.since, now.mono)
	case isNew:
		it.left = max(0, it.expire-w.Mono)
	}
	return nil
}

// expirySlack is how late an expired item may go after it was first seen: the
// engine looks at the wall clock every 10 s, and through an unordered span once
// a second.
const expirySlack = int64(15 * time.Second)

// lookForLost sees that what is not listed has expired, and the reverse.
func (q *modelQueue) lookForLost(seen map[int]bool, now moment) error {
	for n, it := range q.items {
		expired := it.state != stateScheduled && it.isExpired(now)
		switch {
		case seen[n] && (!expired || it.mayStay(now)):
			it.lateSince = 0
		case seen[n] && it.lateSince == 0:
			it.lateSince = now.mono
		case seen[n] && now.mono > it.lateSince+expirySlack:
			return fmt.Errorf("item %d in state %d is there, it expired at %d in %s, now is %+v", n, it.state, it.expire, it.expireBoot, now)
		case seen[n]:
		case !expired:
			return fmt.Errorf("item %d in state %d is lost; it would expire at %d in %s or %d by the wall, it was at %s since %d, now is %+v",
				n, it.state, it.expire, it.expireBoot, it.expireWall, it.id, it.since, now)
		default:
			q.die(it, q.lastLook, now)
		}
	}
	return nil
}

// mayStay reports whether an expired item may be there nevertheless: its lease is
// of before a restart, or nobody can tell yet that its span has something to
// look for. A span of an earlier boot is looked at when the wall clock says so.
func (it *modelItem) mayStay(now moment) bool {
	switch {
	case it.expireBoot == now.boot:
		return it.state == stateLeased && it.restored
	case it.state == stateLeased:
		return true
	}
	return it.untrusted && (!now.trusted || now.wall < it.expireWall)
}

// hasExpired reports whether there are items of which nobody knows whether they
// are still there.
func (q *modelQueue) hasExpired(now moment) bool {
	for _, it := range q.items {
		if it.isExpired(now) && it.state != stateScheduled {
			return true
		}
	}
	return false
}

// held returns how many items are in each state.
func (q *modelQueue) held() (ready, leased, scheduled int64) {
	for _, it := range q.items {
		switch it.state {
		case stateReady:
			ready++
		case stateLeased:
			leased++
		case stateScheduled:
			scheduled++
		}
	}
	return ready, leased, scheduled
}

func numberOf(it *queue.Item) (int, error) {
	n := -1
	if _, err := fmt.Sscanf(string(it.Payload), "%d ", &n); err != nil || n < 0 {
		return 0, fmt.Errorf("item %s has the payload %.40q", it.ID, it.Payload)
	}
	return n, nil
}
