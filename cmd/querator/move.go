package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	// moveBytes is about how many bytes of items are sent at a time: servers take
	// requests of 5 MB by default.
	moveBytes = 3 << 20
	// moveFrame is what an item takes in a request beside payload and labels.
	moveFrame = 64
	// moveWaitMin and moveWaitMax bound the time between tries.
	moveWaitMin = 200 * time.Millisecond
	moveWaitMax = 30 * time.Second
	// emptyWait is how long a lease waits that only asks whether there is anything.
	emptyWait = 50 * time.Millisecond
	// followWait is how long one waits for items that are still to come.
	followWait = 10 * time.Second
	// giveBackTimeout bounds the time to give items back at the end.
	giveBackTimeout = 10 * time.Second
)

// mover moves the items of a queue. It belongs to one goroutine.
type mover struct {
	e              *env
	flags          *moveFlags
	from, to       *client.Client
	queue, toQueue string
	knowsSources   bool // the target does
	journal        *moveJournal
	shown          *progress

	items, scheduled, bytes, resumed, doubtful int64

	// onTheWay: items may have arrived that are not completed.
	onTheWay      bool
	onTheWayItems int
}

// moving is an item on its way.
type moving struct {
	id   string
	item client.ProduceItem
}

// size returns about what an item takes in a request.
func (m *moving) size() int {
	it := &m.item
	return len(it.Payload) + len(it.Encoding) + len(it.Kind) + len(it.Reference) + len(it.SourceID) + moveFrame
}

// run goes on with what was on its way, then moves what is ready, then what is
// scheduled.
func (m *mover) run(ctx context.Context) error {
	if err := m.resume(ctx); err != nil {
		return err
	}
	for {
		items, err := m.lease(ctx)
		switch {
		case errors.Is(err, client.ErrEmpty) && m.flags.follow && ctx.Err() == nil:
			continue
		case errors.Is(err, client.ErrEmpty):
			if empty, err := m.isEmpty(ctx); err != nil || !empty {
				if err != nil {
					return err
				}
				m.shown.show("%d items; others are ready and cannot be leased: is the queue paused?", m.items)
				pause(ctx, moveWaitMin)
				continue
			}
			if m.flags.noScheduled || ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return m.moveScheduled(ctx)
		case isInterrupted(ctx, err) && m.flags.follow:
			return nil
		case err != nil:
			return err
		}
		if err := m.send(ctx, items); err != nil {
			if errors.Is(err, client.ErrLeaseLost) && !m.onTheWay && ctx.Err() == nil {
				continue // The items are back in the queue, such as after a reboot.
			}
			if m.flags.follow && isInterrupted(ctx, err) && !m.onTheWay {
				return nil // That is how it ends.
			}
			return err
		}
	}
}

// isEmpty reports whether nothing is ready. That a lease found nothing may be for
// partitions that are still being opened after a restart.
func (m *mover) isEmpty(ctx context.Context) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	ready := 0
	err := m.repeat(ctx, "this agent", func(call context.Context) error {
		s, err := m.from.Stats(call, m.queue)
		if err != nil {
			return err
		}
		ready = 0
		for _, p := range s.Partitions {
			ready += p.Total - p.Leased + p.Failures
		}
		return nil
	})
	return ready == 0, err
}

// lease leases a batch, all of one partition.
func (m *mover) lease(ctx context.Context) (items []client.Item, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	wait := emptyWait
	if m.flags.follow {
		wait = followWait
	}
	err = m.repeat(ctx, "this agent", func(call context.Context) (err error) {
		// The wait ends with ctx; what was leased in that moment comes back then.
		call, cancel := context.WithCancel(call)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		items, err = m.from.Lease(call, m.queue, client.LeaseOptions{
			BatchSize: m.flags.batch, Wait: wait, LeaseTimeout: m.flags.leaseTimeout,
		})
		return err
	})
	return items, err
}

