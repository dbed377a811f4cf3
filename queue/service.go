package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Config says what a Service is made of.
type Config struct {
	// Meta keeps the definitions of queues.
	Meta MetaStore
	// Storages are the places that partitions live in; at least one.
	Storages []NamedStorage
	Clock    Clock // nil is the system's
	Limits   Limits
	Events   Events
	// Outbox has events written of what becomes of items, for Outboxes; nil
	// writes none, and costs nothing.
	Outbox *OutboxOptions
	// Large has room for items that are larger than may be delivered otherwise; nil
	// has room for one of any size.
	Large LargeRoom
}

// NamedStorage is a storage as the configuration names it.
type NamedStorage struct {
	Name    string
	Storage Storage
	// Affinity is the storage's share of new partitions, at least 1: of two
	// with 7 and 3, the first gets 70 %.
	Affinity int
}

// Events are called when something happens that people want to know of. Every
// field may be nil. They are called from the engine's goroutines and must not
// block.
type Events struct {
	// PartitionFailed: the partition's store failed; nothing of it is
	// acknowledged until it was opened again.
	PartitionFailed func(queue string, partition int, err error)
	// Dropped: items went without a dead queue to take them; why is "expired"
	// or "attempts".
	Dropped func(queue string, partition int, n int, why string)
	// MoveStuck: so many items wait for the dead queue dead, which is not there.
	MoveStuck func(queue string, partition int, dead string, items int)
	// Quarantined: stored data is damaged; what it has cost.
	Quarantined func(q Quarantine)
	// EventsLost: events that were not delivered are given up.
	EventsLost func(queue string, partition int, gap Gap)
	// Rebuilt: the definition of the queue was lost. It has the partitions that
	// were found, and defaults for options; why is what happened.
	Rebuilt func(queue string, partitions int, why error)
}

// Service is a set of queues over a store. Its methods are safe for use by any
// goroutine.
type Service struct {
	cfg     Config
	limits  Limits
	clock   Clock
	routes  routes
	ahead   budget
	deliver delivery
	seats   seats
	sheets  sheets
	crowd   budget
	opening chan struct{}
	waiting atomic.Int64 // lease requests that wait, all queues together
	gate    gate
	probe   sync.Mutex // guards probing
	probing *probing   // nil if no probe is under way
	backups sync.Mutex // held while a back-up is under way
	outbox  *OutboxOptions
	changed chan struct{} // see Changed

	// define is held while a definition is changed, over the write to the
	// MetaStore; mu guards the maps alone and is never held over I/O.
	define    sync.Mutex
	restoring *Restore // guarded by define; nil if none is under way
	mu        sync.RWMutex
	queues    map[string]*Queue
	byTag     map[int64]*partition
	closed    bool
}

// Limits returns the bounds that hold.
func (s *Service) Limits() Limits { return s.limits }

// maxOpening is how many partitions are opened at a time.
const maxOpening = 2

// Open loads the definitions and starts all queues. Their partitions are opened
// in the background; requests wait for them. ctx bounds the loading only.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Meta == nil || len(cfg.Storages) == 0 {
		return nil, invalid("a service needs a meta store and at least one storage")
	}
	s := &Service{
		cfg: cfg, limits: cfg.Limits.withDefaults(), clock: cfg.Clock,
		opening: make(chan struct{}, maxOpening), changed: make(chan struct{}, 1),
		queues: make(map[string]*Queue), byTag: make(map[int64]*partition),
	}
	if s.clock == nil {
		s.clock = SystemClock(nil)
	}
	if cfg.Outbox != nil {
		s.outbox = cfg.Outbox.withDefaults()
	}
	s.ahead.limit = s.limits.ReadAheadTotal
	s.deliver.limit, s.deliver.large = s.limits.DeliverBytes, cfg.Large
	s.seats.limit = s.limits.MaxOpen
	s.crowd.limit = s.limits.StateBytes
	s.routes = routes{dead: s.deadPartition, byTag: s.partitionByTag, gate: &s.gate}
	defs, err := cfg.Meta.Load(ctx)
	if err != nil {
		return nil, err
	}
	if defs, err = s.rebuild(ctx, defs); err != nil {
		return nil, err
	}
	for i := range defs {
		if err := s.load(ctx, &defs[i]); err != nil {
			return nil, err
		}
	}
	// Only now, since a partition may want to move items to one loaded later.
	for _, q := range s.queues {
		q.start()
	}
	return s, nil
}

