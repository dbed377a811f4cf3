package memstore

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/kapetan-io/querator-edge/queue"
)

// DefaultMaxBytes bounds a Storage whose options name no bound: small enough
// for a device with 512 MiB that has other things to do.
const DefaultMaxBytes = 64 << 20

// Options are the options of a Storage.
type Options struct {
	// Boot names this run of the kernel, as queue.Clock.Boot does.
	Boot string
	// MaxBytes bounds the memory of all items in bytes: their queue.Item.Size
	// and 256 bytes more for each. 0 means DefaultMaxBytes.
	MaxBytes int64
}

// Storage is a queue.Storage in memory. Its methods are safe for use by any
// goroutine.
type Storage struct {
	max  int64
	used atomic.Int64 // bytes of all items, and what is reserved

	mu         sync.Mutex // guards what follows
	boot       string
	partitions map[place]*partition
}

// place is where a partition is: its key without the tag.
type place struct {
	queue     string
	partition int
}

// New returns an empty storage.
func New(o Options) *Storage {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	return &Storage{max: o.MaxBytes, boot: o.Boot, partitions: make(map[place]*partition)}
}

// SetBoot names the boot that partitions opened from now on are in. A process
// never sees a reboot; tests of what happens after one do.
func (s *Storage) SetBoot(boot string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boot = boot
}

// OpenPartition opens the partition, with what it held when it was closed. A
// partition with another tag, which a deleted queue left, is dropped. The error
// of a partition that is open already is of kind queue.ErrLocked.
func (s *Storage) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{key.Queue, key.Partition}
	p := s.partitions[at]
	if p != nil && p.open {
		return nil, errOpen(key)
	}
	if p != nil && p.key.Tag != key.Tag {
		p.drop()
		p = nil
	}
	if p == nil {
		p = &partition{storage: s, key: key, state: queue.NewState(key.Tag, s.boot), sources: make(map[string]uint64)}
		s.partitions[at] = p
	} else {
		p.state = recovered(p.state)
	}
	p.open, p.fresh, p.boot = true, true, s.boot
	return &handle{p: p}, nil
}

// recovered returns a copy of the state as a store that reads it from flash has
// it: without what the engine that used it before noted for itself.
func recovered(old *queue.State) *queue.State {
	s := queue.NewState(old.Tag, old.Boot)
	s.Next, s.Totals, s.Removed, s.Spans, s.Origins = old.Next, old.Totals, old.Removed, old.Spans, old.Origins
	s.Feeds = old.Feeds
	for seq, l := range old.Leases {
		s.Leases[seq] = &queue.Lease{
			Seq: l.Seq, Deadline: l.Deadline, Wall: l.Wall, Attempts: l.Attempts,
			Created: l.Created, Expire: l.Expire, Size: l.Size,
		}
	}
	s.Scheduled, s.Events = old.Scheduled, old.Events
	s.Restore()
	return s
}

// RemovePartition drops the partition and its items. One with another tag is
// not the one that was meant, and stays.
func (s *Storage) RemovePartition(key queue.PartitionKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{key.Queue, key.Partition}
	p := s.partitions[at]
	switch {
	case p == nil || p.key.Tag != key.Tag:
		return nil
	case p.open:
		return errOpen(key)
	}
	p.drop()
	delete(s.partitions, at)
	return nil
}

// Partitions returns the keys of all partitions.
func (s *Storage) Partitions() ([]queue.PartitionKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []queue.PartitionKey
	for _, p := range s.partitions {
		keys = append(keys, p.key)
	}
	return keys, nil
}

// Close does nothing: partitions can be opened again as long as the Storage is
// there.
func (s *Storage) Close() error { return nil }

// reserve takes n bytes, and reports whether there was room within the limit.
func (s *Storage) reserve(n, limit int64) bool {
	if n == 0 {
		return true // Moves may have taken more than new items get.
	}
	if n > limit {
		return false
	}
	if s.used.Add(n) > limit {
		s.used.Add(-n)
		return false
	}
	return true
}

func errOpen(key queue.PartitionKey) error {
	return &queue.Error{
		Kind: queue.ErrLocked, Queue: key.Queue, Partition: key.Partition,
		Msg: fmt.Sprintf("partition %s is open already", key),
	}
}
