package queuetest

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// driver drives one partition store as the engine does, and keeps a model of
// what the store must hold: a map of items, nothing else.
type driver struct {
	t   testing.TB
	p   *place
	key queue.PartitionKey
	ps  queue.PartitionStore
	st  *queue.State

	at      queue.Instant // moved on by each commit
	held    map[uint64]*heldItem
	totals  queue.Totals
	origins map[queue.Tag][]uint64
	feeds   map[string]queue.FeedMark
	next    uint64           // least sequence number that may be given out
	spans   []queue.SpanInfo // as the state had them when it was closed
	kept    []keptItem
}

// heldItem is an item of the model.
type heldItem struct {
	item  queue.Item // as the store must return it, but for SameBoot
	boot  string     // in which it was written
	lease *queue.Lease
	sched *queue.Scheduled
}

func (i *heldItem) isReady() bool { return i.lease == nil && i.sched == nil }

// keptItem is an item that a store returned, kept to see that it never changes.
type keptItem struct{ got, copy queue.Item }

// newTag returns a tag that nothing else in the process has.
func newTag(n byte) queue.Tag { return queue.Tag{n, 0xff, 0, 0x80, n, 1, 2, 3, 4, 5, 6, n} }

func (p *place) partition(name string, no int, tag queue.Tag) *driver {
	p.t.Helper()
	d := &driver{
		t: p.t, p: p, key: queue.PartitionKey{Queue: name, Partition: no, Tag: tag},
		at:   queue.Instant{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano(), Mono: int64(time.Minute)},
		held: make(map[uint64]*heldItem), origins: make(map[queue.Tag][]uint64),
		feeds: make(map[string]queue.FeedMark),
	}
	d.open()
	p.drivers = append(p.drivers, d)
	return d
}

// newDriver opens a partition for a test that needs only one.
func newDriver(t testing.TB, h Harness) *driver {
	t.Helper()
	return newPlace(t, h).partition("queue", 0, newTag(7))
}

func (d *driver) open() {
	d.t.Helper()
	ps, err := d.p.stores.Storage.OpenPartition(d.key)
	if err != nil {
		d.t.Fatalf("open partition %s: %v", d.key, err)
	}
	d.ps, d.st = ps, ps.State()
	if d.st.Boot != d.p.boot {
		d.st.EnterBoot(d.p.boot)
		for _, it := range d.held {
			if it.lease != nil && !it.lease.IsOver() {
				it.lease.Deadline = queue.LeaseLapsed
			}
			if it.sched != nil {
				it.sched.DueMono = 0
			}
		}
		for i := range d.spans {
			sp := &d.spans[i]
			if sp.OldBoot && sp.MinMono != math.MaxInt64 {
				sp.MinMono = 0
			} else {
				sp.MinMono = math.MaxInt64
			}
			sp.OldBoot = true
		}
	}
	d.verifyState()
}

func (d *driver) close() {
	d.t.Helper()
	d.spans = slices.Clone(d.st.Spans)
	if err := d.ps.Close(); err != nil {
		d.t.Fatalf("close partition %s: %v", d.key, err)
	}
	d.ps, d.st = nil, nil
}

// twin returns a driver with a copy of the model, for a copy of the place.
func (d *driver) twin(p *place) *driver {
	c := *d
	c.p, c.ps, c.st = p, nil, nil
	c.spans, c.kept = slices.Clone(d.st.Spans), nil
	c.origins = maps.Clone(d.origins)
	c.feeds = maps.Clone(d.feeds)
	c.held = make(map[uint64]*heldItem, len(d.held))
	for seq, it := range d.held {
		clone := *it
		if it.lease != nil {
			l := *it.lease
			clone.lease = &l
		}
		if it.sched != nil {
			s := *it.sched
			clone.sched = &s
		}
		c.held[seq] = &clone
	}
	return &c
}

// change is what one commit of a driver does.
type change struct {
	items     []queue.Item
	leaseNew  []int // indexes of items that are leased at once
	schedNew  []int // indexes of items that are scheduled at their EnqueueAt
	leases    []queue.Lease
	schedules []queue.Scheduled
	removed   []uint64
	cursor    uint64 // 0 leaves it where it is
	origin    *queue.Origin
	feed      *queue.FeedMark
	moved     int  // how many of items replace some of removed
	lazy      bool // without sync
}

