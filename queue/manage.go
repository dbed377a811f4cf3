package queue

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Bounds of queue options. The wire contract fixes all but the last.
const (
	maxDeadQueueName = 500
	maxReference     = 2000
	maxMaxAttempts   = 65536
	maxPartitions    = 256
)

// Create creates the queue and its partitions.
func (s *Service) Create(ctx context.Context, info Info) error {
	s.define.Lock()
	defer s.define.Unlock()
	if err := s.checkOpen(); err != nil {
		return err
	}
	if s.find(info.Name) != nil || s.restoring.has(info.Name) {
		return &Error{Kind: ErrDuplicate, Op: "create", Queue: info.Name,
			Msg: fmt.Sprintf("invalid queue; '%s' already exists", info.Name)}
	}
	if err := s.checkOptions(&info); err != nil {
		return err
	}
	if err := checkNew(&info); err != nil {
		return err
	}
	info.CreatedAt = s.clock.Now()
	info.UpdatedAt = info.CreatedAt
	d := &Definition{Info: info, Places: s.place(info.RequestedPartitions)}
	if err := s.cfg.Meta.Put(ctx, d); err != nil {
		return err
	}
	q := newQueue(s, d)
	s.enter(q)
	q.start()
	poke(s.changed)
	return nil
}

func (s *Service) checkOpen() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errServiceClosed()
	}
	return nil
}

// checkOptions checks what create and update have in common, in the order of
// the wire contract.
func (s *Service) checkOptions(info *Info) error {
	if err := s.checkDeadQueue(info); err != nil {
		return err
	}
	switch {
	case len(info.Reference) > maxReference:
		return invalid("reference field is invalid; cannot be greater than '%d' characters", maxReference)
	case info.MaxAttempts > maxMaxAttempts:
		return invalid("max attempts is invalid; cannot be greater than %d", maxMaxAttempts)
	case info.MaxAttempts < 0:
		return invalid("max attempts is invalid; cannot be negative number")
	case info.RequestedPartitions > maxPartitions:
		return invalid("partitions is invalid; cannot be greater than %d", maxPartitions)
	case info.MaxItems < 0:
		return invalid("max items is invalid; cannot be negative")
	case info.MaxBytes < 0:
		return invalid("max bytes is invalid; cannot be negative")
	}
	switch info.FullPolicy {
	case "", FullReject, FullDropOldest:
		return nil
	}
	return invalid("full policy is invalid; '%s' is not one of (%s, %s)", info.FullPolicy, FullReject, FullDropOldest)
}

func (s *Service) checkDeadQueue(info *Info) error {
	name := info.DeadQueue
	if name == "" {
		return nil
	}
	switch {
	case len(name) > maxDeadQueueName:
		return invalid("dead queue is invalid; cannot be greater than '%d' characters", maxDeadQueueName)
	case strings.ContainsFunc(name, unicode.IsSpace):
		return invalid("dead queue is invalid; '%s' cannot contain whitespace", name)
	case strings.Contains(name, "~"):
		return invalid("dead queue is invalid; '%s' cannot contain '~' character", name)
	case name == info.Name:
		return invalid("dead_queue cannot reference itself")
	}
	dead := s.find(name)
	switch {
	case dead == nil:
		return invalid("dead_queue does not exist; '%s' was not found, create it first", name)
	case dead.Info().DeadQueue != "":
		return invalid("dead_queue is invalid; '%s' already has its own dead_queue configured", name)
	}
	return nil
}

// checkNew checks what only create requires.
func checkNew(info *Info) error {
	switch {
	case info.RequestedPartitions < 1:
		return invalid("partitions is invalid; cannot be less than 1")
	case info.LeaseTimeout < 0:
		return invalid("lease timeout is invalid; cannot be negative")
	case info.ExpireTimeout < 0:
		return invalid("expire timeout is invalid; cannot be negative")
	case info.LeaseTimeout < time.Microsecond:
		return invalid("lease timeout is invalid; cannot be empty")
	case info.ExpireTimeout < time.Microsecond:
		return invalid("expire timeout is invalid; cannot be empty")
	}
	return checkTimeouts(info.LeaseTimeout, info.LeaseTimeout, info.ExpireTimeout)
}

// checkTimeouts checks the lease timeout against the expire timeout; asked is
// the one that the request named.
func checkTimeouts(asked, lease, expire time.Duration) error {
	if lease > expire {
		return invalid("lease timeout is too long; %s cannot be greater than the expire timeout %s", asked, expire)
	}
	return nil
}

