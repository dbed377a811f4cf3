package badgerstore

import (
	"encoding/binary"
	"math"

	"github.com/kapetan-io/querator-edge/queue"
)

// What Added says of expire deadlines when no item has one.
const (
	noMinExpire = math.MaxInt64
	noMaxExpire = math.MinInt64
)

// ledgerFields is the number of counters in a ledger.
const ledgerFields = 14

// ledgerCounters returns the counters of a ledger in their stored order, which
// never changes: new ones go to the end.
func ledgerCounters(l *queue.Ledger) [ledgerFields]*uint64 {
	return [ledgerFields]*uint64{
		&l.Produced, &l.Imported, &l.MovedIn, &l.Completed, &l.Dead, &l.Expired, &l.Cleared,
		&l.Deleted, &l.Dropped, &l.Quarantined, &l.MovedOut, &l.Leases, &l.Retries, &l.Lapsed,
	}
}

// appendTotals appends the totals:
//
//	uvarint  cursor
//	varint   number of ready items
//	varint   ReadyCreated minus what it were if all of them had been created at
//	         wall: their ages in milliseconds, summed up and negative
//	varint   bytes
//	uvarint  which counters of the ledger are not 0, bit 0 the first
//	uvarint  each of those
func appendTotals(dst []byte, t *queue.Totals, wall int64) []byte {
	dst = binary.AppendUvarint(dst, t.Cursor)
	dst = binary.AppendVarint(dst, t.Ready)
	dst = binary.AppendVarint(dst, t.ReadyCreated-t.Ready*(wall/1e6))
	dst = binary.AppendVarint(dst, t.Bytes)
	counters := ledgerCounters(&t.Ledger)
	mask := uint64(0)
	for i, p := range counters {
		if *p != 0 {
			mask |= 1 << i
		}
	}
	dst = binary.AppendUvarint(dst, mask)
	for _, p := range counters {
		if *p != 0 {
			dst = binary.AppendUvarint(dst, *p)
		}
	}
	return dst
}

func (r *reader) totals(wall int64) queue.Totals {
	t := queue.Totals{Cursor: r.uvarint(), Ready: r.varint()}
	t.ReadyCreated = r.varint() + t.Ready*(wall/1e6)
	t.Bytes = r.varint()
	mask := r.uvarint()
	if mask >= 1<<ledgerFields {
		r.fail()
	}
	for i, p := range ledgerCounters(&t.Ledger) {
		if mask&(1<<i) != 0 {
			*p = r.uvarint()
		}
	}
	return t
}
