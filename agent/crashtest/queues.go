package crashtest

import (
	"cmp"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// deadName is the dead queue of the fixed queues.
const deadName = "dead"

// fixedQueues are the queues of every load. Dead queues come first.
func fixedQueues() []client.QueueInfo {
	const day = 24 * time.Hour
	return []client.QueueInfo{
		{Name: deadName, LeaseTimeout: time.Second, ExpireTimeout: day, Partitions: 1},
		{Name: redriveTo, LeaseTimeout: time.Second, ExpireTimeout: day, Partitions: 1},
		{Name: "double", LeaseTimeout: time.Second, ExpireTimeout: day, Partitions: 2, DeadQueue: deadName, Reference: "two"},
		{Name: "three-times", LeaseTimeout: time.Second, ExpireTimeout: day, Partitions: 1, DeadQueue: deadName, MaxAttempts: 3},
	}
}

// creates notes that a create is sent.
func (b *Book) creates(info client.QueueInfo) {
	info.FullPolicy = cmp.Or(info.FullPolicy, client.FullReject) // As the agent names the default.
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues[info.Name] = &queueBook{info: info, state: coming, seen: make(map[track]uint64)}
}

// created notes the answer.
func (b *Book) created(name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
	switch outcomeOf(err) {
	case done:
		b.queues[name].state = present
	case refused:
		b.queues[name].state = absent
		b.problem("queue %s, which was not there, could not be created: %v", name, err)
	}
}

// deletes notes that a delete is sent.
func (b *Book) deletes(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues[name].state = going
}

// deleted notes the answer.
func (b *Book) deleted(name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.totals.Operations++
	switch outcomeOf(err) {
	case done:
		b.gone(name)
	case refused:
		b.queues[name].state = present
		b.problem("queue %s, which was there, could not be deleted: %v", name, err)
	}
}

// gone forgets a queue and what it held. The caller holds mu.
func (b *Book) gone(name string) {
	b.queues[name].state = absent
	for n, it := range b.items {
		if it.at == name {
			delete(b.items, n)
		}
	}
}

// state returns whether a queue is there; absent for one that never was.
func (b *Book) state(name string) presence {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q := b.queues[name]; q != nil {
		return q.state
	}
	return absent
}

// states returns whether each queue is there.
func (b *Book) states() map[string]presence {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]presence, len(b.queues))
	for name, q := range b.queues {
		all[name] = q.state
	}
	return all
}
