package queue

import (
	"math"
	"slices"
)

// State is all that has to be known of a partition without looking at its
// items: which sequence numbers are alive and how. Its size depends on the
// leases that are out, the items that are scheduled and the number of segments,
// not on the backlog: ready items are an interval from Totals.Cursor on, with
// the few exceptions in Removed.
//
// It belongs to the goroutine that owns the partition. Stores write it as the
// checkpoint that a segment begins with, and replay later commits on it with
// Apply; hence the exported fields.
type State struct {
	Tag Tag
	// Boot names the boot that the boot times in the state belong to.
	Boot string
	// Next is the least sequence number that has not been given out.
	Next   uint64
	Totals Totals

	Leases    map[uint64]*Lease
	Scheduled map[uint64]*Scheduled
	// Removed holds, for each span from the cursor's on, the indexes of items
	// that are gone although the cursor has not passed them.
	Removed map[uint64]*Bitset
	// Spans describes the spans that hold ready items, ascending.
	Spans []SpanInfo
	// Origins remembers the last move from each partition that sent items here,
	// oldest first; at most maxOrigins of them.
	Origins []Origin
	// Events is nil until the partition has an event.
	Events *EventBook
	// Feeds are the marks of feeds, that which was moved last at the end; at most
	// maxFeeds of them.
	Feeds []FeedMark

	pins map[uint64]int // leased and scheduled items, by span
}

// SpanInfo describes the items of one span.
type SpanInfo struct {
	Span  uint64
	Count uint32 // indexes given out: the span has items 0 to Count-1
	// MinExpire is a lower bound of the expire deadlines of its ready items, by
	// the wall clock; MinMono the same in boot time, for those whose age is known
	// in boot time.
	MinExpire int64
	MinMono   int64
	// MaxMono is the greatest expire deadline so far, in boot time.
	MaxMono int64
	// Ordered says that expire deadlines never fall with the sequence number,
	// so that looking for expired items can end at the first that is not.
	Ordered bool
	// OldBoot says that the span was written in an earlier boot: only the wall
	// clock can tell how old its items are, but for those with Written.Untrusted.
	// MinMono is of the latter then, once a scan has found some.
	OldBoot bool

	scanAt int64 // the engine's: boot time before which it is not scanned again
}

// maxOrigins bounds State.Origins. It is far above the number of queues that
// share a dead queue; beyond it the oldest is forgotten, which matters only if
// its source has not been opened since a crash in the middle of a move.
const maxOrigins = 1024

// NewState returns the state of a new partition.
func NewState(tag Tag, boot string) *State {
	return &State{
		Tag:       tag,
		Boot:      boot,
		Leases:    make(map[uint64]*Lease),
		Scheduled: make(map[uint64]*Scheduled),
		Removed:   make(map[uint64]*Bitset),
		pins:      make(map[uint64]int),
	}
}

// Restore rebuilds what is not stored, after a store has filled the exported
// fields from a checkpoint.
func (s *State) Restore() {
	s.pins = make(map[uint64]int)
	for seq := range s.Leases {
		s.pins[Span(seq)]++
	}
	for seq := range s.Scheduled {
		s.pins[Span(seq)]++
	}
	if s.Events != nil {
		s.Events.restore()
	}
}

// Apply replays a commit that was read back from flash.
func (s *State) Apply(c *Commit) {
	s.Add(c.At, &c.Added)
	for i := range c.Leases {
		s.SetLease(c.Leases[i])
	}
	for i := range c.Schedules {
		s.SetScheduled(c.Schedules[i])
	}
	for _, seq := range c.Removed {
		s.Remove(seq)
	}
	if c.Origin != nil {
		s.SetOrigin(*c.Origin)
	}
	s.applyEvents(c)
	for i := range c.Feeds {
		s.SetFeed(c.Feeds[i])
	}
	s.Totals = c.Totals
	s.SetCursor(c.Totals.Cursor)
}

