package badgerstore

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// A record is a commit without its items, which are in blocks beside it. It is
// one value, with the beginning and the end that codec.go gives every value:
//
//	byte     0x21: kind record, version 1; or 0x22, or 0x23
//	uvarint  number of the commit in its segment
//	varint   that number minus how many of the segment's commits are known to
//	         be on flash: 0 when all before it are
//	varint   At.Wall, nanoseconds since 1970
//	varint   At.Mono, nanoseconds since boot
//	byte     parts: the bits recordAdded ... recordUnlimited below
//	byte     more parts, from version 2 on: see eventcodec.go
//	added    if recordAdded
//	leases   if recordLeases
//	         uvarint the number of groups, then for each:
//	         varint   deadline minus At.Mono
//	         varint   what Wall lies further from At.Wall than that
//	         varint   attempts
//	         seqs     sequence numbers, see seqs.go
//	schedules  if recordSchedules; see appendScheduled
//	removed  if recordRemoved: seqs
//	origin   if recordOrigin: 12 bytes tag, then seqs
//	events, marks, gaps  from version 2 on; see eventcodec.go
//	feeds    in version 3 only; see feedcodec.go
//	totals   see appendTotals
//	4 bytes  CRC-32C of all of the above
//
// The part added is
//
//	uvarint  sequence number of the first item
//	uvarint  number of items
//	varint   MinExpire minus At.Wall, and
//	varint   MaxExpire minus MinExpire, both unless recordUnlimited
//
// Leases that share deadline, wall time and attempts make a group. Of two leases
// of one item the later stands. Sequence numbers rise within a group and within
// removed.
//
// Typical sizes: a produce of one item takes under 70 bytes, a lease of 100
// consecutive items under 90, a complete of 100 that lie 8 apart under 80. For
// example, a complete of items 1<<24+2 and +3, with the totals left at 0 but for
// the cursor at 1<<24+4 and 2 completed, wall 1000, boot time 50, as commit 5
// when 4 are on flash:
//
//	21 05 02            record, number 5, one more than 4
//	d0 0f 64            wall 1000, boot time 50
//	08                  removed
//	09 82 80 80 08 01   two numbers by their distance: 1<<24 + 2, and 1 more
//	84 80 80 08 00 00   cursor; no ready items, no ages
//	00 08 02            no bytes; counter 3 alone, which is 2
//	13 52 8a de         CRC-32C
const recordVersion = 1

// Parts of a record.
const (
	recordAdded     = 1 << iota
	recordLeases    //
	recordSchedules //
	recordRemoved   //
	recordOrigin    //
	recordSync      // Commit.Sync was set
	recordOrdered   // Added.Ordered
	recordUnlimited // MinExpire and MaxExpire are the values for "none"
)

// leaseGroupMin and scheduledMin are the bytes that a group of leases and a
// scheduled item take at least.
const (
	leaseGroupMin = 4
	scheduledMin  = 5
)

// record is a commit as it stands in a segment.
type record struct {
	N      uint64 // number of the commit in its segment
	Synced uint64 // how many commits of the segment were known to be on flash when it was written
	Commit queue.Commit
}

// appendRecord appends the record of c, without c.Items, to dst and returns it.
// n is the commit's number in its segment, from 0; synced how many of the
// segment's commits are known to be on flash.
func appendRecord(dst []byte, c *queue.Commit, n, synced uint64) []byte {
	start := len(dst)
	allowance := recordSeqRuns
	parts, more := partsOf(c), morePartsOf(c)
	version := byte(recordVersion)
	switch {
	case more&moreFeeds != 0:
		version = recordVersion3
	case more != 0:
		version = recordVersion2
	}
	dst = append(dst, kindRecord|version)
	dst = binary.AppendUvarint(dst, n)
	dst = binary.AppendVarint(dst, int64(n-synced))
	dst = binary.AppendVarint(dst, c.At.Wall)
	dst = binary.AppendVarint(dst, c.At.Mono)
	dst = append(dst, parts)
	if more != 0 {
		dst = append(dst, more)
	}
	if parts&recordAdded != 0 {
		dst = binary.AppendUvarint(dst, c.Added.First)
		dst = binary.AppendUvarint(dst, uint64(c.Added.Count))
		if parts&recordUnlimited == 0 {
			dst = binary.AppendVarint(dst, c.Added.MinExpire-c.At.Wall)
			dst = binary.AppendVarint(dst, c.Added.MaxExpire-c.Added.MinExpire)
		}
	}
	if parts&recordLeases != 0 {
		dst = appendLeases(dst, c.Leases, c.At, &allowance)
	}
	if parts&recordSchedules != 0 {
		dst = appendScheduled(dst, c.Schedules, c.At.Wall)
	}
	if parts&recordRemoved != 0 {
		dst = appendSeqs(dst, sortedSeqs(c.Removed), &allowance)
	}
	if parts&recordOrigin != 0 {
		dst = append(dst, c.Origin.From[:]...)
		dst = appendSeqs(dst, c.Origin.Seqs, &allowance)
	}
	dst = appendMore(dst, c, more, &allowance)
	dst = appendTotals(dst, &c.Totals, c.At.Wall)
	return appendSum(dst, start)
}