// commit does what the engine does for one commit and returns the sequence
// number of the first item.
func (d *driver) commit(ch change) uint64 {
	d.t.Helper()
	reserve := d.ps.Reserve
	if n := len(ch.items); n > 0 && ch.moved == n {
		reserve = d.ps.ReserveMove
	}
	first, err := reserve(len(ch.items), sizeOf(ch.items))
	if err != nil {
		d.t.Fatalf("reserve %d items, %d bytes: %v", len(ch.items), sizeOf(ch.items), err)
	}
	if len(ch.items) > 0 && first < d.next {
		d.t.Fatalf("reserve answered %d, which is below %d", first, d.next)
	}
	d.at.Wall += int64(time.Millisecond)
	d.at.Mono += int64(time.Millisecond)
	d.at.Untrusted = !d.at.Untrusted
	c := &queue.Commit{
		At: d.at, Items: cloneItems(ch.items), Added: added(first, ch.items, ch.schedNew),
		Removed: slices.Clone(ch.removed), Origin: ch.origin, Sync: !ch.lazy,
	}
	c.Leases = append(c.Leases, ch.leases...)
	c.Schedules = append(c.Schedules, ch.schedules...)
	for _, i := range ch.leaseNew {
		c.Leases = append(c.Leases, d.leaseOf(first+uint64(i), &ch.items[i], ch.items[i].LeaseDeadline.Sub(d.now())))
	}
	for _, i := range ch.schedNew {
		c.Schedules = append(c.Schedules, d.scheduleOf(first+uint64(i), &ch.items[i], ch.items[i].EnqueueAt, 0))
	}
	if ch.feed != nil {
		c.Feeds = []queue.FeedMark{*ch.feed}
	}
	d.model(&ch, c)
	c.Totals = d.totals

	d.st.Add(c.At, &c.Added)
	for _, l := range c.Leases {
		d.st.SetLease(l)
	}
	for _, s := range c.Schedules {
		d.st.SetScheduled(s)
	}
	for _, seq := range c.Removed {
		d.st.Remove(seq)
	}
	if c.Origin != nil {
		d.st.SetOrigin(*c.Origin)
	}
	for i := range c.Feeds {
		d.st.SetFeed(c.Feeds[i])
	}
	d.st.Totals = c.Totals
	d.st.SetCursor(c.Totals.Cursor)
	if err := d.ps.Commit(c); err != nil {
		d.t.Fatalf("commit of %d items at %d, %d leases, %d removed: %v", len(c.Items), first, len(c.Leases), len(c.Removed), err)
	}
	scribble(c)
	if err := d.ps.Maintain(false); err != nil {
		d.t.Fatalf("maintain: %v", err)
	}
	return first
}

// model applies the commit to the model.
func (d *driver) model(ch *change, c *queue.Commit) {
	before := len(d.held)
	for i := range ch.items {
		seq := c.Added.First + uint64(i)
		it := ch.items[i]
		it.ID, it.Written = queue.NewID(seq, d.key.Tag), d.at
		d.held[seq] = &heldItem{item: it, boot: d.p.boot}
		d.next = seq + 1
		d.totals.Bytes += it.Size()
		d.count(d.held[seq], 1)
	}
	for i := range c.Leases {
		l := c.Leases[i]
		it := d.held[l.Seq]
		d.count(it, -1)
		it.lease, it.sched = &l, nil
		d.totals.Ledger.Leases++
	}
	for i := range c.Schedules {
		s := c.Schedules[i]
		it := d.held[s.Seq]
		d.count(it, -1)
		it.lease, it.sched = nil, &s
	}
	for _, seq := range ch.removed {
		d.gone(seq)
	}
	if ch.cursor > 0 {
		d.pass(ch.cursor)
	}
	if ch.feed != nil {
		d.feeds[ch.feed.Feed] = *ch.feed
	}
	in := uint64(len(ch.items) - ch.moved)
	if ch.origin != nil {
		d.origins[ch.origin.From] = slices.Clone(ch.origin.Seqs)
		d.totals.Ledger.MovedIn += in
	} else {
		d.totals.Ledger.Produced += in
	}
	d.totals.Ledger.Completed += uint64(before + len(ch.items) - len(d.held) - ch.moved)
	d.totals.Ledger.Retries += uint64(ch.moved)
}

// count adds the item to the sums over ready items, if it is one.
func (d *driver) count(it *heldItem, sign int64) {
	if it.isReady() {
		d.totals.Ready += sign
		d.totals.ReadyCreated += sign * (it.item.CreatedAt.UnixNano() / int64(time.Millisecond)) // As the engine does.
	}
}

// pass moves the cursor: what it passes and nothing holds is gone.
func (d *driver) pass(cursor uint64) {
	drop := func(seq uint64) {
		if it := d.held[seq]; it != nil && it.isReady() {
			d.gone(seq)
		}
	}
	if from := d.totals.Cursor; cursor-from < uint64(len(d.held)) {
		for seq := from; seq < cursor; seq++ {
			drop(seq)
		}
	} else {
		for seq := range d.held {
			if seq < cursor {
				drop(seq)
			}
		}
	}
	d.totals.Cursor = cursor
}

func (d *driver) gone(seq uint64) {
	it := d.held[seq]
	d.count(it, -1)
	d.totals.Bytes -= it.item.Size()
	delete(d.held, seq)
}

