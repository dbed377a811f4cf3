package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/agent/serve"
	"github.com/kapetan-io/querator-edge/agent/systemd"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
)

// Options are what an agent is made of.
type Options struct {
	// Config is the resolved configuration (config.LoadAgent). Required.
	Config *config.Loaded
	// Version is the build's. Built is when that was: a clock that shows an earlier
	// time is wrong. Zero is what Go's build noted.
	Version string
	Built   time.Time
	// Stdout gets the few lines for a person that starts the agent by hand, nil
	// for none; Stderr gets the log.
	Stdout, Stderr io.Writer
	// Console says that a person reads Stderr, Journal that the journal does.
	Console, Journal bool
	// Socket is a socket that listens already, nil to make that of the
	// configuration. Run closes it.
	Socket *os.File
	// Systemd is told how things are; nil is nobody.
	Systemd *systemd.Notifier
	// Reload reads the configuration again; it is called by Run for each value of
	// Reloads. Reloads may be nil.
	Reload  func() (*config.Loaded, error)
	Reloads <-chan os.Signal
}

// Agent is a running agent. Run makes it.
type Agent struct {
	cfg     *config.Config // as it was at the start
	files   atomic.Pointer[[]string]
	version string
	log     zerolog.Logger
	level   logLevel
	memory  memoryShares
	clock   queue.Clock
	trust   *trust
	stores  *stores
	service *queue.Service
	guard   *access.Guard
	handler *api.Handler
	started time.Time

	collector *collector
	uplink    *uplink.Uplink // nil if none is configured
	conns     atomic.Int64
	summary   summary
	// unreloaded is what the last reload left to mend or to a restart; nil or "" is nothing.
	unreloaded atomic.Pointer[string]

	// Those belong to Run's goroutine; a reload changes them.
	shutdown config.Shutdown
	settings map[string]config.Setting // what is in effect
}

// Run runs an agent until ctx ends, and returns nil when it has ended in order.
// The error Is config.ErrConfig, listen.ErrPath, listen.ErrInUse or a kind of
// package queue when the agent could not start.
func Run(ctx context.Context, o Options) error {
	cfg := o.Config.Config
	a := &Agent{
		cfg: &cfg, version: o.Version, started: time.Now(), shutdown: cfg.Shutdown, settings: settingsOf(o.Config),
	}
	a.files.Store(&o.Config.Files)
	a.memory = sharesOf(int64(cfg.MemoryLimit))
	a.log = newLog(&cfg, o.Stderr, o.Console, o.Journal, &a.level)
	var ln *listen.Listener
	if o.Socket != nil {
		var err error
		if ln, err = a.inherit(&o); err != nil {
			return err
		}
		defer ln.Close() // It may be closed by then.
	}
	if err := a.newGuard(o.Config); err != nil {
		return err
	}
	a.memory.apply()
	stopStarting := starting(o.Systemd, a.log, cfg.DataDir)
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		stopStarting()
		return &queue.Error{Kind: queue.ErrUnavailable, Op: "open", Err: err,
			Msg:  fmt.Sprintf("the data directory %s cannot be made", cfg.DataDir),
			Hint: "give it to the user of the agent, or choose another with --data-dir"}
	}
	seen := newLastSeen(cfg.DataDir)
	a.trust = newTrust(cfg.Clock.Trust, o.Built, seen.at)
	a.clock = queue.SystemClock(a.trust.holds)
	stores, err := openStores(&cfg, a.memory, a.clock, a.storeEvents())
	if err != nil {
		stopStarting()
		return err
	}
	a.stores = stores
	ln, err = a.open(ctx, ln)
	stopStarting()
	if err != nil {
		return errors.Join(err, stores.close())
	}
	held, err := a.serve(ctx, &o, ln, seen)
	err = errors.Join(err, stores.close())
	a.summarise(ctx, &held, err)
	return err
}

// inherit takes the socket over that the service manager made.
func (a *Agent) inherit(o *Options) (*listen.Listener, error) {
	ln, err := listen.Inherit(o.Socket, listen.Options{MaxConns: a.maxConns(), WideConns: a.memory.wide, WideBuffer: wideBuffer})
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"socket.path", "socket.mode", "socket.group"} {
		at := o.Config.Origin(key)
		if at != config.OriginDefault && (key != "socket.path" || a.cfg.Socket.Path != ln.Addr().String()) {
			a.log.Warn().Str("setting", key).Str("from", at).Str("socket", ln.Addr().String()).
				Msg("not used: the socket comes from the service manager; change its socket unit")
		}
	}
	a.cfg.Socket.Path = ln.Addr().String()
	return ln, nil
}