func partsOf(c *queue.Commit) byte {
	var parts byte
	set := func(bit byte, on bool) {
		if on {
			parts |= bit
		}
	}
	set(recordAdded, c.Added.Count > 0)
	set(recordLeases, len(c.Leases) > 0)
	set(recordSchedules, len(c.Schedules) > 0)
	set(recordRemoved, len(c.Removed) > 0)
	set(recordOrigin, c.Origin != nil)
	set(recordSync, c.Sync)
	set(recordOrdered, c.Added.Count > 0 && c.Added.Ordered)
	set(recordUnlimited, c.Added.Count > 0 && c.Added.MinExpire == noMinExpire && c.Added.MaxExpire == noMaxExpire)
	return parts
}

// decodeRecord verifies and reads a record. Commit.Items is nil; a part that
// was empty is nil; leases and removed sequence numbers are in no special
// order. The error Is queue.ErrCorrupt or queue.ErrFormat.
func decodeRecord(value []byte) (record, error) {
	body, version, err := openVersions(value, "record", kindRecord|recordVersion3)
	if err != nil {
		return record{}, err
	}
	allowance := recordSeqRuns
	r := &reader{b: body}
	var rec record
	c := &rec.Commit
	rec.N = r.uvarint()
	rec.Synced = rec.N - uint64(r.varint())
	c.At.Wall, c.At.Mono = r.varint(), r.varint()
	parts, more := r.byte(), byte(0)
	if version >= recordVersion2 {
		if more = r.byte(); more == 0 || more&moreFeeds != 0 != (version == recordVersion3) {
			r.fail()
		}
	}
	c.Sync = parts&recordSync != 0
	if parts&recordAdded != 0 {
		c.Added = r.added(parts, c.At.Wall)
	}
	if parts&recordLeases != 0 {
		c.Leases = r.leases(c.At, &allowance)
	}
	if parts&recordSchedules != 0 {
		c.Schedules = r.scheduled(c.At.Wall)
	}
	if parts&recordRemoved != 0 {
		c.Removed = r.seqs(&allowance)
	}
	if parts&recordOrigin != 0 {
		c.Origin = &queue.Origin{From: r.tag(), Seqs: r.seqs(&allowance)}
	}
	r.more(c, more, &allowance)
	c.Totals = r.totals(c.At.Wall)
	if err := r.end("record"); err != nil {
		return record{}, err
	}
	return rec, nil
}

func (r *reader) added(parts byte, wall int64) queue.Added {
	a := queue.Added{First: r.uvarint(), Count: r.uint32(), Ordered: parts&recordOrdered != 0}
	a.MinExpire, a.MaxExpire = noMinExpire, noMaxExpire
	if parts&recordUnlimited == 0 {
		a.MinExpire = wall + r.varint()
		a.MaxExpire = a.MinExpire + r.varint()
	}
	if a.Count == 0 || a.First+uint64(a.Count) < a.First {
		r.fail()
	}
	return a
}

// sameLease reports whether two leases differ in the sequence number at most,
// as far as records know them.
func sameLease(a, b *queue.Lease) bool {
	return a.Deadline == b.Deadline && a.Wall == b.Wall && a.Attempts == b.Attempts
}