func (d *driver) now() time.Time { return time.Unix(0, d.at.Wall).UTC() }

func (d *driver) leaseOf(seq uint64, it *queue.Item, timeout time.Duration) queue.Lease {
	return queue.Lease{
		Seq: seq, Deadline: d.at.Mono + int64(timeout), Wall: d.at.Wall + int64(timeout), Attempts: it.Attempts + 1,
		Created: nanos(it.CreatedAt), Expire: nanos(it.ExpireDeadline), Size: uint32(it.Size()), ExpireMono: math.MaxInt64,
	}
}

func (d *driver) scheduleOf(seq uint64, it *queue.Item, due time.Time, dueMono int64) queue.Scheduled {
	return queue.Scheduled{Seq: seq, Due: nanos(due), DueMono: dueMono, Attempts: it.Attempts, Size: uint32(it.Size())}
}

// produce adds items, synced, and returns the first sequence number.
func (d *driver) produce(items ...queue.Item) uint64 {
	d.t.Helper()
	return d.commit(change{items: items})
}

// lease leases the first n ready items and returns their sequence numbers.
func (d *driver) lease(n int, sync bool) []uint64 {
	d.t.Helper()
	items := d.read(d.totals.Cursor, n, math.MaxInt64)
	ch := change{lazy: !sync}
	var seqs []uint64
	for i := range items {
		seq := items[i].Seq()
		seqs = append(seqs, seq)
		ch.leases = append(ch.leases, d.leaseOf(seq, &items[i], time.Minute))
		ch.cursor = seq + 1
	}
	d.commit(ch)
	return seqs
}

// complete removes items, synced.
func (d *driver) complete(seqs ...uint64) {
	d.t.Helper()
	d.commit(change{removed: seqs})
}

// retry gives leased or scheduled items new places at the tail.
func (d *driver) retry(seqs ...uint64) uint64 {
	d.t.Helper()
	items, err := d.ps.Get(seqs)
	if err != nil {
		d.t.Fatalf("get %v: %v", seqs, err)
	}
	return d.commit(change{items: items, removed: seqs, moved: len(seqs)})
}

// checkReadySize asks for the size of the first ready item, when these are the
// first.
func (d *driver) checkReadySize(from uint64, items []queue.Item) {
	d.t.Helper()
	size, err := d.ps.ReadySize(from)
	if err != nil || (size > 0) != (len(items) > 0) {
		d.t.Fatalf("the first ready item from %d on has %d bytes, %v; %d were read", from, size, err, len(items))
	}
	if len(items) > 0 && items[0].Size() > 256<<10 && size < items[0].Size() {
		d.t.Fatalf("item %d has %d bytes, not %d", items[0].Seq(), items[0].Size(), size)
	}
}

// read is Read with its promises checked, but for the items themselves.
func (d *driver) read(from uint64, maxItems int, maxBytes int64) []queue.Item {
	d.t.Helper()
	items, _ := d.readNext(from, maxItems, maxBytes)
	return items
}

func (d *driver) readNext(from uint64, maxItems int, maxBytes int64) ([]queue.Item, uint64) {
	d.t.Helper()
	chunks, next, err := d.ps.Read(from, maxItems, maxBytes)
	if err != nil {
		d.t.Fatalf("read from %d: %v", from, err)
	}
	if slices.ContainsFunc(chunks, func(c []queue.Item) bool { return len(c) == 0 }) {
		d.t.Fatalf("read from %d returned an empty chunk", from)
	}
	items := slices.Concat(chunks...)
	if len(items) > maxItems {
		d.t.Fatalf("read from %d returned %d items, asked for %d", from, len(items), maxItems)
	}
	d.checkReadySize(from, items)
	if n := len(items); n > 1 && sizeOf(items[:n-1]) > maxBytes {
		d.t.Fatalf("read from %d returned %d bytes and one item more, asked for %d", from, sizeOf(items[:n-1]), maxBytes)
	}
	least := from
	for i := range items {
		if seq := items[i].Seq(); seq < least {
			d.t.Fatalf("read from %d returned %d where at least %d was due", from, seq, least)
		}
		least = items[i].Seq() + 1
	}
	if len(items) > 0 && next < least || len(items) == 0 && next < d.st.Next {
		d.t.Fatalf("read from %d returned %d items up to %d, next is %d of %d", from, len(items), least, next, d.st.Next)
	}
	if len(items) > 0 && len(d.kept) < 1000 {
		c := items[0]
		c.Payload = bytes.Clone(c.Payload)
		d.kept = append(d.kept, keptItem{got: items[0], copy: c})
	}
	return items, next
}

// seqs returns the sequence numbers of the model's items that pass, in order.
func (d *driver) seqs(pass func(*heldItem) bool) []uint64 {
	var seqs []uint64
	for seq, it := range d.held {
		if pass(it) {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}
