package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// errIdentity says that two devices use one name.
var errIdentity = errors.New("another device publishes under this device's name")

// GapServerLost is the reason of a gap of events that the server had acknowledged and lost, and that the device
// does not have any more.
const GapServerLost = "server-lost"

// GapTooLarge is the reason of a gap in place of an event that the server never takes.
const GapTooLarge = "too-large"

// readBack finds out which event of the partition the server has last, and sets the tail and the fence by it.
func (p *pump) readBack(ctx context.Context, c *hub.Conn, g *progress, st *queue.OutboxState) error {
	last, err := c.Last(ctx, p.cfg.Stream, g.names.Subject, p.cfg.Timing.Lookup)
	if err != nil {
		return err
	}
	before := g.tail
	if g.created.IsZero() {
		g.created = p.created
	}
	if !last.Found {
		g.fence = last.Seq
		err = p.absent(ctx, c, g, st)
	} else {
		err = p.settle(ctx, g, st, last)
	}
	if err != nil {
		return err
	}
	g.ready, g.looked = true, p.now()
	if g.sent.IsZero() && st.Retained <= st.Delivered { // Before the device was started; nobody knows how long.
		g.sent = g.looked
		g.verify = g.sent.Add(p.cfg.Timing.Verify)
	}
	if g.tail > before && p.unknown > 0 {
		p.noReceipts(c)
	}
	return nil
}

// noReceipts notes that events arrived whose receipts did not. That may be chance; again and again, it goes on by
// reading back alone.
func (p *pump) noReceipts(c *hub.Conn) {
	p.unknown = 0
	if p.silent++; p.silent >= 3 || c.Deaf() {
		p.trouble(ClassNoReceipts, "receipts do not arrive; events are counted by reading back, which is slow: let the "+
			"device subscribe to _INBOX_"+p.cfg.Hub.Device+".>", nil)
	}
}

// ClassNoReceipts is the trouble of a login that may publish and not hear what became of it.
const ClassNoReceipts = "no_receipts"

// settle compares the last message of the server with the outbox.
func (p *pump) settle(ctx context.Context, g *progress, st *queue.OutboxState, last hub.Last) error {
	g.fence = last.Seq
	known := max(st.Delivered, g.resent)
	epoch, seq, ok := g.names.ParseID(last.MsgID)
	end, ours := endOfEpoch(st, epoch)
	switch {
	case ok && seq == st.Delivered && last.Seq == st.Fence: // Nothing happened since.
		g.tail, g.resent, g.missing = seq, 0, nil
	case ok && ours && seq <= end && seq >= known: // A receipt was lost, at most.
		g.tail, g.resent, g.missing = seq, 0, nil
		return p.save(ctx, g, seq, last.Seq)
	case ok && ours && seq <= end:
		p.regressed(g, st, seq)
	case ok && ours: // The device forgot events that it had published.
		p.alarm(g, AlarmRolledBack, fmt.Sprintf("the server has event %d of an epoch that ends with %d here: "+
			"the device was set back to an earlier state; its later events go on", seq, end), nil)
		g.tail = max(known, end)
	case ok && p.u.epochs.has(g.key, epoch):
		p.former(g, st, known, last)
	case ok && st.Fence > 0 && last.Seq < st.Fence: // It forgot more than the device remembers the epochs of.
		p.regressed(g, st, min(seq, st.Delivered))
	default:
		return p.stranger(g, known, last)
	}
	return nil
}

// endOfEpoch returns the last event of an epoch, and whether the outbox knows it.
func endOfEpoch(st *queue.OutboxState, epoch uint64) (end uint64, known bool) {
	i := slices.IndexFunc(st.Epochs, func(e queue.EpochStart) bool { return e.Epoch == epoch })
	switch {
	case i < 0:
		return st.Head, epoch == st.Epoch && st.Head > 0
	case i == len(st.Epochs)-1:
		return st.Head, true
	}
	return st.Epochs[i+1].First - 1, true
}

// regressed prepares to send again what the server lost: all after has.
func (p *pump) regressed(g *progress, st *queue.OutboxState, has uint64) {
	if g.resent < st.Delivered {
		g.resent, g.told = st.Delivered, false
	}
	g.tail, g.missing = has, nil
	if first := has + 1; st.Retained > first && first <= st.Delivered {
		g.missing = lostEvent(st, first, min(st.Retained-1, st.Delivered))
	}
}

// lostEvent is the gap for events that nobody has any more.
func lostEvent(st *queue.OutboxState, first, last uint64) *queue.Event {
	epoch := st.Epoch
	for _, e := range st.Epochs {
		if e.First <= last {
			epoch = e.Epoch
		}
	}
	return &queue.Event{
		Epoch: epoch, Seq: last, Type: queue.EventGap, At: queue.Instant{Untrusted: true},
		Gap: &queue.Gap{First: first, Last: last, Completed: last - first + 1, Reason: GapServerLost},
	}
}

