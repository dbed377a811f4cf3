package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/agent/serve"
	"github.com/kapetan-io/querator-edge/queue"
)

// Options are what an agent is made of.
type Options struct {
	// Config is the resolved configuration (config.LoadAgent). Required.
	Config *config.Loaded
	// Version is the build's.
	Version string
	// Stdout gets the few lines for a person that starts the agent by hand, nil
	// for none; Stderr gets the log.
	Stdout, Stderr io.Writer
	// Console says that a person reads Stderr.
	Console bool
}

// Agent is a running agent. Run makes it.
type Agent struct {
	cfg     *config.Config
	files   []string
	version string
	log     zerolog.Logger
	clock   queue.Clock
	trust   *trust
	stores  *stores
	service *queue.Service
	handler *api.Handler
	started time.Time

	collector *collector
	conns     atomic.Int64
}

// Run runs an agent until ctx ends, and returns nil when it has ended in order.
// The error Is config.ErrConfig, listen.ErrPath, listen.ErrInUse or a kind of
// package queue when the agent could not start.
func Run(ctx context.Context, o Options) error {
	cfg := &o.Config.Config
	a := &Agent{
		cfg: cfg, files: o.Config.Files, version: o.Version, started: time.Now(),
		log: newLog(cfg, o.Stderr, o.Console),
	}
	limitMemory(int64(cfg.MemoryLimit))
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return &queue.Error{Kind: queue.ErrUnavailable, Op: "open", Err: err,
			Msg:  fmt.Sprintf("the data directory %s cannot be made", cfg.DataDir),
			Hint: "give it to the user of the agent, or choose another with --data-dir"}
	}
	seen := newLastSeen(cfg.DataDir)
	a.trust = newTrust(cfg.Clock.Trust, seen.at)
	a.clock = queue.SystemClock(a.trust.holds)
	stores, err := openStores(cfg, a.clock, a.storeEvents())
	if err != nil {
		return err
	}
	a.stores = stores
	err = a.serve(ctx, o, seen)
	return errors.Join(err, stores.close())
}

// serve runs the engine and the API on open stores.
func (a *Agent) serve(ctx context.Context, o Options, seen *lastSeen) error {
	service, err := queue.Open(ctx, queue.Config{
		Meta: a.stores.meta, Storages: a.stores.named, Clock: a.clock,
		Limits: engineLimits(a.cfg), Events: a.engineEvents(),
	})
	if err != nil {
		return err
	}
	a.service, a.collector = service, newCollector(service, a.cfg.Metrics.MaxQueues)
	if err := a.createQueues(ctx); err != nil {
		return errors.Join(err, a.stopEngine())
	}
	a.handler = api.New(api.Options{
		Service: service, Version: a.version,
		MaxProduceBody: int64(a.cfg.Limits.MaxProduceBody), MaxInFlight: int64(a.cfg.Limits.MaxInFlightBytes),
		BodyTimeout: a.cfg.Limits.ReadTimeout, Status: a.status, Collect: a.collect, Problems: a.problems,
		LogError: func(path string, err error) { a.log.Error().Str("path", path).Err(err).Msg("request failed") },
	})
	ln, err := listen.Open(listen.Options{
		Path: a.cfg.Socket.Path, Mode: a.cfg.Socket.Mode, Group: a.cfg.Socket.Group,
		MaxConns: a.cfg.Limits.MaxConnections,
	})
	if err != nil {
		return errors.Join(err, a.stopEngine())
	}
	server := a.newServer()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	keeper := make(chan struct{})
	keepCtx, stopKeeper := context.WithCancel(context.Background())
	go func() { defer close(keeper); seen.keep(keepCtx) }()

	a.log.Info().Str("version", a.version).Str("socket", a.cfg.Socket.Path).Str("data", a.cfg.DataDir).
		Str("memory-limit", a.cfg.MemoryLimit.String()).Msg("ready")
	if o.Stdout != nil {
		fmt.Fprint(o.Stdout, banner(a.cfg))
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-served:
		err = fmt.Errorf("the socket %s cannot be served: %w", a.cfg.Socket.Path, err)
	}
	a.log.Info().Msg("shutting down")
	err = errors.Join(err, a.stopEngine(), a.stopServer(server))
	stopKeeper()
	<-keeper
	return err
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
	}
}

// stopEngine answers all that waits and closes the partitions.
func (a *Agent) stopEngine() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Shutdown.Timeout)
	defer cancel()
	if err := a.service.Shutdown(ctx); err != nil {
		return fmt.Errorf("the partitions were not closed in %s: %w", a.cfg.Shutdown.Timeout, err)
	}
	return nil
}

// stopServer lets replies in progress be written, and closes what is left.
func (a *Agent) stopServer(server *serve.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Shutdown.Timeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		a.log.Warn().Err(err).Msg("connections were cut off")
		return server.Close()
	}
	return nil
}

// createQueues creates the queues of the configuration that are not there, dead
// queues before those that name them.
func (a *Agent) createQueues(ctx context.Context) error {
	for _, withDead := range []bool{false, true} {
		for i := range a.cfg.Queues {
			c := &a.cfg.Queues[i]
			if (c.DeadQueue != "") != withDead {
				continue
			}
			err := a.service.Create(ctx, queue.Info{
				Name: c.Name, DeadQueue: c.DeadQueue, Reference: c.Reference, LeaseTimeout: c.LeaseTimeout,
				ExpireTimeout: c.ExpireTimeout, MaxAttempts: c.MaxAttempts, RequestedPartitions: c.RequestedPartitions,
				MaxItems: int64(c.MaxItems), MaxBytes: int64(c.MaxBytes), FullPolicy: queue.FullPolicy(c.FullPolicy),
			})
			if err != nil && !errors.Is(err, queue.ErrDuplicate) {
				return fmt.Errorf("queue %q of the configuration: %w", c.Name, err)
			}
		}
	}
	return nil
}

// engineLimits are the engine's bounds by the configuration. Of the memory
// limit, an eighth holds items that are read ahead; the rest is the stores', the
// requests' and the runtime's.
func engineLimits(cfg *config.Config) queue.Limits {
	mem := int64(cfg.MemoryLimit)
	return queue.Limits{
		MaxProduceBatch: cfg.Limits.MaxProduceBatch, MaxLeaseBatch: cfg.Limits.MaxLeaseBatch,
		MaxCompleteBatch: cfg.Limits.MaxCompleteBatch,
		MaxRequests:      cfg.Limits.MaxWaitingRequests, MaxWaiting: cfg.Limits.MaxWaitingLeases,
		MaxLeased: cfg.Partition.MaxLeased, MaxScheduled: cfg.Partition.MaxScheduled,
		ReadAhead: mem / 64, ReadAheadTotal: mem / 8, MaxLeaseBytes: mem / 16, DeliverBytes: mem / 16, MaxListBytes: mem / 8,
		GroupBytes: 1 << 20, LeaseSync: cfg.Partition.LeaseSync, IdleClose: cfg.Partition.IdleClose,
		CommitDelay: cfg.Durability.CommitDelay,
	}
}
