package uplink

import (
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/event"
)

// progress is what the pump knows of one partition. It belongs to the goroutine of Run.
type progress struct {
	box   Outbox
	names event.Stream
	key   partKey
	epoch uint64 // of the outbox: another one is that of a partition that was opened anew, perhaps of another queue

	head  uint64 // the last event that was seen
	ready bool   // read back on this connection, and nothing went wrong since
	tail  uint64 // the last event that the server has
	fence uint64 // the sequence in the stream of the last message on the subject, as far as is known; 0 for none

	// resent is the event up to which the server had acknowledged before it lost events; while tail is below,
	// they are sent again. told is set once an alarm has been raised for it.
	resent uint64
	told   bool
	// missing is a range that the server lost and the device has no more: a gap event says so.
	missing *queue.Event

	// owed is the identity of an event that the server has, but perhaps no marker for it; empty is none.
	owed string

	// foreign is the place of an event of another installation that was last on the subject; strangers counts
	// how often a new one was seen.
	foreign   uint64
	strangers int

	// sent is when events were last stored, looked when the subject was last read back. verify is when to look
	// whether the server still has what it acknowledged; zero if that is done.
	sent, looked, verify time.Time

	conflicts int       // fences refused since the last progress
	hold      time.Time // nothing is sent before
	since     time.Time // when the events that wait were first seen
	// singly: up to this event they go one at a time, since one of them was refused among others.
	singly uint64
	// poison is the event that the server finds too large, and how little of it is said.
	poison      uint64
	poisonLevel int
	// created is when the stream was made that has the fence, as far as is known.
	created time.Time
}

// partKey names a partition.
type partKey struct {
	queue     string
	partition int
}

// behind reports whether events are being sent a second time.
func (g *progress) behind() bool { return g.tail < g.resent }

// wants reports whether the place of the partition must be known now: because there is something to send, or
// because the server may have lost what can still be sent again.
func (g *progress) wants(st *queue.OutboxState) bool {
	return st.Head > max(st.Delivered, g.tail) || st.Retained <= st.Delivered
}

// renew forgets what is known of the events, since the partition is not the one that it was, but not of others that
// publish on the subject.
func (g *progress) renew(epoch uint64) {
	*g = progress{
		box: g.box, names: g.names, key: g.key, epoch: epoch, foreign: g.foreign, strangers: g.strangers,
		conflicts: g.conflicts, hold: g.hold, created: g.created,
	}
}

// failed forgets what was read back.
func (g *progress) failed() { g.ready = false }

// delivered notes events that the server has.
func (g *progress) delivered(seq uint64) {
	g.tail = seq
	g.conflicts, g.since, g.hold = 0, time.Time{}, time.Time{}
}
