package memtest

import (
	"sync"
	"time"
)

// sampleEvery is how often a Sampler looks.
const sampleEvery = 50 * time.Millisecond

// Sampler keeps the greatest of each figure of a group. It has a goroutine from
// Watch to Stop.
type Sampler struct {
	group *Cgroup
	stop  chan struct{}
	wg    sync.WaitGroup

	mu  sync.Mutex
	max Memory
	err error
}

// Watch starts to watch the group. The caller ends it with Stop.
func Watch(g *Cgroup) *Sampler {
	s := &Sampler{group: g, stop: make(chan struct{})}
	s.wg.Go(s.run)
	return s
}

func (s *Sampler) run() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s.sample()
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

func (s *Sampler) sample() {
	m, err := s.group.Memory()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = err
		return
	}
	x := &s.max
	x.Total, x.Peak = max(x.Total, m.Total), max(x.Peak, m.Peak)
	x.Anonymous, x.Kernel = max(x.Anonymous, m.Anonymous), max(x.Kernel, m.Kernel)
	x.Held = max(x.Held, m.Held)
	x.File, x.Dirty = max(x.File, m.File), max(x.Dirty, m.Dirty)
	x.Squeezed, x.Killed = m.Squeezed, m.Killed
}

// Max returns the greatest figures since the last call, and begins anew.
func (s *Sampler) Max() Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.max
	s.max = Memory{}
	return m
}

// Stop ends the watch and returns what failed.
func (s *Sampler) Stop() error {
	close(s.stop)
	s.wg.Wait()
	return s.err
}
