package downlink

import (
	"errors"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// States of a downlink.
const (
	StateOffline = "offline" // There is no connection.
	StateWaiting = "waiting" // Everything that there was is taken.
	StateTaking  = "taking"  // There is more.
	StateFull    = "full"    // The queue has no room; what is left is safe on the server.
	StatePaused  = "paused"  // The queue is paused.
	StateTrouble = "trouble" // Class and Error say what is wrong.
)

// Classes of trouble beside those of package hub.
const (
	ClassNone    = ""
	ClassNoQueue = "no_queue" // The queue is not there.
	ClassQueue   = "queue"    // The queue's partition fails.
)

// Status is what a downlink knows of itself at one moment.
type Status struct {
	Queue, Stream, Subject string
	State                  string
	// Class is the kind of the present trouble, Error its text; LastError is the last trouble, present or not.
	Class, Error, LastError string
	// Doorbell says that a doorbell would be heard.
	Doorbell bool
	// Known says that the mark was read; the following four are 0 before.
	Known bool
	// Seq is the number in the stream up to which everything was taken. Taken, Skipped and Missed are counted over
	// restarts: the messages that became items, that could not become one, and those of the stream that were gone
	// before they could be taken, at most.
	Seq, Taken, Skipped, Missed uint64
	// Waiting is how many messages were waiting on the server at the last look; LastSkipped why one was skipped last.
	Waiting     uint64
	LastSkipped string
}

// Status is safe for use by any goroutine.
func (f *feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *feed) change(fn func(s *Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(&f.status)
}

// enter sets the state, which ends trouble.
func (f *feed) enter(state string) {
	over := false
	f.change(func(s *Status) {
		over = s.Class != ClassNone && state != StateOffline
		s.State = state
		if state != StateOffline {
			s.Class, s.Error = ClassNone, ""
		}
	})
	if over {
		f.o.Report(Report{Kind: ClassNone, Queue: f.cfg.Queue, Text: "downlink: works again"})
	}
}

// trouble notes what is wrong.
func (f *feed) trouble(class, text string, err error) {
	full := text
	if err != nil {
		full += ": " + err.Error()
	}
	f.change(func(s *Status) { s.State, s.Class, s.Error, s.LastError = StateTrouble, class, full, full })
	f.o.Report(Report{Kind: class, Queue: f.cfg.Queue, Text: "downlink: " + text, Err: err})
}

// alarm reports what somebody should look into, and goes on.
func (f *feed) alarm(kind, text string) {
	f.change(func(s *Status) { s.LastError = text })
	f.o.Report(Report{Kind: kind, Queue: f.cfg.Queue, Text: "downlink: " + text, Alarm: true})
}

// remoteText says what a class of the server's errors means.
func remoteText(class hub.Class) string {
	switch class {
	case hub.ClassNoStream:
		return "there is no such stream; create it, see `querator uplink test`"
	case hub.ClassDenied:
		return "the login lacks a right; see `querator uplink test`"
	}
	return "the stream cannot be read"
}

// localClass tells what an error of the queue means.
func localClass(err error) (class, text string) {
	if errors.Is(err, queue.ErrNotFound) {
		return ClassNoQueue, "the queue does not exist; create it, or take its [[downlink]] out of the configuration"
	}
	return ClassQueue, "the queue cannot be used"
}
