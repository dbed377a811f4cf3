package agent

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/queue"
)

// summary collects what the last line of the log tells: what the agent served
// and refused, and what it found damaged. The engine's goroutines add to it.
type summary struct {
	mu      sync.Mutex
	damage  []queue.Quarantine // at most maxDamage
	more    int                // quarantines beyond them
	lost    int                // items of all quarantines
	failed  int                // times that a partition failed
	aside   int                // directories set aside
	rebuilt int                // definitions lost
}

// maxDamage bounds how many quarantines the summary names; each was logged when
// it was found.
const maxDamage = 100

func (s *summary) quarantined(q queue.Quarantine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost += q.Items
	if len(s.damage) < maxDamage {
		s.damage = append(s.damage, q)
	} else {
		s.more++
	}
}

// count adds one to a counter of the summary.
func (s *summary) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// MarshalZerologArray writes the quarantines. The caller holds the lock.
func (s *summary) MarshalZerologArray(a *zerolog.Array) {
	for i := range s.damage {
		q := &s.damage[i]
		d := zerolog.Dict().Str("queue", q.Queue).Int("partition", q.Partition).Int("items", q.Items)
		if q.Items > 0 {
			d.Str("first", q.First.String()).Str("last", q.Last.String())
		}
		a.Dict(d.Str("path", q.Path).AnErr("reason", q.Err))
	}
}

// leftTimeout bounds how long the summary may wait for the figures of the
// queues before they are closed.
const leftTimeout = 2 * time.Second

// left is what the queues held before they were closed.
type left struct {
	known                    bool
	ready, leased, scheduled int64
	failing                  int // partitions that gave no figures
}

// held returns what the queues hold.
func (a *Agent) held() left {
	ctx, cancel := context.WithTimeout(context.Background(), leftTimeout)
	defer cancel()
	list, _, _, err := a.collector.collect(ctx)
	l := left{known: err == nil}
	for i := range list {
		f := &list[i]
		l.ready += f.sum.Ready
		l.leased += f.sum.Leased
		l.scheduled += f.sum.Scheduled
		l.failing += f.failed
	}
	return l
}

// summarise logs the last line. err is how the agent ended; it is told by
// whoever runs the agent, so that here it only says that not all was in order.
func (a *Agent) summarise(ctx context.Context, l *left, err error) {
	s := &a.summary
	s.mu.Lock()
	defer s.mu.Unlock()
	e := a.log.Info()
	if err != nil || s.lost > 0 || s.failed > 0 {
		e = a.log.Warn()
	}
	answers := zerolog.Dict()
	for _, n := range a.handler.Answered() {
		answers.Uint64(n.Name, n.Count)
	}
	e = e.Str("stopped", howStopped(ctx, err)).Str("uptime", time.Since(a.started).Truncate(time.Millisecond).String()).
		Dict("answers", answers)
	if l.known {
		e = e.Int64("ready", l.ready).Int64("leased", l.leased).Int64("scheduled", l.scheduled)
	}
	for _, n := range []struct {
		name  string
		count int
	}{
		{"partitions-failing", l.failing}, {"partition-failures", s.failed}, {"directories-set-aside", s.aside},
		{"definitions-lost", s.rebuilt}, {"items-quarantined", s.lost}, {"damages-not-listed", s.more},
	} {
		if n.count > 0 {
			e = e.Int(n.name, n.count)
		}
	}
	if len(s.damage) > 0 {
		e = e.Array("damaged", s)
	}
	e.Msg("ended")
}

// howStopped says what ended the agent.
func howStopped(ctx context.Context, err error) string {
	switch {
	case ctx.Err() == nil:
		return "the socket could not be served"
	case err != nil:
		return "on request, not in order: " + context.Cause(ctx).Error()
	}
	return "on request, in order: " + context.Cause(ctx).Error()
}
