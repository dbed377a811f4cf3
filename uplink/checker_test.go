package uplink_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// stored is one message of the stream.
type stored struct {
	eventID
	device  string
	payload string
	omitted bool
	gap     *gapRange
	header  nats.Header
	data    []byte
}

type gapRange struct {
	First, Last uint64
	Reason      string
}

// readStream reads all events of the stream in its order.
func readStream(t testing.TB, nc *nats.Conn) []stored {
	t.Helper()
	var all []stored
	for _, m := range rawStream(t, nc) {
		all = append(all, parseStored(t, m))
	}
	return all
}

// rawStream reads all messages of the stream but the markers, up to the last that its leader has: the replica that
// is read from may have to catch up first.
func rawStream(t testing.TB, nc *nats.Conn) []*nats.Msg {
	t.Helper()
	js, err := nc.JetStream(nats.MaxWait(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var info *nats.StreamInfo
	eventually(t, "the stream has a leader", func() bool {
		info, err = js.StreamInfo("QUERATOR")
		return err == nil
	})
	if info.State.Msgs == 0 {
		return nil
	}
	end := info.State.LastSeq
	var sub *nats.Subscription
	eventually(t, "the stream can be read", func() bool {
		sub, err = js.SubscribeSync("querator.>", nats.OrderedConsumer(), nats.BindStream("QUERATOR"))
		return err == nil
	})
	defer func() { _ = sub.Unsubscribe() }()
	var all []*nats.Msg
	for {
		m, err := sub.NextMsg(2 * time.Minute)
		if err != nil {
			t.Fatalf("reading the stream: %v after %d messages", err, len(all))
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(m.Subject, ".cursor") {
			all = append(all, m)
		}
		if meta.Sequence.Stream >= end || meta.NumPending == 0 && info.Config.Replicas == 1 {
			return all
		}
	}
}

// parseStored reads an event in binary mode.
func parseStored(t testing.TB, m *nats.Msg) stored {
	t.Helper()
	parts := strings.Split(m.Header.Get(nats.MsgIdHdr), "/")
	if len(parts) != 5 {
		t.Fatalf("identity %q", m.Header.Get(nats.MsgIdHdr))
	}
	s := stored{device: parts[0], header: m.Header, data: m.Data}
	s.queue = parts[1]
	s.partition, _ = strconv.Atoi(parts[2])
	s.epoch, _ = strconv.ParseUint(parts[3], 16, 64)
	s.seq, _ = strconv.ParseUint(parts[4], 10, 64)
	var d struct {
		UTF8 string    `json:"utf8"`
		Gap  *gapRange `json:"gap"`
	}
	if err := json.Unmarshal(m.Data, &d); err != nil {
		t.Fatalf("%s: %v", m.Data, err)
	}
	s.payload, s.gap, s.omitted = d.UTF8, d.Gap, len(m.Header["ce-payloadomitted"]) > 0
	return s
}

// verdict is what the checker found.
type verdict struct {
	lost, dup, inverted, wrong int
	gapped                     int
	messages                   int
	examples                   []string
}

func (v *verdict) note(format string, args ...any) {
	if len(v.examples) < 10 {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// check compares the stream with what was produced: everything is there once, in the order of its partition,
// with its own payload, or in a gap.
func check(tr *truth, all []stored) verdict {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	v := verdict{messages: len(all)}
	seen := map[eventID]int{}
	last := map[partName]uint64{}
	gaps := map[partName][]gapRange{}
	for _, s := range all {
		if s.seq < last[s.partName] {
			v.inverted++
			v.note("%v comes after %d", s.eventID, last[s.partName])
		}
		last[s.partName] = max(last[s.partName], s.seq)
		if s.gap != nil {
			gaps[s.partName] = append(gaps[s.partName], *s.gap)
			continue
		}
		if seen[s.eventID]++; seen[s.eventID] > 1 {
			v.dup++
			v.note("%v is there %d times", s.eventID, seen[s.eventID])
		}
		if want := tr.payload[s.eventID]; s.payload != want && !s.omitted {
			v.wrong++
			v.note("%v has payload %q, not %q", s.eventID, s.payload, want)
		}
	}
	for part, ids := range tr.order {
		for _, id := range ids {
			inGap := false
			for _, g := range gaps[part] {
				inGap = inGap || id.seq >= g.First && id.seq <= g.Last
			}
			switch {
			case inGap && seen[id] > 0:
				v.wrong++
				v.note("%v is there, and in a gap", id)
			case inGap:
				v.gapped++
			case seen[id] == 0:
				v.lost++
				v.note("%v is lost", id)
			}
		}
	}
	return v
}

// mustBeExact fails unless all is there once and in order.
func mustBeExact(t testing.TB, tr *truth, nc *nats.Conn) verdict {
	t.Helper()
	v := check(tr, readStream(t, nc))
	if v.lost+v.dup+v.inverted+v.wrong > 0 {
		t.Errorf("%d lost, %d twice, %d inverted, %d wrong of %d messages:\n%s", v.lost, v.dup, v.inverted, v.wrong,
			v.messages, strings.Join(v.examples, "\n"))
	}
	return v
}