// send moves the items of one lease. Those that were not sent are given back when
// it fails.
func (m *mover) send(ctx context.Context, items []client.Item) error {
	partition := items[0].Partition
	list := make([]moving, len(items))
	for i := range items {
		it := &items[i]
		list[i] = moving{it.ID, client.ProduceItem{Payload: it.Payload, Encoding: it.Encoding, Kind: it.Kind,
			Reference: it.Reference, SourceID: it.SourceID}}
		if it.SourceID == "" && m.knowsSources {
			list[i].item.SourceID = "move/" + it.ID
		}
	}
	k := m.keep(ctx, partition, list)
	defer k.stop()
	limit := len(list)
	for len(list) > 0 {
		n := min(chunkLen(list), limit)
		err := m.sendChunk(k.ctx, partition, list[:n])
		switch {
		case err == nil:
			m.items += int64(n)
			k.done(n)
			list = list[n:]
			m.shown.show("%d items, %s", m.items, bytesText(m.bytes))
		case errors.Is(err, client.ErrInvalid) && n > 1 && !m.onTheWay:
			limit = n / 2 // The server takes fewer at a time, or one of them not at all.
		case m.onTheWay:
			m.giveBack(ctx, partition, list[n:])
			return err
		default:
			m.giveBack(ctx, partition, list)
			return err
		}
	}
	return nil
}

// chunkLen returns how many of the first items go into one request.
func chunkLen(list []moving) int {
	size := 0
	for i := range list {
		if size += list[i].size(); size > moveBytes && i > 0 {
			return i
		}
	}
	return len(list)
}

// sendChunk sends items and completes them. m.onTheWay says, after an error,
// whether they may have arrived; then they stay leased and in the journal.
func (m *mover) sendChunk(ctx context.Context, partition int, list []moving) error {
	note := noteOf(partition, list)
	if err := m.journal.note(note); err != nil {
		return err
	}
	arrived := false
	err := m.repeat(ctx, "the other server", func(call context.Context) error {
		err := m.to.Produce(call, m.toQueue, produceItems(list)...)
		arrived = arrived || mayHaveArrived(err)
		return err
	})
	lost := errors.Is(err, client.ErrLeaseLost) // By the agent here; no produce says so.
	switch {
	case err == nil:
		return m.settle(ctx, note, list)
	case arrived && lost:
		m.doubtful += int64(len(list))
	case arrived:
		m.onTheWay, m.onTheWayItems = true, len(list)
		return fmt.Errorf("the other server: %w", err)
	}
	if err := m.journal.note(&moveNote{}); err != nil {
		return err
	}
	if lost {
		return err
	}
	if errors.Is(err, client.ErrInvalid) && len(list) == 1 {
		err = fmt.Errorf("item %s is refused: %w", list[0].id, err)
	}
	return fmt.Errorf("the other server: %w", err)
}

func noteOf(partition int, list []moving) *moveNote {
	n := &moveNote{Partition: partition}
	for i := range list {
		n.IDs = append(n.IDs, list[i].id)
		n.SourceIDs = append(n.SourceIDs, list[i].item.SourceID)
	}
	return n
}

func produceItems(list []moving) []client.ProduceItem {
	items := make([]client.ProduceItem, len(list))
	for i := range list {
		items[i] = list[i].item
	}
	return items
}

// settle completes items that the target has.
func (m *mover) settle(ctx context.Context, note *moveNote, list []moving) error {
	note.Arrived = true
	if err := m.journal.note(note); err != nil {
		m.onTheWay, m.onTheWayItems = true, len(note.IDs)
		return err
	}
	for i := range list {
		m.bytes += int64(len(list[i].item.Payload))
	}
	// They are done with: a lost lease or ctrl-c must not keep them.
	lost, err := m.complete(context.WithoutCancel(ctx), note.Partition, note.IDs, false)
	m.doubtful += int64(lost)
	if err != nil {
		m.onTheWay, m.onTheWayItems = true, len(note.IDs)
		return fmt.Errorf("this agent: %w", err)
	}
	return m.journal.note(&moveNote{})
}

// completeTries bounds how long an agent that is gone is waited for to complete
// what has arrived elsewhere; the journal remembers it.
const completeTries = 8