// open makes the engine and the API on open stores, and the socket if there is
// none.
func (a *Agent) open(ctx context.Context, ln *listen.Listener) (*listen.Listener, error) {
	budget := api.NewBudget(int64(a.cfg.Limits.MaxInFlightBytes))
	service, err := queue.Open(ctx, queue.Config{
		Meta: a.stores.meta, Storages: a.stores.named, Clock: a.clock,
		Limits: engineLimits(a.cfg, a.memory), Events: a.engineEvents(), Outbox: outboxOptions(&a.cfg.Uplink),
		Large: budget,
	})
	if err != nil {
		return nil, err
	}
	a.service, a.collector = service, newCollector(service, a.cfg.Metrics.MaxQueues)
	if err := a.createQueues(ctx, a.cfg); err != nil {
		return nil, errors.Join(err, a.stopEngine())
	}
	if a.uplink, err = a.newUplink(); err != nil {
		return nil, errors.Join(err, a.stopEngine())
	}
	a.handler = api.New(api.Options{
		Service: service, Version: a.version,
		MaxProduceBody: int64(a.cfg.Limits.MaxProduceBody), Budget: budget,
		BodyTimeout: a.cfg.Limits.ReadTimeout, IdleTimeout: a.cfg.Limits.IdleTimeout, Status: a.status, Collect: a.collect, Problems: a.problems, Guard: a.guard,
		Uplink:   a.uplinkAPI(),
		LogError: func(path string, err error) { a.log.Error().Str("path", path).Err(err).Msg("request failed") },
	})
	if ln != nil {
		return ln, nil
	}
	ln, err = listen.Open(listen.Options{
		Path: a.cfg.Socket.Path, Mode: a.cfg.Socket.Mode, Group: a.cfg.Socket.Group,
		MaxConns: a.maxConns(), WideConns: a.memory.wide, WideBuffer: wideBuffer,
	})
	if err != nil {
		return nil, errors.Join(err, a.stopEngine())
	}
	return ln, nil
}

// serve serves the API until ctx ends, and ends the engine. It returns what the
// queues held then.
func (a *Agent) serve(ctx context.Context, o *Options, ln *listen.Listener, seen *lastSeen) (left, error) {
	server := a.newServer()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	beside, stopBeside := context.WithCancel(context.Background())
	var side sync.WaitGroup
	side.Go(func() { seen.keep(beside) })
	side.Go(func() { a.watchHolders(beside) })
	side.Go(func() { a.memory.pace(beside) })

	a.log.Info().Str("version", a.version).Str("socket", a.cfg.Socket.Path).Str("data", a.cfg.DataDir).
		Str("memory-limit", a.cfg.MemoryLimit.String()).Msg("ready")
	watch := &supervisor{notify: o.Systemd, log: a.log, probe: newProber(a.cfg, a.service.Probe).probe, status: a.statusText}
	a.told(watch.ready())
	side.Go(func() { watch.run(beside) })
	upCtx, stopUplink := context.WithCancel(context.Background())
	var up sync.WaitGroup
	if a.uplink != nil {
		up.Go(func() { a.runUplink(upCtx) })
	}
	if o.Stdout != nil {
		fmt.Fprint(o.Stdout, banner(a.cfg))
	}
	err := a.untilEnd(ctx, o, served, watch)
	a.log.Info().Msg("shutting down")
	stopBeside()
	a.told(o.Systemd.Stopping("shutting down", 3*a.shutdown.Timeout+drainTimeout))
	a.drain(server)
	stopUplink()
	up.Wait() // Before the engine ends: what the server acknowledges is noted there.
	held := a.held()
	err = errors.Join(err, a.stopEngine(), a.stopServer(server))
	side.Wait()
	return held, err
}

// untilEnd reloads the configuration when asked to, until ctx ends or the socket
// fails.
func (a *Agent) untilEnd(ctx context.Context, o *Options, served <-chan error, watch *supervisor) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return fmt.Errorf("the socket %s cannot be served: %w", a.cfg.Socket.Path, err)
		case <-o.Reloads:
			a.reload(ctx, o, watch)
		}
	}
}

