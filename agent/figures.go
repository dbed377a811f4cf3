package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// A page of metrics is made within collectTimeout, of which one queue may take
// queueTimeout: a partition that hangs must not hide the others.
const (
	collectTimeout = 8 * time.Second
	queueTimeout   = time.Second
)

// queueFigures are the figures of one queue.
type queueFigures struct {
	name    string
	paused  bool
	stats   queue.Stats
	sum     queue.PartitionStats // over the partitions that gave figures
	age     float64              // seconds, of all ready and leased items together
	failed  int                  // partitions that gave none
	counted counts               // over all partitions, as far as is known
	own     bool                 // the queue has series of its own
}

// averageAge returns the average age of ready and leased items in seconds.
func (f *queueFigures) averageAge() float64 {
	return f.age / float64(max(f.sum.Ready+f.sum.Leased, 1))
}

// counts are what only rises in a partition while it is open.
type counts struct {
	ledger                   queue.Ledger
	payload, written, synced uint64
}

// fields returns pointers to all numbers, always in the same order.
func (c *counts) fields() []*uint64 {
	l := &c.ledger
	return []*uint64{
		&l.Produced, &l.Imported, &l.MovedIn, &l.Completed, &l.Dead, &l.Expired, &l.Cleared, &l.Deleted, &l.Dropped,
		&l.Quarantined, &l.MovedOut, &l.Leases, &l.Retries, &l.Lapsed, &c.payload, &c.written, &c.synced,
	}
}

// grow adds what has come to the counts of a partition since last. One that
// fell has begun anew: the partition was opened again, or is another one of the
// same name.
func (c *counts) grow(last, now *counts) {
	to, before, after := c.fields(), last.fields(), now.fields()
	for i := range to {
		if *after[i] >= *before[i] {
			*to[i] += *after[i] - *before[i]
		} else {
			*to[i] += *after[i]
		}
	}
}

// partitionKey names a partition.
type partitionKey struct {
	queue     string
	partition int
}

// collector makes counters that never fall of the counts of partitions, which
// go when their queue is deleted. It remembers as many partitions as there are.
type collector struct {
	service *queue.Service
	// maxQueues is how many queues get series of their own.
	maxQueues int

	mu   sync.Mutex
	last map[partitionKey]counts
	all  counts // of all partitions that there are and were
	rest counts // of those whose queue had no series of its own
}

func newCollector(service *queue.Service, maxQueues int) *collector {
	return &collector{service: service, maxQueues: maxQueues, last: make(map[partitionKey]counts)}
}

// collect returns the figures of all queues in the order of their names, and the
// counts of all and of the queues without series of their own.
func (c *collector) collect(ctx context.Context) (list []queueFigures, all, rest counts, err error) {
	infos, err := c.service.List(ctx, "", maxCollected)
	if err != nil {
		return nil, counts{}, counts{}, err
	}
	oldest := slices.Clone(infos)
	slices.SortStableFunc(oldest, func(a, b queue.Info) int { return a.CreatedAt.Compare(b.CreatedAt) })
	own := make(map[string]bool)
	for i := range oldest[:min(c.maxQueues, len(oldest))] {
		own[oldest[i].Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	there := make(map[partitionKey]counts)
	for i := range infos {
		if f, ok := c.figures(ctx, infos[i].Name, own[infos[i].Name], there); ok {
			list = append(list, f)
		}
	}
	c.last = there
	return list, c.all, c.rest, nil
}

// maxCollected is the greatest number of queues that a list has.
const maxCollected = 65536

// figures returns those of one queue, unless it has been deleted meanwhile.
func (c *collector) figures(ctx context.Context, name string, own bool, there map[partitionKey]counts) (queueFigures, bool) {
	f := queueFigures{name: name, own: own}
	q, err := c.service.Queue(name)
	if err != nil {
		return f, false
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	f.paused = q.Paused()
	stats, err := q.Stats(ctx)
	if err != nil {
		return f, false
	}
	f.stats = *stats
	for i := range stats.Partitions {
		p := &stats.Partitions[i]
		key := partitionKey{name, p.Partition}
		last := c.last[key]
		now := last
		if p.Failure != nil {
			f.failed++
		} else {
			now = countsOf(p)
			c.all.grow(&last, &now)
			if !own {
				c.rest.grow(&last, &now)
			}
			f.add(p)
		}
		there[key] = now
		f.counted.grow(&counts{}, &now)
	}
	return f, true
}

func countsOf(p *queue.PartitionStats) counts {
	return counts{
		ledger: p.Ledger, payload: uint64(max(p.Payload, 0)), written: uint64(max(p.Usage.Written, 0)),
		synced: uint64(max(p.Usage.Syncs, 0)),
	}
}

// add adds the figures of a partition.
func (f *queueFigures) add(p *queue.PartitionStats) {
	s := &f.sum
	s.Ready += p.Ready
	s.Leased += p.Leased
	s.Scheduled += p.Scheduled
	s.Moving += p.Moving
	s.HeldForClock += p.HeldForClock
	s.Bytes += p.Bytes
	f.age += p.AverageAge.Seconds() * float64(p.Ready+p.Leased)
	s.Usage.DiskBytes += p.Usage.DiskBytes
	s.Usage.Segments += p.Usage.Segments
	s.Usage.Open += p.Usage.Open
}
