package downlink

// In the package, since what a look makes of a mark is nobody else's business.

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// TestPlaceOf is the table of doc.go.
func TestPlaceOf(t *testing.T) {
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	made := day.UnixNano()
	at := func(s int) int64 { return day.Add(time.Duration(s) * time.Second).UnixNano() }
	stream := func(messages, first, last uint64, lastAt int) *hub.StreamInfo {
		i := &hub.StreamInfo{Created: day}
		i.State.Messages, i.State.FirstSeq, i.State.LastSeq, i.State.LastAt = messages, first, last, day.Add(time.Duration(lastAt)*time.Second)
		return i
	}
	mark := func(seq uint64, at int64, missed uint64) queue.FeedMark {
		return queue.FeedMark{Feed: "f", Made: made, Seq: seq, At: at, Taken: 7, Missed: missed}
	}
	older := mark(50, at(50), 2)
	older.Made--
	fresh := func(seq uint64, at int64) queue.FeedMark {
		return queue.FeedMark{Feed: "f", Made: made, Seq: seq, At: at}
	}
	for _, c := range []struct {
		name, start string
		mark        queue.FeedMark
		info        *hub.StreamInfo
		want        queue.FeedMark
		alarm       string
	}{
		{"first look", StartAll, queue.FeedMark{}, stream(9, 1, 9, 9), fresh(0, 0), ""},
		{"first look at an old stream", StartAll, queue.FeedMark{}, stream(3, 7, 9, 9), fresh(6, 0), ""},
		{"first look at an empty stream", StartAll, queue.FeedMark{}, stream(0, 0, 0, 0), fresh(0, 0), ""},
		{"only new", StartNew, queue.FeedMark{}, stream(9, 1, 9, 9), fresh(9, at(9)), ""},
		{"as it was", StartAll, mark(9, at(9), 0), stream(9, 1, 9, 9), mark(9, at(9), 0), ""},
		{"there is more", StartAll, mark(9, at(9), 0), stream(99, 1, 99, 99), mark(9, at(9), 0), ""},
		{"all taken is gone", StartAll, mark(9, at(9), 0), stream(0, 10, 9, 9), mark(9, at(9), 0), ""},
		{"more is gone", StartAll, mark(9, at(9), 1), stream(80, 20, 99, 99), mark(19, 0, 11), AlarmGap},
		{"everything is gone", StartAll, mark(9, at(9), 0), stream(0, 100, 99, 99), mark(99, 0, 90), AlarmGap},
		{"everything was gone", StartAll, mark(99, 0, 90), stream(0, 100, 99, 99), mark(99, 0, 90), ""},
		{"made anew", StartAll, older, stream(80, 1, 80, 80), mark(0, 0, 2), AlarmRecreated},
		{"made anew, and forgetful", StartNew, older, stream(5, 4, 8, 8), mark(3, 0, 5), AlarmRecreated},
		{"the server lost some", StartAll, mark(9, at(9), 0), stream(8, 1, 8, 8), mark(0, at(9), 0), AlarmRegressed},
		{"the server lost some and has others", StartAll, mark(9, at(9), 0), stream(9, 1, 9, 30), mark(0, at(9), 0), AlarmRegressed},
		{"the server lost some of unknown time", StartAll, mark(9, 0, 0), stream(8, 1, 8, 8), mark(8, 0, 0), AlarmRegressed},
		{"it is known that it lost some", StartAll, mark(0, at(9), 0), stream(8, 1, 8, 8), mark(0, at(9), 0), ""},
	} {
		p := placeOf(c.mark, "f", c.start, c.info)
		if p.mark != c.want || p.alarm != c.alarm {
			t.Errorf("%s:\n got %+v %q\nwant %+v %q", c.name, p.mark, p.alarm, c.want, c.alarm)
		}
	}
}

// TestResolve: names are put in, and what cannot be is refused.
func TestResolve(t *testing.T) {
	good := Config{Queue: "my.queue", Stream: "S", Subject: "d.{device}.{queue}", Doorbell: "b.{device}", Poll: time.Minute, Start: StartAll}
	c, err := good.resolve("dev")
	if err != nil || c.Subject != "d.dev.my%2Equeue" || c.Doorbell != "b.dev" {
		t.Errorf("%+v, %v", c, err)
	}
	if got := c.consumer("dev").Name; got != "dev=my%2Equeue" {
		t.Errorf("the consumer is %q", got)
	}
	for what, change := range map[string]func(c *Config){
		"no queue": func(c *Config) { c.Queue = "" }, "no stream": func(c *Config) { c.Stream = "" },
		"a stream with a dot": func(c *Config) { c.Stream = "a.b" }, "no subject": func(c *Config) { c.Subject = "" },
		"an empty token": func(c *Config) { c.Subject = "a..b" }, "another name": func(c *Config) { c.Subject = "a.{host}" },
		"poll": func(c *Config) { c.Poll = 0 }, "start": func(c *Config) { c.Start = "" }, "doorbell": func(c *Config) { c.Doorbell = "a b" },
	} {
		c := good
		change(&c)
		if _, err := c.resolve("dev"); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