// absent decides what it means that the server has no message on the subject.
func (p *pump) absent(ctx context.Context, c *hub.Conn, g *progress, st *queue.OutboxState) error {
	has := uint64(0) // the last event that the server had, as far as something says so
	if p.cfg.Marker {
		marker, err := c.Last(ctx, p.cfg.Stream, g.names.MarkerSubject(), p.cfg.Timing.Lookup)
		if err != nil {
			return err
		}
		if epoch, seq, ok := g.names.ParseID(marker.MsgID); ok {
			if end, ours := endOfEpoch(st, epoch); ours {
				has = min(seq, end)
			}
		}
		if has > 0 && has >= st.Delivered {
			g.tail = has
			return p.save(ctx, g, g.tail, st.Fence)
		}
	}
	if st.Delivered == 0 {
		g.tail = 0
		return nil
	}
	info, err := c.Info(ctx, p.cfg.Stream, p.infoTimeout())
	switch {
	case hub.Classify(err) == hub.ClassTransport || ctx.Err() != nil:
		return err
	case err != nil:
		p.unclear(g, st, has)
		return nil
	}
	another := !g.created.IsZero() && !g.created.Equal(info.Created)
	g.created, p.created = info.Created, info.Created
	switch {
	case another, info.State.LastSeq < st.Fence:
		p.regressed(g, st, has)
	case info.State.FirstSeq > st.Fence: // It was kept for its time, and is gone.
		g.tail = st.Delivered
	default:
		return p.between(ctx, c, g, st, has, info)
	}
	return nil
}

// between decides what it means that the event that was last is not there, though older messages than it are, and newer
// ones. That they are may be since the server was set back, and others have published since: their messages have the
// numbers of those that it lost.
func (p *pump) between(
	ctx context.Context, c *hub.Conn, g *progress, st *queue.OutboxState, has uint64, info *hub.StreamInfo,
) error {
	at, err := c.At(ctx, p.cfg.Stream, st.Fence, p.infoTimeout())
	switch {
	case hub.Classify(err) == hub.ClassTransport || ctx.Err() != nil:
		return err
	case err == nil && at.Found && at.Subject == g.names.Subject: // A replica that has to catch up did not see it.
		return p.settle(ctx, g, st, at)
	case err == nil && at.Found:
		p.regressed(g, st, has)
	case info.Config.Retention != "limits": // Somebody has consumed it.
		g.tail = st.Delivered
	default:
		p.unclear(g, st, has)
	}
	return nil
}

// unclear goes on where nobody says whether the server lost the events, or only forgot them for their age. What can be
// sent again is sent one by one: a server that still knows it drops it.
func (p *pump) unclear(g *progress, st *queue.OutboxState, has uint64) {
	if st.Retained > st.Delivered {
		g.tail, g.resent, g.missing = st.Delivered, 0, nil
		return
	}
	p.regressed(g, st, max(has, st.Retained-1))
	g.missing, g.singly = nil, max(g.singly, st.Delivered)
}

// infoTimeout is short: a login that may not ask may get no answer.
func (p *pump) infoTimeout() time.Duration { return min(10*time.Second, p.cfg.Timing.Lookup) }

// stranger deals with a last message that is not of this outbox. Once, it is of an installation before this
// one; if it happens again while both publish, two devices have one name.
func (p *pump) stranger(g *progress, known uint64, last hub.Last) error {
	if g.foreign != last.Seq {
		g.foreign = last.Seq
		g.strangers++
	}
	if g.strangers > 1 {
		return fmt.Errorf("%w: the last event on %s is %q; give each device a name of its own, then resume", errIdentity,
			g.names.Subject, last.MsgID)
	}
	p.alarm(g, AlarmForeign, fmt.Sprintf("the last event on %s is %q, of another installation of this device; "+
		"events go on behind it", g.names.Subject, last.MsgID), nil)
	g.tail = known
	return nil
}

// former deals with a last message that this device has published, and that the outbox knows nothing of: its queue was
// created after that, or comes from a back-up.
func (p *pump) former(g *progress, st *queue.OutboxState, known uint64, last hub.Last) {
	switch {
	case known > 0 && last.Seq < st.Fence:
		p.regressed(g, st, 0) // Nothing is left of what the queue has published.
		return
	case known > 0:
		p.alarm(g, AlarmRolledBack, fmt.Sprintf("the last event on %s is %q, which this device has published and its queue "+
			"does not know: it was set back to an earlier state; its later events go on", g.names.Subject, last.MsgID), nil)
	}
	g.tail = known
}

// save tells the outbox what the server has.
func (p *pump) save(ctx context.Context, g *progress, seq, fence uint64) error {
	if err := g.box.Delivered(ctx, seq, fence); err != nil {
		return &sourceError{err}
	}
	return nil
}

// sourceError is an error of the outbox, which has nothing to do with the server.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }
