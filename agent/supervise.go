package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/systemd"
)

const (
	// statusEvery is how often the service manager is told in words how things
	// are, when it has no watchdog to feed.
	statusEvery = 30 * time.Second
	// feedsEach is how often a watchdog is fed in its time.
	feedsEach = 4
	// repeatFailure is how often a failing probe is logged.
	repeatFailure = time.Minute

	// startStep is the time that is asked for while the stores are opened, again
	// and again, for no more than maxStart in all: what hangs for longer is ended.
	startStep = time.Minute
	maxStart  = 15 * time.Minute
)

// supervisor tells the service manager how the agent is. Its goroutine is run.
//
// The watchdog is fed after a probe of the path that every acknowledgement
// takes, and after nothing else: a loop that hangs in a commit, a partition whose
// store has failed for good, and a disk that takes no sync all starve it. Until
// the probe returns it is not fed either, so a card may stall for as long as
// WatchdogSec.
type supervisor struct {
	notify *systemd.Notifier
	log    zerolog.Logger
	// probe reports whether the commit path moves; it waits as long as it takes,
	// or for its context.
	probe  func(ctx context.Context) error
	status func() string

	failedAt time.Time // when a failure was logged last

	mu   sync.Mutex // keeps what is said in order
	said string     // guarded by mu
}

// ready says that the agent is ready, and how things are. Any goroutine may call it.
func (s *supervisor) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = s.status()
	return s.notify.Ready(s.said)
}

// say says how things are if that has changed, which a failure is a part of.
func (s *supervisor) say(failure error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status()
	if failure != nil {
		status = "failing: " + failure.Error()
	}
	if status == s.said {
		return nil
	}
	s.said = status
	return s.notify.Status(status)
}

// run ends with ctx, and when a sync that is under way then returns.
func (s *supervisor) run(ctx context.Context) {
	every := statusEvery
	if w := s.notify.Watchdog(); w > 0 {
		every = max(w/feedsEach, time.Millisecond)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look probes, feeds the watchdog, and says how things are if that has changed.
func (s *supervisor) look(ctx context.Context) {
	var failure error
	if w := s.notify.Watchdog(); w > 0 {
		slow := time.AfterFunc(w/2, func() {
			s.log.Warn().Dur("watchdog", w).Msg("the commit path has not answered for half the time of the watchdog")
		})
		failure = s.probe(ctx)
		slow.Stop()
		if ctx.Err() != nil {
			return
		}
		if failure == nil {
			s.told(s.notify.Alive())
		}
	}
	if failure != nil && (time.Since(s.failedAt) >= repeatFailure || s.failedAt.IsZero()) {
		s.failedAt = time.Now()
		s.log.Error().Err(failure).Msg("the commit path failed its probe; the watchdog is not fed")
	}
	s.told(s.say(failure))
}

// told logs that the service manager could not be told.
func (s *supervisor) told(err error) {
	if err != nil {
		s.log.Debug().Err(err).Send()
	}
}

// starting asks the service manager for time while the stores are opened, until
// stop is called or maxStart is over.
func starting(notify *systemd.Notifier, log zerolog.Logger, dir string) (stop func()) {
	ctx, cancel := context.WithTimeout(context.Background(), maxStart)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(startStep / 4)
		defer tick.Stop()
		for {
			if err := notify.Extend("opening the stores in "+dir, startStep); err != nil {
				log.Debug().Err(err).Send()
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

// statusText says in words how the agent is.
func (a *Agent) statusText() string {
	o := a.service.Overview()
	var b strings.Builder
	fmt.Fprintf(&b, "%s with %s, %d ready", count(int64(o.Queues), "queue"), count(o.Held, "item"), o.Ready)
	if o.Opening > 0 {
		fmt.Fprintf(&b, "; %s being opened", count(int64(o.Opening), "partition"))
	}
	if o.Failed > 0 {
		fmt.Fprintf(&b, "; %s FAILED, see the log", count(int64(o.Failed), "partition"))
	}
	if left := a.unreloaded.Load(); left != nil && *left != "" {
		fmt.Fprintf(&b, "; %s", *left)
	}
	return b.String()
}

// count writes a number of things.
func count(n int64, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