// place chooses a storage for each of n new partitions: the one that is
// furthest below its share of all partitions.
func (s *Service) place(n int) []Place {
	counts := make([]int, len(s.cfg.Storages))
	s.mu.RLock()
	for _, q := range s.queues {
		for _, place := range q.definition().Places {
			for i := range s.cfg.Storages {
				if s.cfg.Storages[i].Name == place.Storage {
					counts[i]++
				}
			}
		}
	}
	s.mu.RUnlock()
	places := make([]Place, n)
	for i := range places {
		best := 0
		for j := range counts {
			// (counts+1)/affinity, compared without division.
			if (counts[j]+1)*max(1, s.cfg.Storages[best].Affinity) < (counts[best]+1)*max(1, s.cfg.Storages[j].Affinity) {
				best = j
			}
		}
		counts[best]++
		places[i] = Place{Storage: s.cfg.Storages[best].Name, Tag: newTag()}
	}
	return places
}

func newTag() Tag {
	var t Tag
	rand.Read(t[:]) // Never fails (crypto/rand).
	return t
}

// Update changes a queue's options: LeaseTimeout, ExpireTimeout and
// RequestedPartitions when they are not 0, MaxAttempts, Reference, DeadQueue and
// the quota always.
func (s *Service) Update(ctx context.Context, info Info) error {
	s.define.Lock()
	defer s.define.Unlock()
	if err := s.checkOpen(); err != nil {
		return err
	}
	q := s.find(info.Name)
	if q == nil {
		return errNoQueue(info.Name)
	}
	if err := s.checkOptions(&info); err != nil {
		return err
	}
	switch {
	case info.LeaseTimeout < 0:
		return invalid("lease timeout is invalid; cannot be negative")
	case info.ExpireTimeout < 0:
		return invalid("expire timeout is invalid; cannot be negative")
	case info.RequestedPartitions < 0:
		return invalid("partitions is invalid; cannot be less than 1")
	}
	d := q.definition()
	asked := info.LeaseTimeout
	if info.LeaseTimeout != 0 {
		d.LeaseTimeout = info.LeaseTimeout
	}
	if info.ExpireTimeout != 0 {
		d.ExpireTimeout = info.ExpireTimeout
	}
	if info.RequestedPartitions != 0 {
		d.RequestedPartitions = info.RequestedPartitions
	}
	if err := checkTimeouts(asked, d.LeaseTimeout, d.ExpireTimeout); err != nil {
		return err
	}
	d.MaxAttempts, d.Reference, d.DeadQueue = info.MaxAttempts, info.Reference, info.DeadQueue
	d.MaxItems, d.MaxBytes, d.FullPolicy = info.MaxItems, info.MaxBytes, info.FullPolicy
	d.ReleaseOnExit = info.ReleaseOnExit
	return s.redefine(ctx, q, d)
}

// redefine stores a changed definition and makes it count.
func (s *Service) redefine(ctx context.Context, q *Queue, d Definition) error {
	d.UpdatedAt = s.clock.Now()
	if err := s.cfg.Meta.Put(ctx, &d); err != nil {
		return err
	}
	q.setDefinition(&d)
	return nil
}

// setPaused pauses or resumes a queue.
func (s *Service) setPaused(ctx context.Context, q *Queue, paused bool) error {
	s.define.Lock()
	defer s.define.Unlock()
	if err := s.checkOpen(); err != nil {
		return err
	}
	if s.find(q.core.name) != q {
		return errQueueClosed()
	}
	d := q.definition()
	if d.Paused == paused {
		return nil
	}
	d.Paused = paused
	return s.redefine(ctx, q, d)
}

// Delete removes a queue with its items. Those who wait for it get ErrClosed.
func (s *Service) Delete(ctx context.Context, name string) error {
	s.define.Lock()
	defer s.define.Unlock()
	q, err := s.Queue(name)
	if err != nil {
		return err
	}
	d := q.definition()
	d.Deleting = true
	if err := s.cfg.Meta.Put(ctx, &d); err != nil {
		return err
	}
	s.leave(q)
	q.stop()
	q.loseEvents()
	poke(s.changed)
	return s.erase(ctx, &d)
}

// erase removes the partitions of a queue that is marked as deleted, then its
// definition. It can be done again after any failure.
func (s *Service) erase(ctx context.Context, d *Definition) error {
	for i, place := range d.Places {
		st := s.storage(place.Storage)
		if st == nil {
			continue // The storage is not configured any more, nor are its files ours.
		}
		if err := st.RemovePartition(PartitionKey{Queue: d.Name, Partition: i, Tag: place.Tag}); err != nil {
			return err
		}
	}
	return s.cfg.Meta.Remove(ctx, d.Name)
}

// clone returns a copy that shares nothing with d.
func (d *Definition) clone() Definition {
	c := *d
	c.Places = slices.Clone(d.Places)
	return c
}