// Add takes note of items that were added at the tail. The totals are the
// caller's business.
func (s *State) Add(at Instant, a *Added) {
	if a.Count == 0 {
		return
	}
	s.Next = a.First + uint64(a.Count)
	no := Span(a.First)
	if n := len(s.Spans); n == 0 || s.Spans[n-1].Span != no {
		s.Spans = append(s.Spans, SpanInfo{
			Span: no, MinExpire: math.MaxInt64, MinMono: math.MaxInt64, MaxMono: math.MinInt64, Ordered: true,
		})
	}
	sp := &s.Spans[len(s.Spans)-1]
	sp.Count = uint32(s.Next & (MaxSpanItems - 1))
	if a.MinExpire > a.MaxExpire {
		return // None of them can expire.
	}
	lo, hi := toMono(a.MinExpire, at), toMono(a.MaxExpire, at)
	if !a.Ordered || lo < sp.MaxMono {
		sp.Ordered = false
	}
	sp.MinExpire = min(sp.MinExpire, a.MinExpire)
	sp.MinMono = min(sp.MinMono, lo)
	sp.MaxMono = max(sp.MaxMono, hi)
}

// expiresBy makes sure that the bounds of the span of a ready item cover its
// expire deadline.
func (s *State) expiresBy(seq uint64, wall, mono int64) {
	for i := range s.Spans {
		if sp := &s.Spans[i]; sp.Span == Span(seq) {
			sp.MinExpire, sp.MinMono = min(sp.MinExpire, wall), min(sp.MinMono, mono)
		}
	}
}

// toMono turns a wall time into boot time, by what both clocks showed at the
// instant at, without overflow.
func toMono(wall int64, at Instant) int64 {
	return addSat(at.Mono, subSat(wall, at.Wall))
}

func addSat(a, b int64) int64 {
	c := a + b
	switch {
	case a > 0 && b > 0 && c < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && c >= 0:
		return math.MinInt64
	}
	return c
}

func subSat(a, b int64) int64 {
	if b == math.MinInt64 {
		return math.MaxInt64
	}
	return addSat(a, -b)
}

// SetLease makes the item leased, or replaces its lease.
func (s *State) SetLease(l Lease) {
	if old, ok := s.Leases[l.Seq]; ok {
		l.Created, l.Expire, l.ExpireMono, l.Size = old.Created, old.Expire, old.ExpireMono, old.Size
		*old = l
		return
	}
	if _, ok := s.Scheduled[l.Seq]; ok {
		delete(s.Scheduled, l.Seq)
		s.unpin(l.Seq)
	}
	s.Leases[l.Seq] = &l
	s.pins[Span(l.Seq)]++
}

// SetScheduled makes the item scheduled.
func (s *State) SetScheduled(d Scheduled) {
	s.drop(d.Seq)
	s.Scheduled[d.Seq] = &d
	s.pins[Span(d.Seq)]++
}

// Remove makes the item gone, whatever it was.
func (s *State) Remove(seq uint64) {
	s.drop(seq)
	if seq < s.Totals.Cursor {
		return
	}
	b := s.Removed[Span(seq)]
	if b == nil {
		b = &Bitset{}
		s.Removed[Span(seq)] = b
	}
	b.Set(uint32(seq & (MaxSpanItems - 1)))
}

// SetCursor moves the cursor and forgets what it passes.
func (s *State) SetCursor(cursor uint64) {
	s.Totals.Cursor = cursor
	no := Span(cursor)
	for len(s.Spans) > 0 && (s.Spans[0].Span < no || s.Spans[0].last() < cursor) {
		delete(s.Removed, s.Spans[0].Span)
		s.Spans = s.Spans[1:]
	}
	if len(s.Spans) == 0 {
		s.Spans = nil
		clear(s.Removed)
	}
}

// last returns the greatest sequence number of the span.
func (i *SpanInfo) last() uint64 { return i.Span<<SpanBits + uint64(i.Count) - 1 }

// SetOrigin remembers o as the last move from its source.
func (s *State) SetOrigin(o Origin) {
	s.Origins = slices.DeleteFunc(s.Origins, func(p Origin) bool { return p.From == o.From })
	if len(s.Origins) >= maxOrigins {
		s.Origins = slices.Delete(s.Origins, 0, 1)
	}
	s.Origins = append(s.Origins, o)
}

