package uplink

import (
	"context"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Pause disconnects until Resume; events are kept. It holds over restarts if there is a state file. Safe for use
// by any goroutine, as all methods here.
func (u *Uplink) Pause() error {
	u.mu.Lock()
	u.paused = true
	u.mu.Unlock()
	u.wake()
	return u.persist()
}

// Resume ends a pause, and a stop after an identity conflict.
func (u *Uplink) Resume() error {
	u.mu.Lock()
	u.paused = false
	if u.stopped != nil {
		u.stopped = nil
		u.status.Class, u.status.Error = "", ""
	}
	u.mu.Unlock()
	u.wake()
	return u.persist()
}

// Reconnect gives up the present connection, or the wait for the next try: keys and certificates are read again.
func (u *Uplink) Reconnect() {
	u.mu.Lock()
	u.kick, u.drop = true, true
	u.mu.Unlock()
	u.wake()
}

// LinkUp says that a network interface came up: a wait for the next try ends, and a connection is probed.
func (u *Uplink) LinkUp() {
	u.mu.Lock()
	u.kick = true
	u.mu.Unlock()
	u.wake()
}

// Flush sends what there is without lingering or waiting for the next try, has the downlinks look, and returns how many events are left
// when all that there were are delivered, or when ctx ends. It does not overrule a pause or the budget.
func (u *Uplink) Flush(ctx context.Context) (left uint64) {
	u.mu.Lock()
	u.flushes++
	u.kick = true
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.flushes--
		u.mu.Unlock()
	}()
	u.wake()
	u.down.Look()
	heads := u.heads(ctx)
	tick := time.NewTicker(flushLook)
	defer tick.Stop()
	for {
		if left = u.leftOf(ctx, heads); left == 0 {
			return 0
		}
		select {
		case <-ctx.Done():
			return left
		case <-tick.C:
		}
	}
}

// flushLook is how often Flush looks whether it is done.
const flushLook = 50 * time.Millisecond

func (u *Uplink) heads(ctx context.Context) map[partKey]uint64 {
	heads := map[partKey]uint64{}
	for _, box := range u.src.Outboxes() {
		if st, err := box.State(ctx); err == nil {
			heads[partKey{box.Queue(), box.Partition()}] = st.Head
		}
	}
	return heads
}

// leftOf counts the events up to heads that are not delivered.
func (u *Uplink) leftOf(ctx context.Context, heads map[partKey]uint64) uint64 {
	var left uint64
	for _, box := range u.src.Outboxes() {
		// After ctx the last look still counts.
		st, err := box.State(context.WithoutCancel(ctx))
		// A queue that was created again meanwhile has none of them.
		if head := heads[partKey{box.Queue(), box.Partition()}]; err == nil && head > st.Delivered && head <= st.Head {
			left += min(head-st.Delivered, max(st.Pending, 1))
		}
	}
	return left
}

func (u *Uplink) flushing() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.flushes > 0
}

// wake wakes Run.
func (u *Uplink) wake() {
	select {
	case u.poke <- struct{}{}:
	default:
	}
}

// persist writes the state file.
func (u *Uplink) persist() error {
	u.fileMu.Lock()
	defer u.fileMu.Unlock()
	u.mu.Lock()
	r := remembered{Paused: u.paused}
	u.mu.Unlock()
	_, _, r.Used = u.meter.totals()
	return remember(u.cfg.Load().StateFile, r)
}

// keep writes the state file when the budget was used, at most once a minute unless now is set, and epochs that could
// not be written when they were new.
func (p *pump) keep(now bool) {
	if !now && p.now().Sub(p.saved) < saveEvery {
		return
	}
	p.saved = p.now()
	p.saveEpochs()
	if p.cfg.StateFile == "" || !p.u.meter.changed() {
		return
	}
	if err := p.u.persist(); err != nil {
		p.trouble(string(classSource), "the state of the uplink cannot be written", err)
	}
}

// saveEvery is how often the used budget is written.
const saveEvery = time.Minute

// kicked looks after calls of LinkUp and Reconnect. It returns an error if the connection is to be given up.
func (p *pump) kicked(c *hub.Conn) error {
	p.u.mu.Lock()
	kick, drop, flush := p.u.kick, p.u.drop, p.u.flushes > 0
	p.u.kick, p.u.drop = false, false
	p.u.mu.Unlock()
	if !kick {
		return nil
	}
	if flush {
		p.hold = time.Time{}
	}
	if p.now().Sub(p.lastKick) < p.cfg.Timing.Wake && !drop {
		return nil
	}
	p.lastKick = p.now()
	if drop {
		return errAgain
	}
	return c.Probe(min(probeTimeout, p.cfg.Timing.Reply))
}

// probeTimeout is how long a connection may take to show that it lives after a link came up.
const probeTimeout = 5 * time.Second
