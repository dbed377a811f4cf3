package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/downlink"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Uplink delivers the events of a source. New makes it, Run does the work.
type Uplink struct {
	cfg    atomic.Pointer[Config] // what it points to never changes
	src    Source
	events Events
	meter  *meter
	poke   chan struct{} // has room for one; wakes Run
	down   *downlink.Downlink
	epochs *epochs

	downEnded chan struct{} // closed when down has ended

	fileMu sync.Mutex // held while the state file is written

	mu      sync.Mutex
	status  Status
	lost    uint64 // the greatest Status.Lost that was told
	stateAt time.Time
	paused  bool
	stopped error // why it stopped by itself
	flushes int   // callers of Flush
	kick    bool  // connect anew, or look whether the connection lives
	drop    bool  // with kick: connect anew in any case
}

// New checks the configuration; it starts nothing. trusted says whether the wall clock can be believed, nil
// always. The error is ErrConfig.
func New(cfg Config, src Source, trusted func() bool, events Events) (*Uplink, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	kept := recall(cfg.StateFile)
	u := &Uplink{
		src: src, events: events, poke: make(chan struct{}, 1), paused: kept.Paused,
		meter: newMeter(cfg.Budget, trusted, kept.Used, time.Now()), stateAt: time.Now(),
		epochs: recallEpochs(cfg.EpochFile), downEnded: make(chan struct{}),
	}
	cfg.Hub.Count = u.meter.count
	u.cfg.Store(&cfg)
	u.status.State = StateConnecting
	if u.down, err = downlink.New(u.downlinkOptions(&cfg), cfg.Downlinks); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return u, nil
}

// Device is the name that the device has on the server.
func (u *Uplink) Device() string { return u.cfg.Load().Hub.Device }

// Reload replaces the settings, and connects anew. What says which events these are stays as it is: Hub.Device, Stream
// and Prefix, and with them StateFile, EpochFile, Sink and Timing. The error is ErrConfig; then nothing changes. One
// goroutine at a time may call it, before Run or beside it.
func (u *Uplink) Reload(cfg Config) error {
	old := u.cfg.Load()
	cfg.Hub.Device, cfg.Stream, cfg.Prefix = old.Hub.Device, old.Stream, old.Prefix
	cfg.StateFile, cfg.EpochFile, cfg.Sink, cfg.Timing = old.StateFile, old.EpochFile, old.Sink, old.Timing
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	cfg.Hub.Count = u.meter.count
	if err := u.down.Set(u.downlinkOptions(&cfg), cfg.Downlinks); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	u.cfg.Store(&cfg)
	u.meter.set(cfg.Budget, time.Now())
	u.Reconnect()
	return nil
}

// Run delivers until ctx ends, and then returns nil; what is under way has Timing.Drain to be acknowledged. It
// is called once, by one goroutine, which is all that the uplink uses but for those of the connection, one
// that waits for network links, and one of the downlinks.
func (u *Uplink) Run(ctx context.Context) error {
	var watch sync.WaitGroup
	watchCtx, stopWatch := context.WithCancel(ctx)
	watch.Go(func() { watchLinks(watchCtx, u.LinkUp) })
	watch.Go(func() {
		defer close(u.downEnded)
		u.down.Run(watchCtx)
	})
	defer watch.Wait()
	defer stopWatch()

	p := newPump(u)
	for ctx.Err() == nil {
		p.adopt(u.cfg.Load())
		if state, until := u.mustWait(time.Now()); state != "" {
			u.enter(state)
			p.keep(true)
			u.sleep(ctx, time.Until(until), false)
			continue
		}
		u.enter(StateConnecting)
		p.session(ctx)
	}
	u.enter(StateEnded)
	p.keep(true)
	return nil
}

// session makes one connection and uses it until it ends; after trouble it waits before it returns.
func (p *pump) session(ctx context.Context) {
	c, err := hub.Dial(ctx, p.cfg.Hub)
	if err != nil {
		if ctx.Err() == nil {
			class := hub.ClassifyDial(err)
			p.trouble(string(class), trouble(class), err)
			p.u.sleep(ctx, p.redial.next(), true)
		}
		return
	}
	begin := p.now()
	p.connected(c)
	release := p.u.useDownlinks(ctx, c)
	err = p.serve(ctx, c)
	release()
	c.Close()
	if p.now().Sub(begin) >= p.cfg.Timing.Stable {
		p.redial.reset()
	}
	p.keep(false)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errIdentity) && !errors.Is(err, errAgain) {
		p.u.enter(StateConnecting)
		class := hub.Classify(err)
		if class == hub.ClassUnknown {
			class = hub.ClassTransport
		}
		p.trouble(string(class), trouble(class), err)
		p.u.sleep(ctx, p.redial.next(), true)
	}
}

// connected notes a new connection.
func (p *pump) connected(c *hub.Conn) {
	p.u.enter(StateConnected)
	p.u.change(func(s *Status) {
		s.Connects++
		s.URL, s.ServerVersion = c.URL(), c.Version()
		if s.Class == string(hub.ClassTransport) || s.Class == string(hub.ClassAuth) {
			s.Class, s.Error = "", ""
		}
	})
	p.report.send(p.now(), Report{Kind: StateConnected, Good: true, Text: "uplink connected to " + c.URL()})
}

// mustWait returns the state of an uplink that may not connect now, and when to look again; "" if it may.
func (u *Uplink) mustWait(now time.Time) (state string, until time.Time) {
	u.mu.Lock()
	paused, stopped := u.paused, u.stopped
	u.mu.Unlock()
	switch {
	case stopped != nil:
		return StateStopped, now.Add(idleLook)
	case paused:
		return StatePaused, now.Add(idleLook)
	}
	state, until = u.meter.closed(now)
	if most := now.Add(idleLook); until.After(most) {
		until = most // Clocks are set.
	}
	return state, until
}

// mustDisconnect reports whether a connection is to be ended.
func (u *Uplink) mustDisconnect(now time.Time) bool {
	state, _ := u.mustWait(now)
	return state != ""
}

// stop ends all sending until Resume.
func (u *Uplink) stop(why error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = why
	u.status.Class, u.status.Error, u.status.LastError = AlarmIdentity, why.Error(), why.Error()
}

// sleep waits; a control call ends it. If connecting, a link that comes up ends it too.
func (u *Uplink) sleep(ctx context.Context, d time.Duration, connecting bool) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		case <-u.poke:
			u.mu.Lock()
			kicked := u.kick
			u.kick, u.drop = false, false
			u.mu.Unlock()
			if !connecting || kicked || u.flushing() || u.mustDisconnect(time.Now()) {
				return
			}
		}
	}
}
