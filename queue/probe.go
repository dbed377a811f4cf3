package queue

import (
	"context"
	"fmt"
)

// Probe reports whether the commit path of every partition moves: each loop
// comes round, which it does only between commits, and none has met an error that
// it cannot go on after; nor has the store of the definitions. It asks nothing of the flash, and keeps no partition
// open that nobody uses. A partition that is still being opened does not count,
// however often that has failed: Overview tells of it.
//
// It waits for commits under way, for as long as ctx; the error then names a
// partition that hangs. It may be called from any goroutine: whoever comes while a
// probe is under way gets the outcome of that, so that nobody waits for more than one.
func (s *Service) Probe(ctx context.Context) error {
	for {
		s.probe.Lock()
		other := s.probing
		if other == nil {
			mine := &probing{done: make(chan struct{})}
			s.probing = mine
			s.probe.Unlock()
			mine.err = s.probeLoops(ctx)
			mine.cut = ctx.Err() != nil
			s.probe.Lock()
			s.probing = nil
			s.probe.Unlock()
			close(mine.done)
			return mine.err
		}
		s.probe.Unlock()
		select {
		case <-other.done:
			if !other.cut {
				return other.err
			}
		case <-ctx.Done():
			return fmt.Errorf("the loops were asked before and have not answered: %w", context.Cause(ctx))
		}
	}
}

// probing is a probe that is under way.
type probing struct {
	done chan struct{} // closed when the others are set
	err  error
	cut  bool // whoever began it would not wait longer
}

// probeLoops is Probe, for one caller at a time.
func (s *Service) probeLoops(ctx context.Context) error {
	s.mu.RLock()
	var parts []*partition
	for _, q := range s.queues {
		parts = append(parts, q.core.parts...)
	}
	s.mu.RUnlock()

	answers := make(chan *partition, len(parts))
	waiting := make(map[*partition]struct{}, len(parts))
	for _, p := range parts {
		if p.ask(answers) {
			waiting[p] = struct{}{}
		}
	}
	for len(waiting) > 0 {
		select {
		case p := <-answers:
			delete(waiting, p)
		case <-ctx.Done():
			for p := range waiting {
				return &Error{Kind: ErrUnavailable, Op: "probe", Queue: p.key.Queue, Partition: p.key.Partition, Err: context.Cause(ctx),
					Msg: fmt.Sprintf("partition %s and %d more have not come to the end of a commit", p.key, len(waiting)-1)}
			}
		}
	}
	for _, p := range parts {
		if failed := p.failed.Load(); failed != nil && p.isOpen.Load() {
			return fmt.Errorf("partition %s: %w", p.key, failed)
		}
	}
	return s.DefinitionsFailure()
}

// DefinitionsFailure says why no queue can be created, changed or deleted any more
// until the store of the definitions is opened again; nil if they can. It may be
// called from any goroutine.
func (s *Service) DefinitionsFailure() error { return s.cfg.Meta.Failure() }

// ask makes the loop send p to answers when it comes round next. It returns false
// when there is no loop that would.
func (p *partition) ask(answers chan<- *partition) bool {
	select {
	case <-p.probes: // Of a caller that has gone.
	default:
	}
	p.probes <- answers
	return p.isOpen.Load() // Looked at last: a loop that ends answers what it finds.
}

// Availability is what can be told of a partition without waiting for it.
type Availability struct {
	Partition int
	Open      bool  // it can be asked for something; it may still have failed since
	Failure   error // why it is not available; nil if it is
}

// Availability tells of all partitions. It may be called from any goroutine.
func (q *Queue) Availability() []Availability {
	list := make([]Availability, len(q.core.parts))
	for i, p := range q.core.parts {
		list[i] = Availability{Partition: p.key.Partition, Open: p.isOpen.Load()}
		if failed := p.failed.Load(); failed != nil {
			list[i].Failure = failed
		}
	}
	return list
}

// Overview is what can be told of a service without waiting for anything.
type Overview struct {
	Queues     int
	Partitions int
	Opening    int   // partitions that are not open yet
	Failed     int   // partitions that answer nothing but their failure; some of them are Opening
	Ready      int64 // items that could be leased
	Held       int64 // items in all
}

// Overview counts. It may be called from any goroutine.
func (s *Service) Overview() Overview {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := Overview{Queues: len(s.queues)}
	for _, q := range s.queues {
		for _, p := range q.core.parts {
			o.Partitions++
			o.Ready += p.ready.Load()
			o.Held += p.heldItems.Load()
			if !p.isOpen.Load() {
				o.Opening++
			}
			if p.failed.Load() != nil {
				o.Failed++
			}
		}
	}
	return o
}