// load makes a queue of its definition, or finishes its deletion. One that was
// being restored is gone.
func (s *Service) load(ctx context.Context, d *Definition) error {
	if d.Deleting || d.Restoring {
		return s.erase(ctx, d)
	}
	for i, place := range d.Places {
		if s.storage(place.Storage) == nil {
			return &Error{Kind: ErrInvalid, Op: "open", Queue: d.Name, Partition: i,
				Msg:  fmt.Sprintf("invalid partition storage; queue '%s' references '%s' which is undefined", d.Name, place.Storage),
				Hint: "define the partition storage again, or delete its directory and the queue's definition"}
		}
	}
	s.enter(newQueue(s, d))
	return nil
}

// enter makes a queue known.
func (s *Service) enter(q *Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[q.core.name] = q
	for _, p := range q.core.parts {
		s.byTag[tagCode(p.key.Tag)] = p
	}
}

// leave makes a queue unknown.
func (s *Service) leave(q *Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.queues, q.core.name)
	for _, p := range q.core.parts {
		delete(s.byTag, tagCode(p.key.Tag))
	}
}

func (s *Service) storage(name string) Storage {
	for _, n := range s.cfg.Storages {
		if n.Name == name {
			return n.Storage
		}
	}
	return nil
}

// find returns the queue of that name or nil.
func (s *Service) find(name string) *Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queues[name]
}

// deadPartition returns the partition that dead items of a queue with that dead
// queue go to.
func (s *Service) deadPartition(queue string) *partition {
	if q := s.find(queue); q != nil {
		return q.core.parts[0]
	}
	return nil
}

func (s *Service) partitionByTag(code int64) *partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byTag[code]
}

// Queue returns the queue of that name. The error says what is wrong with the
// name, or is of kind ErrNotFound.
func (s *Service) Queue(name string) (*Queue, error) {
	switch {
	case strings.TrimSpace(name) == "":
		return nil, invalid("queue name is invalid; queue name cannot be empty")
	case strings.Contains(name, "~"):
		return nil, invalid("queue name is invalid; '%s' cannot contain '~' character", name)
	}
	s.mu.RLock()
	q, closed := s.queues[name], s.closed
	s.mu.RUnlock()
	switch {
	case closed:
		return nil, errServiceClosed()
	case q == nil:
		return nil, errNoQueue(name)
	}
	return q, nil
}

func errNoQueue(name string) *Error {
	return notFound("queue does not exist; no such queue named '%s'", name)
}

// maxList is the greatest limit of List.
const maxList = 65536

// List returns at most limit queues in byte order of their names, from pivot
// on. Limit 0 is 1000, the most is 65536.
func (s *Service) List(ctx context.Context, pivot string, limit int) ([]Info, error) {
	switch {
	case limit < 0:
		return nil, invalid("limit is invalid; limit cannot be negative")
	case limit > maxList:
		return nil, invalid("limit is invalid; cannot be greater than 65536")
	case strings.Contains(pivot, "~"):
		return nil, invalid("pivot is invalid; '%s' cannot contain '~' character", pivot)
	case limit == 0:
		limit = 1000
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errServiceClosed()
	}
	var infos []Info
	for name, q := range s.queues {
		if name >= pivot {
			infos = append(infos, q.Info())
		}
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return infos[:min(limit, len(infos))], nil
}

// Shutdown answers all that waits with ErrClosed, then syncs and closes the
// partitions. It returns when that is done, or with ctx's error while it goes
// on. The stores of the Config stay open; they are their owner's.
func (s *Service) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		defer close(done)
		// A change of the definitions that is under way ends first, or its queue
		// would be started when the others are stopped; none begins any more.
		s.define.Lock()
		defer s.define.Unlock()
		var wg sync.WaitGroup
		for _, q := range s.queues {
			wg.Go(q.stop)
		}
		wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
