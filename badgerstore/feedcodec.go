package badgerstore

import (
	"encoding/binary"

	"github.com/kapetan-io/querator-edge/queue"
)

// What records and checkpoints say of feeds, from version 3 of both on. A record
// that moves no mark of a feed is of an earlier version, and so is the checkpoint
// of a partition that never had one.
//
// The marks that a commit moves stand in its record, behind the gaps:
//
//	uvarint  how many, then for each:
//	         string   name of the feed
//	         varint   when it was made, nanoseconds since 1970
//	         uvarint  number up to which it was taken
//	         varint   time of that number, minus when it was made
//	         uvarint  taken, skipped and missed: three
//
// A checkpoint of version 3 has, where one of version 2 has the event book,
//
//	byte     1 if the event book follows, 0 if there is none
//	         the event book, see eventcodec.go
//	         all marks, in the form above
//
// Nothing else is written for an item that came from a feed: mark and item are in
// one commit, so that both are there after a power cut or neither is.
//
// For example, the feed "f", made at 1000, taken up to number 5 of time 1100, 4
// taken and 1 skipped:
//
//	01 01 66 d0 0f      one mark: "f", 1000
//	05 c8 01 04 01 00   5, 100 later, counters
const (
	recordVersion3     = 3
	checkpointVersion3 = 3

	feedMin = 7 // bytes that a mark takes at least
)

// boolByte is a byte that says yes or no.
func boolByte(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 {
		r.fail()
	}
	return b == 1
}

func appendFeeds(dst []byte, feeds []queue.FeedMark) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(feeds)))
	for i := range feeds {
		f := &feeds[i]
		dst = appendString(dst, f.Feed)
		dst = binary.AppendVarint(dst, f.Made)
		dst = binary.AppendUvarint(dst, f.Seq)
		dst = binary.AppendVarint(dst, f.At-f.Made)
		for _, n := range [...]uint64{f.Taken, f.Skipped, f.Missed} {
			dst = binary.AppendUvarint(dst, n)
		}
	}
	return dst
}

func (r *reader) feeds() []queue.FeedMark {
	n := r.count(feedMin)
	if n == 0 {
		return nil
	}
	feeds := make([]queue.FeedMark, n)
	for i := range feeds {
		f := queue.FeedMark{Feed: r.string(), Made: r.varint(), Seq: r.uvarint()}
		f.At = f.Made + r.varint()
		f.Taken, f.Skipped, f.Missed = r.uvarint(), r.uvarint(), r.uvarint()
		feeds[i] = f
	}
	return feeds
}

// formatOf is the version of the store format that the parts of a record ask for.
func formatOf(more byte) uint32 {
	switch {
	case more&moreFeeds != 0:
		return feedFormat
	case more != 0:
		return eventFormat
	}
	return oldestFormat
}

// stateFormat is the one that the checkpoint of a state asks for.
func stateFormat(s *queue.State) uint32 {
	switch {
	case len(s.Feeds) > 0:
		return feedFormat
	case s.Events != nil:
		return eventFormat
	}
	return oldestFormat
}