// complete completes items, and returns how many leases had ended. tried says
// that an earlier try may have completed them.
func (m *mover) complete(ctx context.Context, partition int, ids []string, tried bool) (lost int, err error) {
	wait := moveWaitMin
	for try := 1; ; try++ {
		call, cancel := context.WithTimeout(ctx, m.e.timeout)
		err = m.from.Complete(call, m.queue, partition, ids...)
		cancel()
		switch {
		case err == nil:
			return 0, nil
		case errors.Is(err, client.ErrLeaseLost) && len(ids) > 1:
			// One of them keeps the others from being completed.
			a, err := m.complete(ctx, partition, ids[:len(ids)/2], tried)
			if err != nil {
				return a, err
			}
			b, err := m.complete(ctx, partition, ids[len(ids)/2:], tried)
			return a + b, err
		case errors.Is(err, client.ErrLeaseLost) && tried:
			return 0, nil
		case errors.Is(err, client.ErrLeaseLost):
			return 1, nil
		case !isPassing(err) || try == completeTries:
			return 0, err
		}
		tried = tried || mayHaveArrived(err)
		m.trouble("this agent", err)
		pause(ctx, wait)
		wait = min(2*wait, moveWaitMax)
	}
}

// giveBack gives back what was not sent.
func (m *mover) giveBack(ctx context.Context, partition int, list []moving) {
	if len(list) == 0 {
		return
	}
	items := make([]client.RetryItem, len(list))
	for i := range list {
		items[i].ID = list[i].id
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	if err := m.from.Retry(call, m.queue, partition, items...); err != nil && !errors.Is(err, client.ErrLeaseLost) {
		m.e.note("%d item(s) come back when their leases end: %v", len(list), err)
	}
}

// repeat calls fn until it succeeds, fails for good, or ctx ends in between. A
// call that was begun is not ended by ctx.
func (m *mover) repeat(ctx context.Context, where string, fn func(call context.Context) error) error {
	for wait := moveWaitMin; ; wait = min(2*wait, moveWaitMax) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.e.timeout)
		err := fn(call)
		cancel()
		if err == nil || !isPassing(err) {
			return err
		}
		m.trouble(where, err)
		pause(ctx, wait)
	}
}

// trouble shows why nothing goes on.
func (m *mover) trouble(where string, err error) {
	m.shown.show("%d items; waiting for %s: %v", m.items, where, err)
}

// pause waits for about d, or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// isPassing reports whether the same call may succeed later.
func isPassing(err error) bool {
	for _, kind := range []error{client.ErrUnavailable, client.ErrTryAgain, client.ErrShutdown, client.ErrFull,
		client.ErrInternal, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// mayHaveArrived reports whether a call that failed may have been done: when
// it was sent and the answer did not come.
func mayHaveArrived(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	for _, kind := range []error{client.ErrUnavailable, client.ErrTryAgain, client.ErrInternal, client.ErrShutdown, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// keeper extends the leases of a batch until they are done with.
type keeper struct {
	ctx  context.Context //nolint:containedctx // It ends when a lease is lost, which its maker learns so.
	end  context.CancelCauseFunc
	over chan struct{}

	mu  sync.Mutex
	ids []string // guarded by mu
}

// keep begins to extend the leases of items.
func (m *mover) keep(ctx context.Context, partition int, list []moving) *keeper {
	k := &keeper{over: make(chan struct{})}
	k.ctx, k.end = context.WithCancelCause(ctx)
	for i := range list {
		k.ids = append(k.ids, list[i].id)
	}
	go func() {
		defer close(k.over)
		k.run(m, partition)
	}()
	return k
}

// run extends at a third of the lease timeout.
func (k *keeper) run(m *mover, partition int) {
	every := time.NewTicker(m.flags.leaseTimeout / 3)
	defer every.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-every.C:
		}
		k.mu.Lock()
		ids := k.ids
		k.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		call, cancel := context.WithTimeout(k.ctx, m.flags.leaseTimeout/3)
		_, err := m.from.Extend(call, m.queue, partition, m.flags.leaseTimeout, ids...)
		cancel()
		if errors.Is(err, client.ErrLeaseLost) && k.holds(ids) {
			k.end(err)
			return
		}
	}
}

// holds reports whether the items are still those that are held.
func (k *keeper) holds(ids []string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ids) == len(ids)
}

// done says that the first n items are done with.
func (k *keeper) done(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids = k.ids[n:]
}

// stop ends the extending.
func (k *keeper) stop() {
	k.end(nil)
	<-k.over
}
