package badgerstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

func randomFeeds(r *rand.Rand) []queue.FeedMark {
	var feeds []queue.FeedMark
	for range r.IntN(3) {
		feeds = append(feeds, queue.FeedMark{
			Feed: string(randomBytes(r, r.IntN(100))), Made: someInt64(r), Seq: someUint64(r), At: someInt64(r),
			Taken: someUint64(r), Skipped: someUint64(r), Missed: someUint64(r),
		})
	}
	return feeds
}

// TestFeedsExample: the example of the prose is what is written.
func TestFeedsExample(t *testing.T) {
	feeds := []queue.FeedMark{{Feed: "f", Made: 1000, Seq: 5, At: 1100, Taken: 4, Skipped: 1}}
	want := []byte{0x01, 0x01, 0x66, 0xd0, 0x0f, 0x05, 0xc8, 0x01, 0x04, 0x01, 0x00}
	if got := appendFeeds(nil, feeds); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

// TestFeedFormats: what has no mark of a feed is written as before, so that older
// programs can read it; every flipped bit of what has one is found.
func TestFeedFormats(t *testing.T) {
	feeds := []queue.FeedMark{{Feed: "STREAM subject", Made: 1_790_000_000_000_000_000, Seq: 77, At: 1_790_000_100_000_000_000, Taken: 70, Missed: 7}}
	s := queue.NewState(testTag, "b")
	c := &queue.Commit{}
	for _, want := range []byte{1, 3} {
		record, checkpoint := appendRecord(nil, c, 0, 0), appendCheckpoint(nil, s)
		if record[0]&0x0f != want || checkpoint[0]&0x0f != want {
			t.Errorf("versions are %d and %d, want %d", record[0]&0x0f, checkpoint[0]&0x0f, want)
		}
		if formatOf(morePartsOf(c)) != uint32(want) || stateFormat(s) != uint32(want) {
			t.Errorf("formats are %d and %d, want %d", formatOf(morePartsOf(c)), stateFormat(s), want)
		}
		checkBroken(t, record, func(b []byte) error { _, err := decodeRecord(b); return err })
		checkBroken(t, checkpoint, func(b []byte) error { _, err := decodeCheckpoint(b); return err })
		c.Feeds, s.Feeds = feeds, feeds
	}
	checkGolden(t, "record-feed", appendRecord(nil, c, 0, 0))
	checkGolden(t, "checkpoint-feed", appendCheckpoint(nil, s))
	// A part that says nothing is no way to write that there is none.
	empty := appendRecord(nil, c, 0, 0)
	at := bytes.Index(empty, []byte("\x01\x0eSTREAM"))
	empty = reseal(append(append(bytes.Clone(empty[:at]), 0), empty[at+len(appendFeeds(nil, feeds)):]...), func([]byte) {})
	if _, err := decodeRecord(empty); !isBroken(err) {
		t.Errorf("a record of version 3 without a mark: %v", err)
	}
}
