package badgerstore

import "github.com/kapetan-io/querator-edge/queue"

// record is a commit as it stands in a segment.
type record struct {
	N      uint64 // number of the commit in its segment
	Synced uint64 // greatest commit number of the segment known to be on flash, as given to appendRecord
	Commit queue.Commit
}

// appendRecord appends the record of c, without c.Items, to dst and returns it.
// n is the commit's number in its segment, synced the greatest number that is
// known to be on flash (any value may stand for none; it comes back as given).
func appendRecord(dst []byte, c *queue.Commit, n, synced uint64) []byte { return dst }

// decodeRecord verifies and reads a record. Commit.Items is nil; a part that
// was empty is nil; leases and removed sequence numbers are in no special
// order. The error Is queue.ErrCorrupt or queue.ErrFormat.
func decodeRecord(value []byte) (record, error) {
	return record{}, errCorrupt("record", "not written yet")
}
