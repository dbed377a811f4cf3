package backup

import (
	"encoding/json"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Kind says how much a back-up has.
type Kind string

// The kinds of back-ups; the package comment says what they have.
const (
	Full        Kind = "full"
	Incremental Kind = "incremental"
	Manifest    Kind = "manifest"
)

// Head is what a back-up says of itself. Texts of users are bytes, which JSON
// holds in base64, since they need not be UTF-8.
type Head struct {
	// ID names the back-up; Parent is the ID of the one that it goes on from, empty
	// for a full one.
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"`
	Kind   Kind   `json:"kind"`
	// CreatedAt is when it was begun, by the wall clock of the device.
	CreatedAt time.Time   `json:"created_at"`
	Version   string      `json:"version,omitempty"` // of the program
	Queues    []QueueHead `json:"queues"`
}

// QueueHead is a queue in a Head.
type QueueHead struct {
	Name          []byte           `json:"name"`
	DeadQueue     []byte           `json:"dead_queue,omitempty"`
	Reference     []byte           `json:"reference,omitempty"`
	LeaseTimeout  time.Duration    `json:"lease_timeout"`
	ExpireTimeout time.Duration    `json:"expire_timeout"`
	MaxAttempts   int              `json:"max_attempts,omitempty"`
	Requested     int              `json:"requested_partitions"`
	MaxItems      int64            `json:"max_items,omitempty"`
	MaxBytes      int64            `json:"max_bytes,omitempty"`
	FullPolicy    queue.FullPolicy `json:"full_policy,omitempty"`
	ReleaseOnExit bool             `json:"release_on_exit,omitempty"`
	CreatedAt     time.Time        `json:"created_at"`
	UpdatedAt     time.Time        `json:"updated_at"`
	Paused        bool             `json:"paused,omitempty"`
	// Storages are the names of the storages of all its partitions.
	Storages   [][]byte        `json:"storages"`
	Partitions []PartitionHead `json:"partitions"` // those in the back-up
}

// PartitionHead is a partition in a Head.
type PartitionHead struct {
	Partition int    `json:"partition"`
	Tag       []byte `json:"tag,omitempty"`
	Items     int64  `json:"items"`
	Bytes     int64  `json:"bytes"`
	Marks     []Mark `json:"marks,omitempty"`
	// Volatile: its storage keeps items in memory only, so that the back-up has
	// none of them.
	Volatile bool `json:"volatile,omitempty"`
	// Failure is why it is not in the back-up; empty if it is.
	Failure string `json:"failure,omitempty"`

	state []byte // of frame P
}

// Mark is a queue.BackupMark.
type Mark struct {
	Span    uint64 `json:"s"`
	Items   uint64 `json:"i,omitempty"`
	Commits uint64 `json:"c,omitempty"`
	Whole   bool   `json:"w,omitempty"`
}

// has reports whether the back-up has anything of the partition.
func (p *PartitionHead) has() bool { return !p.Volatile && p.Failure == "" }

func (p *PartitionHead) tag() (t queue.Tag) {
	copy(t[:], p.Tag)
	return t
}

// head returns the partition's head for a store.
func (p *PartitionHead) head() *queue.PartitionHead {
	h := &queue.PartitionHead{Tag: p.tag(), State: p.state, Items: p.Items, Bytes: p.Bytes}
	for _, m := range p.Marks {
		h.Marks = append(h.Marks, queue.BackupMark(m))
	}
	return h
}

// Segments returns how many segments the partition has.
func (p *PartitionHead) Segments() int { return len(p.Marks) }

// newQueueHead returns what the head says of a queue.
func newQueueHead(b *queue.BackupQueue) QueueHead {
	d := &b.Definition
	q := QueueHead{
		Name: []byte(d.Name), DeadQueue: []byte(d.DeadQueue), Reference: []byte(d.Reference),
		LeaseTimeout: d.LeaseTimeout, ExpireTimeout: d.ExpireTimeout, MaxAttempts: d.MaxAttempts,
		Requested: d.RequestedPartitions, MaxItems: d.MaxItems, MaxBytes: d.MaxBytes, FullPolicy: d.FullPolicy,
		ReleaseOnExit: d.ReleaseOnExit, CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(), Paused: d.Paused,
	}
	for _, place := range d.Places {
		q.Storages = append(q.Storages, []byte(place.Storage))
	}
	for i := range b.Partitions {
		p := &b.Partitions[i]
		h := PartitionHead{Partition: p.Partition, Volatile: p.Volatile}
		if p.Failure != nil {
			h.Failure = p.Failure.Error()
		}
		if p.Head != nil {
			h.Tag, h.Items, h.Bytes, h.state = p.Head.Tag[:], p.Head.Items, p.Head.Bytes, p.Head.State
			for _, m := range p.Head.Marks {
				h.Marks = append(h.Marks, Mark(m))
			}
		}
		q.Partitions = append(q.Partitions, h)
	}
	return q
}

// definition returns the definition of the queue, with places without tags.
func (q *QueueHead) definition() queue.Definition {
	d := queue.Definition{
		Info: queue.Info{
			Name: string(q.Name), DeadQueue: string(q.DeadQueue), Reference: string(q.Reference),
			LeaseTimeout: q.LeaseTimeout, ExpireTimeout: q.ExpireTimeout, MaxAttempts: q.MaxAttempts,
			RequestedPartitions: q.Requested, MaxItems: q.MaxItems, MaxBytes: q.MaxBytes, FullPolicy: q.FullPolicy,
			ReleaseOnExit: q.ReleaseOnExit, CreatedAt: q.CreatedAt, UpdatedAt: q.UpdatedAt,
		},
		Paused: q.Paused,
	}
	for _, name := range q.Storages {
		d.Places = append(d.Places, queue.Place{Storage: string(name)})
	}
	return d
}

// check refuses what cannot be, so that everybody else may rely on it.
func (h *Head) check() error {
	if h.Kind != Full && h.Kind != Incremental && h.Kind != Manifest || h.ID == "" {
		return damaged("its head is of no kind that is known")
	}
	for i := range h.Queues {
		q := &h.Queues[i]
		last := -1
		for j := range q.Partitions {
			p := &q.Partitions[j]
			if p.Partition <= last || p.Partition >= len(q.Storages) || p.has() && len(p.Tag) != queue.TagSize {
				return damaged("its head has an impossible partition %d of queue '%s'", p.Partition, q.Name)
			}
			last = p.Partition
			for k := 1; k < len(p.Marks); k++ {
				if p.Marks[k].Span <= p.Marks[k-1].Span {
					return damaged("its head has the segments of queue '%s' partition %d in no order", q.Name, p.Partition)
				}
			}
		}
	}
	return nil
}

// parts returns the partitions in their order, with their queues.
func (h *Head) parts() (parts []part) {
	for i := range h.Queues {
		for j := range h.Queues[i].Partitions {
			parts = append(parts, part{&h.Queues[i], &h.Queues[i].Partitions[j]})
		}
	}
	return parts
}

type part struct {
	queue *QueueHead
	*PartitionHead
}

// Items returns how many items the back-up is of.
func (h *Head) Items() (n int64) {
	for _, p := range h.parts() {
		n += p.Items
	}
	return n
}

// Failures returns the partitions that could not be backed up, and why.
func (h *Head) Failures() (list []string) {
	for _, p := range h.parts() {
		if p.Failure != "" {
			list = append(list, "queue '"+string(p.queue.Name)+"' partition "+itoa(p.Partition)+": "+p.Failure)
		}
	}
	return list
}

// Volatile returns the queues with partitions that are kept in memory only.
func (h *Head) Volatile() (names []string) {
	for i := range h.Queues {
		for j := range h.Queues[i].Partitions {
			if h.Queues[i].Partitions[j].Volatile {
				names = append(names, string(h.Queues[i].Name))
				break
			}
		}
	}
	return names
}

// Sections returns how many segments a back-up with this head has something of,
// given the one that it goes on from, or nil.
func (h *Head) Sections(since *Head) (n int) {
	for _, p := range h.parts() {
		had := since.marks(string(p.queue.Name), p.tag())
		for _, m := range p.Marks {
			if from := find(had, m.Span); !from.Whole && (m.Whole || from != queue.BackupMark(m)) {
				n++
			}
		}
	}
	return n
}

// marks returns what the back-up has of the partition of that queue and tag.
func (h *Head) marks(name string, tag queue.Tag) []queue.BackupMark {
	if h == nil {
		return nil
	}
	for _, p := range h.parts() {
		if string(p.queue.Name) == name && p.has() && p.tag() == tag {
			return p.head().Marks
		}
	}
	return nil
}

// find returns the mark of a span, one of nothing if there is none.
func find(marks []queue.BackupMark, span uint64) queue.BackupMark {
	for _, m := range marks {
		if m.Span == span {
			return m
		}
	}
	return queue.BackupMark{Span: span}
}

// Encode returns the head as JSON, for BackupRequest of the agent.
func (h *Head) Encode() ([]byte, error) { return json.Marshal(h) }

// DecodeHead reads what Encode wrote. The error Is queue.ErrCorrupt.
func DecodeHead(text []byte) (*Head, error) {
	var h Head
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, damaged("its head cannot be read: %v", err)
	}
	return &h, h.check()
}
