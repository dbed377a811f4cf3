package downlink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Downlink takes items from streams into queues. New makes it, Run does the work.
type Downlink struct {
	o     Options
	feeds []*feed
	poke  chan struct{} // has room for one; wakes Run

	mu     sync.Mutex
	reader *hub.Reader // of the present connection; nil without one
}

// New checks the configuration; it starts nothing. The error is ErrConfig.
func New(o Options, configs []Config) (*Downlink, error) {
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
	d := &Downlink{o: o, poke: make(chan struct{}, 1)}
	seen := map[string]bool{}
	for _, c := range configs {
		c, err := c.resolve(o.Device)
		if err != nil {
			return nil, err
		}
		if seen[c.Queue] {
			return nil, fmt.Errorf("%w: queue %q has two downlinks", ErrConfig, c.Queue)
		}
		seen[c.Queue] = true
		d.feeds = append(d.feeds, newFeed(&d.o, c, d.wake))
	}
	return d, nil
}

// Use says which connection there is; nil says that there is none. What is under way on an earlier one ends
// with it.
func (d *Downlink) Use(r *hub.Reader) {
	d.mu.Lock()
	d.reader = r
	d.mu.Unlock()
	d.wake()
}

// Look has all downlinks look at their streams now, whatever they were waiting for.
func (d *Downlink) Look() {
	for _, f := range d.feeds {
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

// Run takes items until ctx ends. It is called once, by one goroutine, which is all that the downlinks use.
func (d *Downlink) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next, busy := time.Now().Add(idleLook), false
		for _, f := range d.feeds {
			did, at := f.step(ctx, d.connection())
			busy = busy || did
			if at.Before(next) {
				next = at
			}
		}
		if busy {
			continue
		}
		timer.Reset(max(time.Until(next), 0))
		select {
		case <-timer.C:
		case <-d.poke:
		case <-ctx.Done():
		}
	}
}

// idleLook is how often everything is looked at when nothing happens; clocks are set, and devices sleep.
const idleLook = time.Minute

// Status returns what the downlinks know of themselves, in the order of the configuration.
func (d *Downlink) Status() []Status {
	list := make([]Status, len(d.feeds))
	for i, f := range d.feeds {
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
