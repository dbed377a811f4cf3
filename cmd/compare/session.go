package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

const (
	// fillers is how many clients fill a backlog, fillBytes how much they put into a call.
	fillers, fillBytes, fillBatch = 4, 1 << 20, 1000
	// settle is how long a peer may do what it does after its start.
	settle = 300 * time.Millisecond
	// drains is how often a backlog that is soon empty is filled and drained for one figure.
	drains = 10
)

// session is one peer with one backlog, from an empty directory to its end.
type session struct {
	peer    peer
	dir     string
	disk    *measure.Disk
	stage   stage
	waiting int64 // items that are not completed
}

// run goes through all the measurements of a stage and hands out each.
func (s *session) run(ctx context.Context, found func(key cellKey, m sample)) error {
	defer os.RemoveAll(s.dir)
	defer os.Remove(s.dir + ".log") // Nothing went wrong, or the error has the end of it.
	defer s.peer.kill()
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if _, isRaw := s.peer.(*rawDisk); isRaw {
		if err := s.peer.start(ctx, s.dir, false); err != nil {
			return err
		}
	} else {
		m, err := s.begin(ctx)
		if err != nil {
			return err
		}
		found(cellKey{caseKey{Size: s.stage.Size, Backlog: s.stage.Backlog, Work: starting}, s.peer.name()}, m)
	}
	for _, shape := range s.stage.Shapes {
		for _, w := range works {
			if _, isRaw := s.peer.(*rawDisk); isRaw && w != produceOnly {
				continue
			}
			m, err := s.measure(ctx, shape, w)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", shape.Name, w, err)
			}
			found(cellKey{caseKey{s.stage.Size, s.stage.Backlog, shape.Name, w}, s.peer.name()}, m)
		}
	}
	return nil
}

// begin fills the backlog, kills the peer, and measures how it starts.
func (s *session) begin(ctx context.Context) (sample, error) {
	if err := s.peer.start(ctx, s.dir, true); err != nil {
		return nil, err
	}
	if err := s.peer.create(ctx); err != nil {
		return nil, err
	}
	watch := measure.WatchMemory(s.peer.pid())
	err := s.fill(ctx, s.stage.Backlog)
	most := watch.Stop()
	if err != nil {
		return nil, fmt.Errorf("filling the backlog: %w", err)
	}
	s.peer.kill()
	if err := measure.SyncFS(s.dir); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.peer.start(ctx, s.dir, false); err != nil {
		return nil, err
	}
	if err := s.takeOne(); err != nil {
		return nil, fmt.Errorf("the first item after the start: %w", err)
	}
	m := sample{startSeconds: time.Since(begin).Seconds(), memoryFilling: float64(most)}
	time.Sleep(settle)
	m[memoryStart] = float64(measure.Anonymous(s.peer.pid()))
	m[storedBytes] = float64(allocated(s.dir))
	if s.stage.FillBatch == 0 {
		return m, nil
	}
	// The first items that a queue takes after a start cost more than later ones.
	begin = time.Now()
	o, err := s.fillLoad(s.stage.Backlog).run(ctx, s.peer.dial)
	if err != nil {
		return nil, fmt.Errorf("the first round of all queues: %w", err)
	}
	s.waiting += o.produced
	m[firstRound] = float64(time.Since(begin)) / float64(time.Millisecond) / float64(s.stage.Backlog/int64(s.stage.FillBatch))
	return m, nil
}

// takeOne leases the first item, as soon as there is one, and completes it after that.
func (s *session) takeOne() error {
	c, err := s.peer.dial()
	if err != nil {
		return err
	}
	defer c.close()
	for begin := time.Now(); time.Since(begin) < startBy; {
		n, err := c.lease(1, leaseWait)
		if err != nil {
			return err
		}
		if n > 0 {
			s.waiting--
			return c.complete()
		}
	}
	return fmt.Errorf("there is none of %d", s.waiting)
}

// fill produces until so many items wait.
func (s *session) fill(ctx context.Context, want int64) error {
	for s.waiting < want {
		o, err := s.fillLoad(want-s.waiting).run(ctx, s.peer.dial)
		if err != nil {
			return err
		}
		s.waiting += o.produced
	}
	return ctx.Err()
}

// fillLoad returns a load that produces so many items, or some of them.
func (s *session) fillLoad(rest int64) load {
	l := load{producers: 1, most: 1, length: callBy}
	if l.batch = s.stage.FillBatch; l.batch > 0 {
		// Each of these goes round its part of the queues.
		l.producers, l.most = queueStarts, 0
		l.calls = int(rest)/l.batch/queueStarts + 1
	} else {
		l.batch = min(fillBatch, max(1, fillBytes/s.stage.Size))
		if more := rest - int64(fillers*l.batch); more > 0 {
			l.producers, l.most = fillers, more
		}
		l.batch = int(min(int64(l.batch), rest))
	}
	l.payloads = newPayloads(s.stage.Size, l.batch, s.stage.Random)
	return l
}

// measure runs one load and returns its figures.
func (s *session) measure(ctx context.Context, shape shape, w work) (sample, error) {
	l := shape.load(w, &s.stage)
	dial := s.peer.dial
	if all, ok := s.peer.(sharer); ok && shape.Shared {
		var closeAll func()
		var err error
		if dial, closeAll, err = all.share(); err != nil {
			return nil, err
		}
		defer closeAll()
	}
	meter := newMeter(s.peer.pid(), s.dir, s.disk)
	defer meter.close()
	var total outcome
	var spent costs
	var most int64
	// A small backlog is drained in no time, so it is filled and drained again, but not for ever.
	for n, begin := 0, time.Now(); n == 0 || w == drainOnly && n < drains && total.elapsed < s.stage.Length && time.Since(begin) < 4*s.stage.Length; n++ {
		if s.waiting < s.stage.Backlog*9/10 {
			if err := s.fill(ctx, s.stage.Backlog); err != nil {
				return nil, fmt.Errorf("filling up: %w", err)
			}
		}
		if err := measure.SyncFS(s.dir); err != nil {
			return nil, err
		}
		before, err := meter.read()
		if err != nil {
			return nil, err
		}
		watch := measure.WatchMemory(s.peer.pid())
		l.length = s.stage.Length - total.elapsed
		o, err := l.run(ctx, dial)
		most = max(most, watch.Stop())
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.waiting += o.produced - o.completed
		total.add(o)
		// What is only in memory yet belongs to this measurement.
		if err := measure.SyncFS(s.dir); err != nil {
			return nil, err
		}
		after, err := meter.read()
		if err != nil {
			return nil, err
		}
		spent.addBetween(before, after)
	}
	return newSample(&total, &spent, most, w, s.stage.Size, meter), nil
}

// allocated returns the bytes that files below dir take on the disk.
func allocated(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			total += blocks(path)
		}
		return nil // Files come and go while it looks.
	})
	return total
}
