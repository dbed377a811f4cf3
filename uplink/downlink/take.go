package downlink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// pulled is a message that was pulled.
type pulled struct {
	hub.Message
	why string // why it cannot become an item; empty if it can
}

// take puts what was pulled into the queue, as much at once as it takes.
func (f *feed) take(ctx context.Context) (did bool, at time.Time) {
	f.enterTaking()
	n := min(f.limit, len(f.held))
	to, items := f.render(n)
	err := f.o.Sink.Take(ctx, f.cfg.Queue, f.mark, to, items)
	switch {
	case err == nil:
		f.taken(n, to)
		return true, at
	case errors.Is(err, queue.ErrDuplicate): // An earlier try came through, or somebody else takes: look again.
		f.held, f.known = nil, false
		f.again()
		return true, at
	case !errors.Is(err, queue.ErrFull) && !errors.Is(err, queue.ErrOverloaded) && !errors.Is(err, queue.ErrInvalid):
		return false, f.local(err)
	case n > 1:
		f.limit = n / 2
		return true, at
	case errors.Is(err, queue.ErrInvalid) && len(items) == 1:
		f.held[0].why = err.Error() // It is more than the queue may hold at all.
		return true, at
	}
	f.enter(StateFull)
	f.hold = time.Now().Add(f.wait.next())
	return false, f.hold
}

// enterTaking says so unless the queue is known to be full.
func (f *feed) enterTaking() {
	if f.wait.tries == 0 {
		f.enter(StateTaking)
	}
}

// render makes items of the first n messages, and the mark behind them.
func (f *feed) render(n int) (to queue.FeedMark, items []queue.Item) {
	to, items = f.mark, make([]queue.Item, 0, n)
	for i := range f.held[:n] {
		m := &f.held[i]
		to.Seq, to.At = m.Seq, max(to.At, m.At) // The server's clock may have been set back.
		if m.IsPlaceholder() {
			continue
		}
		it, why := itemOf(&m.Message, f.cfg.Stream, f.mark.Made, f.o.MaxPayload)
		if m.why == "" {
			m.why = why
		}
		if m.why != "" {
			to.Skipped++
			continue
		}
		to.Taken++
		items = append(items, it)
	}
	return to, items
}

// taken notes that the first n messages are in the queue, or skipped.
func (f *feed) taken(n int, to queue.FeedMark) {
	f.wait.reset()
	f.limit = min(2*f.limit, PullMessages)
	last := ""
	for i := range f.held[:n] {
		if m := &f.held[i]; m.why != "" {
			last = fmt.Sprintf("message %d of stream %s is skipped, and stays there: %s", m.Seq, f.cfg.Stream, m.why)
		}
	}
	if f.held = f.held[n:]; len(f.held) == 0 {
		f.held = nil
	}
	f.mark = to
	f.noteMark()
	if last != "" {
		f.change(func(s *Status) { s.LastSkipped = last })
		f.alarm(AlarmSkipped, last)
	}
}
