package downlink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Downlink takes items from streams into queues. New makes it, Run does the work.
type Downlink struct {
	poke chan struct{} // has room for one; wakes Run

	mu     sync.Mutex
	reader *hub.Reader // of the present connection; nil without one
	uses   uint64      // calls of Use, which number the connections
	feeds  []*feed     // changed by Run only
	wanted *wanted     // what Set has asked for; nil once Run does it
	o      *Options    // the latest; belongs to Run

	left leftovers
}

// wanted are downlinks as they are to be.
type wanted struct {
	o       *Options
	configs []Config
}

// New checks the configuration; it starts nothing. The error is ErrConfig.
func New(o Options, configs []Config) (*Downlink, error) {
	d := &Downlink{poke: make(chan struct{}, 1)}
	if err := d.Set(o, configs); err != nil {
		return nil, err
	}
	d.change()
	return d, nil
}

// Set replaces the options and the downlinks: what is under way ends first, a downlink that stays as it is goes on, and
// one that is gone leaves its messages in the stream and its mark in the queue. The device must be the same. The error is
// ErrConfig; then nothing changes. It is safe for use by any goroutine.
func (d *Downlink) Set(o Options, configs []Config) error {
	o.Timing = o.Timing.withDefaults()
	if o.MaxPayload == 0 {
		o.MaxPayload = DefaultMaxPayload
	}
	if o.PullBytes == 0 {
		o.PullBytes = DefaultPullBytes
	}
	if o.Wait == nil {
		o.Wait = func() time.Duration { return 0 }
	}
	if o.Report == nil {
		o.Report = func(Report) {}
	}
	w := &wanted{o: &o}
	seen := map[string]bool{}
	for _, c := range configs {
		c, err := c.resolve(o.Device)
		if err != nil {
			return err
		}
		if seen[c.Queue] {
			return fmt.Errorf("%w: queue %q has two downlinks", ErrConfig, c.Queue)
		}
		seen[c.Queue] = true
		w.configs = append(w.configs, c)
	}
	d.mu.Lock()
	d.wanted = w
	d.mu.Unlock()
	d.wake()
	return nil
}

// change does what Set has asked for. What was pulled for a downlink that is gone, and not taken, is still in the stream.
func (d *Downlink) change() {
	for _, f := range d.exchange() {
		if f.tap != nil {
			f.tap.Close()
		}
	}
}

// exchange replaces the feeds and returns those that are gone.
func (d *Downlink) exchange() (old []*feed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wanted == nil {
		return nil
	}
	w := d.wanted
	old = slices.Clone(d.feeds)
	d.o, d.wanted, d.feeds = w.o, nil, make([]*feed, 0, len(w.configs))
	for _, c := range w.configs {
		i := slices.IndexFunc(old, func(f *feed) bool { return f.cfg == c })
		if i < 0 {
			d.feeds = append(d.feeds, newFeed(w.o, c, &d.left, d.wake))
			continue
		}
		old[i].o = w.o
		d.feeds = append(d.feeds, old[i])
		old = slices.Delete(old, i, i+1)
	}
	for _, f := range old {
		if f.tap != nil {
			d.left.add(f.tap.Consumer(), true) // At once, so that Idle does not miss it.
		}
	}
	return old
}

// Idle reports whether there are no downlinks, so that nothing of a connection is needed. It is safe for use by any
// goroutine.
func (d *Downlink) Idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.feeds) == 0 && d.wanted == nil && d.left.empty()
}

// Use says which connection there is; nil says that there is none. What is under way on an earlier one ends
// with it.
func (d *Downlink) Use(r *hub.Reader) {
	d.mu.Lock()
	d.reader = r
	d.uses++
	d.mu.Unlock()
	d.wake()
}

// Look has all downlinks look at their streams now, whatever they were waiting for.
func (d *Downlink) Look() {
	for _, f := range d.all() {
		f.rung.Store(true)
		f.urgent.Store(true)
	}
	d.wake()
}

func (d *Downlink) wake() {
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

func (d *Downlink) connection() *hub.Reader {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reader
}

// all returns the feeds that there are.
func (d *Downlink) all() []*feed {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.feeds)
}

// Run takes items until ctx ends, and then has Timing.Leave to remove its consumers from the server. It is called once, by
// one goroutine, which is all that the downlinks use.
func (d *Downlink) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		d.change()
		next, busy := time.Now().Add(idleLook), false
		for _, f := range d.feeds {
			did, at := f.step(ctx, d.connection())
			busy = busy || did
			if at.Before(next) {
				next = at
			}
		}
		did, at := d.tidy(ctx)
		if busy || did {
			continue
		}
		if at.Before(next) {
			next = at
		}
		timer.Reset(max(time.Until(next), 0))
		select {
		case <-timer.C:
		case <-d.poke:
		case <-ctx.Done():
		}
	}
	d.leave(context.WithoutCancel(ctx))
}

// idleLook is how often everything is looked at when nothing happens; clocks are set, and devices sleep.
const idleLook = time.Minute

// Status returns what the downlinks know of themselves, in the order of the configuration.
func (d *Downlink) Status() []Status {
	feeds := d.all()
	list := make([]Status, len(feeds))
	for i, f := range feeds {
		list[i] = f.Status()
	}
	return list
}

// holder spaces out tries: each waits twice as long as the one before.
type holder struct {
	least, most time.Duration
	tries       int
}

func (h *holder) next() time.Duration {
	d := h.most
	if h.tries < 32 && h.least<<h.tries < h.most && h.least<<h.tries > 0 {
		d = h.least << h.tries
	}
	h.tries++
	return d
}

func (h *holder) reset() { h.tries = 0 }
