package downlink

import (
	"fmt"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Kinds of alarms.
const (
	AlarmRecreated = "stream_recreated" // The stream was deleted and made anew.
	AlarmRegressed = "stream_regressed" // The server lost messages that were taken, and gives their numbers again.
	AlarmGap       = "downlink_gap"     // Messages were gone before they were taken.
	AlarmSkipped   = "downlink_skipped" // Messages could not become items.
	AlarmLeft      = "consumer_left"    // A consumer that is not needed any more could not be removed.
)

// place is what a look at a stream says of a mark.
type place struct {
	mark  queue.FeedMark // as it has to be from now on
	alarm string         // kind, empty for none
	text  string
}

// byTime reports whether a mark has no number, since those that the stream gives now mean something else, and
// only the time of the last message that was taken tells what is new.
func byTime(m *queue.FeedMark) bool { return m.Seq == 0 && m.At > 0 }

// placeOf compares a mark with the stream as it is. It changes nothing.
func placeOf(m queue.FeedMark, feed, start string, info *hub.StreamInfo) place {
	s := &info.State
	made, first, last, lastAt := info.Created.UnixNano(), max(s.FirstSeq, 1), s.LastSeq, info.LastAt()
	if s.Messages == 0 {
		first = last + 1
	}
	switch {
	case m.Feed == "" && start == StartNew:
		return place{mark: queue.FeedMark{Feed: feed, Made: made, Seq: last, At: lastAt}}
	case m.Feed == "":
		return place{mark: queue.FeedMark{Feed: feed, Made: made, Seq: first - 1}}
	case m.Made != made:
		m.Made, m.Seq, m.At = made, first-1, 0
		m.Missed += first - 1
		return place{m, AlarmRecreated, fmt.Sprintf("the stream was deleted and made anew; its messages are taken from the first on, number %d", first)}
	case byTime(&m):
		return place{mark: m}
	case last < m.Seq, last == m.Seq && m.At > 0 && lastAt > m.At:
		return regressed(m, last)
	case first > m.Seq+1:
		text := fmt.Sprintf("messages %d to %d are gone from the stream; those of them that were for this device are lost", m.Seq+1, first-1)
		m.Missed += first - 1 - m.Seq
		m.Seq, m.At = first-1, 0 // Nobody knows when that one was stored.
		return place{m, AlarmGap, text}
	}
	return place{mark: m}
}

// regressed gives up the number of a mark; where the time is not known, what the server still has was taken.
func regressed(m queue.FeedMark, last uint64) place {
	text := fmt.Sprintf("the server lost messages up to number %d that were taken here; it is at %d now, and what it has got since is taken", m.Seq, last)
	if m.Seq = 0; m.At == 0 {
		m.Seq = last
	}
	return place{m, AlarmRegressed, text}
}

// begin has a consumer begin at a mark: with the message that was taken last, to see whether it still is the same.
func begin(c hub.Consumer, m *queue.FeedMark) hub.Consumer {
	if byTime(m) {
		c.From, c.After = 0, m.At
		return c
	}
	c.From = max(m.Seq, 1)
	return c
}
