package queue

import (
	"context"
	"time"
)

// Queue is one queue of a Service. Its methods are safe for use by any
// goroutine. After the queue was deleted they return errors of kind ErrClosed.
type Queue struct{}

// Info returns the present definition.
func (q *Queue) Info() Info { return Info{} }

// Paused reports whether leases are refused.
func (q *Queue) Paused() bool { return false }

// CheckPartition returns an error of kind ErrInvalid when the queue has no
// such partition.
func (q *Queue) CheckPartition(p int) error { return errNotYet }

// Produce adds the items and returns when they are on flash. Items whose
// SourceID is stored in the partition already are skipped; that is no error.
func (q *Queue) Produce(ctx context.Context, r *ProduceRequest) error { return errNotYet }

// Lease waits for items until the request timeout, then returns ErrEmpty.
func (q *Queue) Lease(ctx context.Context, r *LeaseRequest) (*LeaseResult, error) {
	return nil, errNotYet
}

// Complete marks leased items as done. They are gone on return.
func (q *Queue) Complete(ctx context.Context, r *CompleteRequest) error { return errNotYet }

// Retry gives leased items back.
func (q *Queue) Retry(ctx context.Context, r *RetryRequest) error { return errNotYet }

// Extend moves lease deadlines and returns the new one, by the wall clock.
func (q *Queue) Extend(ctx context.Context, r *ExtendRequest) (time.Time, error) {
	return time.Time{}, errNotYet
}

// Clear removes items from all partitions.
func (q *Queue) Clear(ctx context.Context, r *ClearRequest) error { return errNotYet }

// Stats returns the queue's figures.
func (q *Queue) Stats(ctx context.Context) (*Stats, error) { return nil, errNotYet }

// Reload checks the counters against the store. Ours are always exact, so it
// only says whether the partitions answer.
func (q *Queue) Reload(ctx context.Context) error { return errNotYet }

// List returns ready and leased items in the order of their ids.
func (q *Queue) List(ctx context.Context, r *ListRequest) ([]Item, error) { return nil, errNotYet }

// ListScheduled returns scheduled items in the order of their ids.
func (q *Queue) ListScheduled(ctx context.Context, r *ListRequest) ([]Item, error) {
	return nil, errNotYet
}

// Import adds items as they are and returns them as they are stored now. A
// skipped item is returned as it was given.
func (q *Queue) Import(ctx context.Context, r *ImportRequest) ([]Item, error) { return nil, errNotYet }

// DeleteItems removes items by id.
func (q *Queue) DeleteItems(ctx context.Context, r *DeleteRequest) error { return errNotYet }

// Pause makes leases wait until Resume; it survives restarts.
func (q *Queue) Pause(ctx context.Context) error { return errNotYet }

// Resume ends Pause.
func (q *Queue) Resume(ctx context.Context) error { return errNotYet }

// Redrive moves ready items to another queue and returns how many.
func (q *Queue) Redrive(ctx context.Context, r *RedriveRequest) (int, error) { return 0, errNotYet }
