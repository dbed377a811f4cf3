package queue

import (
	"context"
	"errors"
)

var errNotYet = errors.New("not yet")

// Config says what a Service is made of.
type Config struct {
	// Meta keeps the definitions of queues.
	Meta MetaStore
	// Storages are the places that partitions live in; at least one.
	Storages []NamedStorage
	Clock    Clock // nil is the system's
	Limits   Limits
	Events   Events
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
}

// Service is a set of queues over a store. Its methods are safe for use by any
// goroutine.
type Service struct{}

// Open loads the definitions and readies all queues.
func Open(ctx context.Context, cfg Config) (*Service, error) { return nil, errNotYet }

// Shutdown answers all that waits with ErrClosed, syncs and closes the
// partitions. The stores of the Config stay open; they are their owner's.
func (s *Service) Shutdown(ctx context.Context) error { return errNotYet }

// Create creates the queue and its partitions.
func (s *Service) Create(ctx context.Context, info Info) error { return errNotYet }

// Update changes a queue's options: LeaseTimeout, ExpireTimeout and
// RequestedPartitions when they are not 0, MaxAttempts, Reference and DeadQueue
// always.
func (s *Service) Update(ctx context.Context, info Info) error { return errNotYet }

// Delete removes a queue with its items.
func (s *Service) Delete(ctx context.Context, name string) error { return errNotYet }

// List returns at most limit queues in byte order of their names, from pivot
// on. Limit 0 is 1000, the most is 65536.
func (s *Service) List(ctx context.Context, pivot string, limit int) ([]Info, error) {
	return nil, errNotYet
}

// Queue returns the queue of that name. The error says what is wrong with the
// name, or is of kind ErrNotFound.
func (s *Service) Queue(name string) (*Queue, error) { return nil, errNotYet }