// told logs that the service manager could not be told something.
func (a *Agent) told(err error) {
	if err != nil {
		a.log.Warn().Err(err).Send()
	}
}

// newServer returns the HTTP server. What a client may take of time for a body
// and for an answer is bounded for each by the handler; a lease may wait long
// in between.
func (a *Agent) newServer() *serve.Server {
	return &serve.Server{
		Handler:       a.handler,
		HeaderTimeout: a.cfg.Limits.ReadTimeout,
		IdleTimeout:   a.cfg.Limits.IdleTimeout,
		ErrorLog:      newHTTPLog(a.log),
		CountConn:     func(n int) { a.conns.Add(int64(n)) },
		Greet:         a.handler.Greet,
		Leave:         a.handler.Leave,
		Begin:         a.handler,
	}
}

// drainTimeout is how long the clients that are there may take for a last answer
// before the engine stops. It is more than a commit takes on most cards; leases
// that wait for items wait for all of it.
const drainTimeout = 500 * time.Millisecond

// drain stops accepting, and gives those who are there a moment: what they asked
// is answered as usual and not refused. Who connects from now on waits for the
// next agent, if the socket is the service manager's.
func (a *Agent) drain(server *serve.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Drain(ctx); err != nil {
		a.log.Debug().Err(err).Msg("some clients are refused")
	}
}

// stopEngine answers all that waits and closes the partitions.
func (a *Agent) stopEngine() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.shutdown.Timeout)
	defer cancel()
	if err := a.service.Shutdown(ctx); err != nil {
		return fmt.Errorf("the partitions were not closed in %s: %w", a.shutdown.Timeout, err)
	}
	return nil
}

// stopServer lets replies in progress be written, and closes what is left.
func (a *Agent) stopServer(server *serve.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.shutdown.Timeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		a.log.Warn().Err(err).Msg("connections were cut off")
		return server.Close()
	}
	return nil
}

// createQueues creates the queues of a configuration that are not there, dead
// queues before those that name them.
func (a *Agent) createQueues(ctx context.Context, cfg *config.Config) error {
	for _, withDead := range []bool{false, true} {
		for i := range cfg.Queues {
			c := &cfg.Queues[i]
			if (c.DeadQueue != "") != withDead {
				continue
			}
			err := a.service.Create(ctx, queue.Info{
				Name: c.Name, DeadQueue: c.DeadQueue, Reference: c.Reference, LeaseTimeout: c.LeaseTimeout,
				ExpireTimeout: c.ExpireTimeout, MaxAttempts: c.MaxAttempts, RequestedPartitions: c.RequestedPartitions,
				MaxItems: int64(c.MaxItems), MaxBytes: int64(c.MaxBytes), FullPolicy: queue.FullPolicy(c.FullPolicy),
				ReleaseOnExit: c.ReleaseOnExit,
			})
			if err != nil && !errors.Is(err, queue.ErrDuplicate) {
				return fmt.Errorf("queue %q of the configuration: %w", c.Name, err)
			}
		}
	}
	return nil
}

// engineLimits are the engine's bounds by the configuration.
func engineLimits(cfg *config.Config, mem memoryShares) queue.Limits {
	return queue.Limits{
		MaxProduceBatch: cfg.Limits.MaxProduceBatch, MaxLeaseBatch: cfg.Limits.MaxLeaseBatch,
		MaxCompleteBatch: cfg.Limits.MaxCompleteBatch,
		MaxRequests:      cfg.Limits.MaxWaitingRequests, MaxWaiting: cfg.Limits.MaxWaitingLeases,
		MaxLeased: cfg.Partition.MaxLeased, MaxScheduled: cfg.Partition.MaxScheduled,
		ReadAhead: mem.ahead / 4, ReadAheadTotal: mem.ahead, MaxLeaseBytes: mem.deliver, DeliverBytes: mem.deliver,
		MaxListBytes: mem.deliver, MaxOpen: mem.openOf(cfg.Partition.MaxOpen),
		GroupBytes: mem.group, StateBytes: mem.state, LeaseSync: cfg.Partition.LeaseSync, IdleClose: cfg.Partition.IdleClose,
		CommitDelay: cfg.Durability.CommitDelay,
	}
}
