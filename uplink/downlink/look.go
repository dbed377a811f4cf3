package downlink

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// open looks at the stream, moves the mark if it has to be moved, and makes the consumer.
func (f *feed) open(ctx context.Context) error {
	f.again()
	t := f.o.Timing.Request
	info, err := f.reader.Info(ctx, f.cfg.Stream, t)
	if err != nil {
		return err
	}
	if err := f.move(ctx, placeOf(f.mark, f.cfg.feed(), f.cfg.Start, info)); err != nil {
		return err
	}
	c := begin(f.cfg.consumer(f.o.Device), &f.mark)
	c.HeadersOnly = f.peek
	tap, waiting, err := f.make(ctx, c)
	if err != nil {
		return err
	}
	f.tap = tap
	// A stream that was made anew before the consumer was is seen now; later, the consumer ends with it.
	after, err := f.reader.Info(ctx, f.cfg.Stream, t)
	if err == nil && !after.Created.Equal(info.Created) {
		err = errAgain
	}
	if err != nil {
		return err // And begin again.
	}
	f.opened, f.number, f.last = time.Now(), 0, 0
	f.sure = f.mark.Seq == 0 || f.mark.At == 0 || info.State.LastSeq == f.mark.Seq && info.LastAt() == f.mark.At
	f.floor, f.floorAt = info.State.LastSeq, info.LastAt()
	f.change(func(s *Status) {
		s.Waiting = waiting
		s.Doorbell = f.cfg.Doorbell != "" && f.reader.Refused(f.cfg.Doorbell) == nil
	})
	return nil
}

// make makes a consumer. One that may have been made all the same is left.
func (f *feed) make(ctx context.Context, c hub.Consumer) (tap *hub.Tap, waiting uint64, err error) {
	c = c.Named()
	tap, waiting, err = f.reader.Open(ctx, c, f.o.Timing.Request)
	if class := hub.Classify(err); class == hub.ClassTransport || class == hub.ClassUnknown {
		f.left.add(c, false)
	}
	return tap, waiting, err
}

// assure makes sure that the stream goes on where the mark is. It does if the consumer begins with the message that was
// taken last. Where that is not there any more, or was for others, its number says nothing: a server that was set back
// may have given it again, to whomever, and lower ones to messages that nobody has taken. Those are later than the mark.
func (f *feed) assure(ctx context.Context, got []hub.Message) error {
	if len(got) == 0 || got[0].Seq > f.mark.Seq {
		c := f.cfg.consumer(f.o.Device)
		c.After, c.HeadersOnly = f.mark.At, true
		tap, _, err := f.make(ctx, c)
		if err != nil {
			return err
		}
		later, _, err := tap.Pull(ctx, 1, 0, f.o.Timing.Quiet)
		tap.Close()
		f.left.add(tap.Consumer(), true)
		switch {
		case err != nil:
			return err
		case len(later) > 0 && later[0].Seq <= f.mark.Seq:
			if err := f.move(ctx, regressed(f.mark, f.floor)); err != nil {
				return err
			}
			return errAgain
		}
	}
	f.sure = true
	return nil
}

// move moves the mark without items.
func (f *feed) move(ctx context.Context, p place) error {
	if p.mark == f.mark {
		return nil
	}
	if err := f.o.Sink.Take(ctx, f.cfg.Queue, f.mark, p.mark, nil); err != nil {
		return &localError{err}
	}
	f.mark = p.mark
	f.noteMark()
	if p.alarm != "" {
		f.alarm(p.alarm, p.text)
	}
	return nil
}

// pull asks for what there is.
func (f *feed) pull(ctx context.Context) error {
	n, bytes, most := PullMessages, f.o.PullBytes, max(f.o.PullBytes, f.o.MaxPayload+headerRoom)
	switch {
	case f.peek:
		n, bytes = 2, 0 // The one that was taken last may come first.
	case f.large:
		n, bytes = 1, most
	}
	got, end, err := f.tap.Pull(ctx, n, bytes, f.o.Timing.Quiet)
	f.large = false
	if !f.sure && (err == nil || len(got) > 0) {
		if err := f.assure(ctx, got); err != nil {
			return err
		}
	}
	wrong := f.receive(ctx, got)
	switch {
	case wrong != nil:
		return wrong
	case err != nil && len(f.held) == 0:
		return err
	case err != nil:
		f.again() // When what has come is taken.
	case f.peek:
		f.peek = false
		f.again()
	case end == hub.PullLarge && bytes == most:
		f.peek = true
		f.again()
	case end == hub.PullLarge:
		f.large = true
	case end == hub.PullEmpty && len(got) == 0:
		return f.empty(ctx)
	case got[len(got)-1].Pending == 0:
		f.rest()
	}
	return nil
}

// The doorbell may be faster than the message: a server rings before its consumers see what there is.
const (
	// echo is how soon to look again, doubled each time, when what it rang for was not there; maxEchoes how often.
	echo      = 50 * time.Millisecond
	maxEchoes = 7
	// blindEcho is how soon to look again after a ring that does not say what for.
	blindEcho = time.Second
)

// rest waits for the next look.
func (f *feed) rest() {
	f.due, f.next = false, time.Now().Add(f.cfg.Poll)
	switch told := f.told.Load(); {
	case f.blind.Swap(false):
		f.next = time.Now().Add(min(blindEcho, f.cfg.Poll))
	case told > max(f.last, f.mark.Seq) && f.echoes < maxEchoes:
		f.next = time.Now().Add(min(echo<<f.echoes, f.cfg.Poll))
		f.echoes++
	default:
		f.echoes = 0
		f.told.CompareAndSwap(told, 0)
	}
	f.change(func(s *Status) { s.Waiting = 0 })
}

// advanceEvery is how often the mark is moved when nothing comes, so that what others have in the stream, and the
// stream forgets, is not taken for a gap.
const advanceEvery = 24 * time.Hour

// empty notes that everything was taken.
func (f *feed) empty(ctx context.Context) error {
	f.rest()
	floor, at := f.floor, f.floorAt
	if floor <= f.mark.Seq || time.Since(f.advanced) < advanceEvery {
		return nil
	}
	f.advanced = time.Now()
	m := f.mark
	m.Seq, m.At = floor, max(m.At, at)
	return f.move(ctx, place{mark: m})
}

// receive checks what a pull has brought, and keeps it. Before anything that does not fit in, everything does.
func (f *feed) receive(ctx context.Context, got []hub.Message) error {
	for i := range got {
		m := &got[i]
		f.number++
		switch {
		case m.Number != f.number || m.Seq <= f.last || m.Seq < f.mark.Seq:
			return fmt.Errorf("%w: message %d of the consumer came in place of %d, number %d in the stream", errAgain, m.Number, f.number, m.Seq)
		case m.Seq == f.mark.Seq && f.mark.At != 0 && m.At > f.mark.At:
			if err := f.move(ctx, regressed(f.mark, f.floor)); err != nil {
				return err
			}
			return errAgain
		}
		f.last = m.Seq
		if m.Seq == f.mark.Seq || byTime(&f.mark) && m.At <= f.mark.At {
			continue // It was taken.
		}
		p := pulled{Message: *m}
		if f.peek {
			size, _ := strconv.Atoi(m.Header.Get("Nats-Msg-Size")) // The server says so.
			p.why = tooLarge(size, f.o.MaxPayload)
		}
		f.held = append(f.held, p)
		if f.peek {
			break
		}
	}
	if n := len(got); n > 0 {
		f.change(func(s *Status) { s.Waiting = got[n-1].Pending })
	}
	return nil
}