// LastFrom returns what the last move from the source with that tag brought.
func (s *State) LastFrom(from Tag) []uint64 {
	for i := range s.Origins {
		if s.Origins[i].From == from {
			return s.Origins[i].Seqs
		}
	}
	return nil
}

// IsReady reports whether the item can be leased.
func (s *State) IsReady(seq uint64) bool {
	if seq < s.Totals.Cursor || seq >= s.Next {
		return false
	}
	i, ok := slices.BinarySearchFunc(s.Spans, Span(seq), func(sp SpanInfo, no uint64) int {
		switch {
		case sp.Span < no:
			return -1
		case sp.Span > no:
			return 1
		}
		return 0
	})
	if !ok || seq > s.Spans[i].last() {
		return false
	}
	if b := s.Removed[Span(seq)]; b != nil && b.Has(uint32(seq&(MaxSpanItems-1))) {
		return false
	}
	// Imported leases and scheduled items lie above the cursor.
	if _, ok := s.Leases[seq]; ok {
		return false
	}
	_, ok = s.Scheduled[seq]
	return !ok
}

// IsAlive reports whether the item is held: ready, leased or scheduled.
func (s *State) IsAlive(seq uint64) bool {
	if _, ok := s.Leases[seq]; ok {
		return true
	}
	if _, ok := s.Scheduled[seq]; ok {
		return true
	}
	return s.IsReady(seq)
}

// Pinned returns how many leased and scheduled items the span holds.
func (s *State) Pinned(span uint64) int { return s.pins[span] }

// IsDone reports whether nothing of the span is alive or can come: the cursor
// has passed it and no lease or scheduled item is in it.
func (s *State) IsDone(span uint64) bool {
	if s.pins[span] > 0 {
		return false
	}
	if len(s.Spans) > 0 {
		return span < s.Spans[0].Span
	}
	return true
}

// Held returns the number of items that the partition holds.
func (s *State) Held() int64 {
	return s.Totals.Ready + int64(len(s.Leases)) + int64(len(s.Scheduled))
}

// EnterBoot tells the state which boot it is now. After a reboot every lease is
// over, since its holder was a process of the boot that ended, and boot times
// of before mean nothing.
func (s *State) EnterBoot(boot string) {
	if s.Boot == boot {
		return
	}
	s.Boot = boot
	if s.Events != nil {
		s.Events.enterBoot()
	}
	for _, l := range s.Leases {
		if !l.IsOver() {
			l.Deadline = LeaseLapsed
		}
	}
	for _, d := range s.Scheduled {
		d.DueMono = 0
	}
	for i := range s.Spans {
		sp := &s.Spans[i]
		if sp.OldBoot && sp.MinMono != math.MaxInt64 {
			sp.MinMono = 0 // It has items that go by boot time: it must be scanned.
		} else {
			sp.MinMono = math.MaxInt64
		}
		sp.OldBoot, sp.scanAt = true, 0
	}
}

func (s *State) drop(seq uint64) {
	if _, ok := s.Leases[seq]; ok {
		delete(s.Leases, seq)
		s.unpin(seq)
	}
	if _, ok := s.Scheduled[seq]; ok {
		delete(s.Scheduled, seq)
		s.unpin(seq)
	}
}

func (s *State) unpin(seq uint64) {
	no := Span(seq)
	if s.pins[no]--; s.pins[no] == 0 {
		delete(s.pins, no)
	}
}

// Bitset is a set of small numbers.
type Bitset struct{ Words []uint64 }

// Set adds i.
func (b *Bitset) Set(i uint32) {
	w := int(i / 64)
	if w >= len(b.Words) {
		b.Words = append(b.Words, make([]uint64, w+1-len(b.Words))...)
	}
	b.Words[w] |= 1 << (i % 64)
}

// Has reports whether i is in the set.
func (b *Bitset) Has(i uint32) bool {
	w := int(i / 64)
	return w < len(b.Words) && b.Words[w]&(1<<(i%64)) != 0
}