func appendLeases(dst []byte, leases []queue.Lease, at queue.Instant, allowance *int) []byte {
	leases = groupedLeases(leases)
	groups := 1
	for i := 1; i < len(leases); i++ {
		if !sameLease(&leases[i], &leases[i-1]) {
			groups++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(groups))
	seqs := make([]uint64, 0, len(leases))
	for i := range leases {
		seqs = append(seqs, leases[i].Seq)
		if i+1 < len(leases) && sameLease(&leases[i], &leases[i+1]) {
			continue
		}
		l := &leases[i]
		dst = binary.AppendVarint(dst, l.Deadline-at.Mono)
		dst = binary.AppendVarint(dst, (l.Wall-at.Wall)-(l.Deadline-at.Mono))
		dst = binary.AppendVarint(dst, int64(l.Attempts))
		dst = appendSeqs(dst, seqs, allowance)
		seqs = seqs[:0]
	}
	return dst
}

// groupedLeases returns the leases with those of a group together, rising in
// each: leases itself when it is that already, otherwise a copy.
func groupedLeases(leases []queue.Lease) []queue.Lease {
	ok := true
	for i := 1; ok && i < len(leases); i++ {
		ok = leases[i].Seq > leases[i-1].Seq && sameLease(&leases[i], &leases[i-1])
	}
	if ok {
		return leases
	}
	leases = slices.Clone(leases)
	// The stable sort leaves the last lease of an item behind the others of it.
	slices.SortStableFunc(leases, func(a, b queue.Lease) int { return cmp.Compare(a.Seq, b.Seq) })
	n := 0
	for i := range leases {
		if i+1 == len(leases) || leases[i+1].Seq != leases[i].Seq {
			leases[n] = leases[i]
			n++
		}
	}
	leases = leases[:n]
	slices.SortStableFunc(leases, func(a, b queue.Lease) int {
		return cmp.Or(cmp.Compare(a.Deadline, b.Deadline), cmp.Compare(a.Wall, b.Wall), cmp.Compare(a.Attempts, b.Attempts))
	})
	return leases
}

func (r *reader) leases(at queue.Instant, allowance *int) []queue.Lease {
	var leases []queue.Lease
	for range r.count(leaseGroupMin) {
		l := queue.Lease{Deadline: at.Mono + r.varint()}
		l.Wall = at.Wall + (l.Deadline - at.Mono) + r.varint()
		l.Attempts = r.int32()
		seqs := r.seqs(allowance)
		if len(seqs) == 0 {
			r.fail()
			return nil
		}
		leases = slices.Grow(leases, len(seqs))
		for _, seq := range seqs {
			l.Seq = seq
			leases = append(leases, l)
		}
	}
	return leases
}

// appendScheduled appends scheduled items, in the order given:
//
//	uvarint  how many; then for each, every difference to the entry before and
//	         for the first to 0, Due to wall:
//	varint   sequence number, difference
//	varint   Due, difference
//	varint   DueMono, difference
//	varint   attempts
//	uvarint  size
func appendScheduled(dst []byte, list []queue.Scheduled, wall int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	prev := queue.Scheduled{Due: wall}
	for _, d := range list {
		dst = binary.AppendVarint(dst, int64(d.Seq-prev.Seq))
		dst = binary.AppendVarint(dst, d.Due-prev.Due)
		dst = binary.AppendVarint(dst, d.DueMono-prev.DueMono)
		dst = binary.AppendVarint(dst, int64(d.Attempts))
		dst = binary.AppendUvarint(dst, uint64(d.Size))
		prev = d
	}
	return dst
}

func (r *reader) scheduled(wall int64) []queue.Scheduled {
	n := r.count(scheduledMin)
	if n == 0 {
		return nil
	}
	list := make([]queue.Scheduled, n)
	prev := queue.Scheduled{Due: wall}
	for i := range list {
		list[i] = queue.Scheduled{
			Seq:      prev.Seq + uint64(r.varint()),
			Due:      prev.Due + r.varint(),
			DueMono:  prev.DueMono + r.varint(),
			Attempts: r.int32(),
			Size:     r.uint32(),
		}
		prev = list[i]
	}
	return list
}
