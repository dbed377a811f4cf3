package downlink

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// feed is one downlink. All but status and the atomic fields belongs to the goroutine of Run.
type feed struct {
	o      *Options
	cfg    Config
	wake   func()
	left   *leftovers
	rung   atomic.Bool   // the doorbell rang, or a look was asked for
	told   atomic.Uint64 // the number of the message that it rang for, if it said so
	blind  atomic.Bool   // it rang and did not say
	urgent atomic.Bool   // a look was asked for: whatever the feed waits for is over

	mark  queue.FeedMark // as it is in the queue
	known bool           // mark was read, and nothing has happened since that may have moved it
	held  []pulled       // in the order of the stream, and not in the queue yet
	limit int            // so many of them at once, since the queue is nearly full

	// Of the present connection:
	reader *hub.Reader
	tap    *hub.Tap // nil: to be opened
	opened time.Time
	number uint64 // of the last message that the consumer delivered
	last   uint64 // the number of that message in the stream
	// floor is the last message of the whole stream, of whatever subject, before the tap was opened: when everything
	// was taken, the mark may be moved there.
	floor   uint64
	floorAt int64
	sure    bool // the number of the mark is known to be that of the message that had it when it was taken
	large   bool // the next message is larger than PullBytes
	peek    bool // it is larger than any that is wanted: the tap shows headers only

	due      bool      // there may be more than was taken
	next     time.Time // when to look anyway
	looked   time.Time // when it looked last
	echoes   int       // looks since the last one that found what the doorbell rang for
	advanced time.Time // when the mark was last moved without items
	hold     time.Time // nothing is done before
	refuse   holder    // between tries after an error of the server
	wait     holder    // between tries while the queue takes nothing

	mu     sync.Mutex
	status Status
}

// newFeed returns one that has done nothing yet.
func newFeed(o *Options, c Config, left *leftovers, wake func()) *feed {
	t := &o.Timing
	return &feed{
		o: o, cfg: c, wake: wake, left: left, limit: PullMessages,
		refuse: holder{least: t.HoldMin, most: t.HoldMax}, wait: holder{least: t.FullMin, most: t.FullMax},
		status: Status{Queue: c.Queue, Stream: c.Stream, Subject: c.Subject, State: StateOffline},
	}
}

// step does one thing. It returns whether it did something, and else when there will be something to do.
func (f *feed) step(ctx context.Context, r *hub.Reader) (did bool, at time.Time) {
	now := time.Now()
	if f.urgent.Swap(false) {
		f.hold = time.Time{}
	}
	if r != f.reader {
		f.connect(r, now)
	}
	if now.Before(f.hold) {
		return false, f.hold
	}
	paused, err := f.readMark(ctx)
	switch {
	case err != nil:
		return false, f.local(err)
	case paused:
		f.enter(StatePaused)
		f.hold = now.Add(f.wait.next())
		return false, f.hold
	case len(f.held) > 0:
		return f.take(ctx)
	case f.reader == nil:
		return false, now.Add(idleLook)
	}
	return f.look(ctx, now)
}

// connect takes over another connection, or that there is none.
func (f *feed) connect(r *hub.Reader, now time.Time) {
	f.drop() // Its consumer is still there, perhaps.
	f.reader = r
	f.refuse.reset()
	if f.hold.After(now) && f.wait.tries == 0 {
		f.hold = time.Time{} // It was the server that made it wait.
	}
	if r == nil {
		f.change(func(s *Status) { s.Doorbell = false })
		f.enter(StateOffline)
		return
	}
	f.due = true
	if f.cfg.Doorbell != "" {
		f.told.Store(0)
		err := r.Ring(f.cfg.Doorbell, f.ring)
		f.change(func(s *Status) { s.Doorbell = err == nil })
	}
}

// ring is called when the doorbell rings.
func (f *feed) ring(stream string, seq uint64) {
	if stream == f.cfg.Stream && seq > 0 {
		f.told.Store(seq)
	} else {
		f.blind.Store(true)
	}
	f.rung.Store(true)
	f.wake()
}

// readMark reads the mark if need be. What was pulled from behind another mark is forgotten.
func (f *feed) readMark(ctx context.Context) (paused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sinkTimeout)
	defer cancel()
	m, paused, err := f.o.Sink.Mark(ctx, f.cfg.Queue, f.cfg.feed())
	if err != nil {
		return false, err
	}
	if !f.known || m != f.mark {
		if m != f.mark {
			f.held = nil
			f.again()
		}
		f.mark, f.known = m, true
		f.noteMark()
	}
	return paused, nil
}

// sinkTimeout bounds the look at a mark.
const sinkTimeout = 30 * time.Second

func (f *feed) noteMark() {
	f.change(func(s *Status) {
		s.Known, s.Seq, s.Taken, s.Skipped, s.Missed = true, f.mark.Seq, f.mark.Taken, f.mark.Skipped, f.mark.Missed
	})
}

// again has the consumer made anew.
func (f *feed) again() {
	f.drop()
	f.due, f.large = true, false
}

// drop lets go of the consumer, which is left.
func (f *feed) drop() {
	if f.tap != nil {
		f.left.add(f.tap.Consumer(), true)
		f.tap.Close()
		f.tap = nil
	}
}

// local waits after an error of the queue.
func (f *feed) local(err error) time.Time {
	f.known = false
	now := time.Now()
	if !errors.Is(err, context.Canceled) {
		class, text := localClass(err)
		f.trouble(class, text, err)
	}
	f.hold = now.Add(f.wait.next())
	return f.hold
}

// look pulls if it is time.
func (f *feed) look(ctx context.Context, now time.Time) (did bool, at time.Time) {
	if f.rung.Load() && !f.due {
		if soon := f.looked.Add(f.o.Gather); now.Before(soon) {
			return false, soon
		}
		f.due = true
	}
	if !f.due && !now.Before(f.next) {
		f.due = true
	}
	if !f.due {
		f.enter(StateWaiting)
		return false, f.next
	}
	if wait := f.o.Wait(); wait > 0 {
		return false, now.Add(wait)
	}
	f.rung.Store(false) // Whoever rings from now on has published after this look began, or while it goes on.
	f.looked = now
	var err error
	if f.tap == nil || now.Sub(f.opened) >= f.o.Timing.Renew {
		err = f.open(ctx)
	} else {
		err = f.pull(ctx)
	}
	switch {
	case err == nil:
		f.refuse.reset()
		return true, at
	case ctx.Err() != nil:
		return false, now.Add(idleLook)
	}
	return f.remote(err)
}

// remote waits after an error of the server.
func (f *feed) remote(err error) (did bool, at time.Time) {
	f.again()
	f.peek = false
	var local *localError
	switch {
	case errors.Is(err, errAgain), errors.Is(err, hub.ErrGone):
		if f.refuse.tries++; f.refuse.tries <= 2 {
			return true, at
		}
		f.refuse.tries--
	case errors.As(err, &local):
		return false, f.local(local.err)
	}
	class := hub.Classify(err)
	if class == hub.ClassTransport { // The uplink says so; with the next connection it goes on.
		f.enter(StateOffline)
		f.hold = time.Now().Add(f.refuse.next())
		return false, f.hold
	}
	f.trouble(string(class), remoteText(class), err)
	f.hold = time.Now().Add(f.refuse.next())
	if class == hub.ClassDenied || class == hub.ClassConfig {
		f.hold = time.Now().Add(f.o.Timing.HoldMax)
	}
	return false, f.hold
}

// errAgain says that what was seen does not fit together, so that everything begins again.
var errAgain = errors.New("the stream changed meanwhile")

// localError is an error of the queue in the middle of a look.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
