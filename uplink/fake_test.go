package uplink_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
)

// truth is all that was ever produced, of every device and every timeline: payload by identity.
type truth struct {
	mu      sync.Mutex
	payload map[eventID]string
	order   map[partName][]eventID
}

type partName struct {
	queue     string
	partition int
}

type eventID struct {
	partName
	epoch, seq uint64
}

func newTruth() *truth {
	return &truth{payload: map[eventID]string{}, order: map[partName][]eventID{}}
}

func (tr *truth) add(id eventID, payload string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.payload[id] = payload
	tr.order[id.partName] = append(tr.order[id.partName], id)
}

// source is a fake: outboxes in memory, with the rules of the real one.
type source struct {
	mu      sync.Mutex
	boxes   []*box
	changed chan struct{}
}

func newSource(tr *truth, names ...partName) *source {
	s := &source{changed: make(chan struct{}, 1)}
	for _, n := range names {
		b := &box{name: n, truth: tr, poke: s.poke, retain: 1 << 30}
		b.restart()
		s.boxes = append(s.boxes, b)
	}
	return s
}

func (s *source) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *source) Outboxes() []uplink.Outbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]uplink.Outbox, len(s.boxes))
	for i, b := range s.boxes {
		list[i] = b
	}
	return list
}

// drained reports whether all events are delivered.
func (s *source) drained() bool {
	return !slices.ContainsFunc(s.boxes, func(b *box) bool { return b.delivered() < b.head() })
}

func (s *source) Changed() <-chan struct{} { return s.changed }

// box is the outbox of one partition. Delivered is lazily persisted: restart forgets what was not saved.
type box struct {
	name   partName
	truth  *truth
	poke   func()
	retain uint64 // how many delivered events are kept

	mu     sync.Mutex
	disk   disk
	memory struct{ delivered, fence uint64 }
	fail   error // for every call
	seal   bool  // events stay as they are written, without being on flash
	synced uint64
	size   int // of payloads
}

// disk is what a power cut leaves.
type disk struct {
	events           []queue.Event // ascending
	head             uint64
	epochs           []queue.EpochStart
	delivered, fence uint64
}

func (d *disk) clone() disk {
	c := *d
	c.events, c.epochs = slices.Clone(d.events), slices.Clone(d.epochs)
	return c
}

func (b *box) Queue() string  { return b.name.queue }
func (b *box) Partition() int { return b.name.partition }

// restart is a new process on the same disk.
func (b *box) restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.memory.delivered, b.memory.fence = b.disk.delivered, b.disk.fence
	b.disk.epochs = append(b.disk.epochs, queue.EpochStart{Epoch: rand.Uint64(), First: b.disk.head + 1})
}

// snapshot is an image of the card, and restore puts one in.
func (b *box) snapshot() disk {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.disk.clone()
}

func (b *box) restore(d disk) {
	b.mu.Lock()
	b.disk = d.clone()
	b.mu.Unlock()
	b.restart()
}

// saveDelivered is what happens now and then by itself.
func (b *box) saveDelivered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disk.delivered, b.disk.fence = b.memory.delivered, b.memory.fence
}

func (b *box) epoch() uint64 { return b.disk.epochs[len(b.disk.epochs)-1].Epoch }

// produce completes n items.
func (b *box) produce(n int) {
	b.mu.Lock()
	for range n {
		b.disk.head++
		payload := fmt.Sprintf("%s/%d/%d/%x", b.name.queue, b.name.partition, b.disk.head, rand.Uint64())
		if b.size > 0 {
			pad := make([]byte, b.size)
			for i := range pad {
				pad[i] = 'a' + byte(i%26)
			}
			payload += string(pad)
		}
		var tag queue.Tag
		binary.BigEndian.PutUint64(tag[:], b.disk.head)
		e := queue.Event{
			Epoch: b.epoch(), Seq: b.disk.head, Type: queue.EventCompleted, Boot: "boot",
			At:          queue.Instant{Wall: time.Now().UnixNano(), Mono: int64(time.Hour)},
			Item:        queue.Item{ID: queue.NewID(b.disk.head, tag), Payload: []byte(payload), Attempts: 1, CreatedAt: time.Now()},
			PayloadSize: int64(len(payload)),
		}
		b.disk.events = append(b.disk.events, e)
		b.truth.add(eventID{b.name, e.Epoch, e.Seq}, payload)
	}
	b.mu.Unlock()
	b.poke()
}

// drop makes room: the oldest n events become a gap.
func (b *box) drop(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first, last := b.disk.events[0], b.disk.events[n-1]
	g := &queue.Gap{First: first.Seq, Last: last.Seq, Completed: last.Seq - first.Seq + 1, Reason: queue.GapFull}
	if first.Type == queue.EventGap {
		g.First = first.Gap.First
		g.Completed = g.Last - g.First + 1
	}
	e := queue.Event{Epoch: b.epoch(), Seq: g.Last, Type: queue.EventGap, At: last.At, Boot: "boot", Gap: g}
	b.disk.events = append([]queue.Event{e}, b.disk.events[n:]...)
}

func (b *box) lastOnFlash() uint64 {
	if b.seal {
		return b.synced
	}
	return b.disk.head
}

func (b *box) State(context.Context) (queue.OutboxState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := queue.OutboxState{
		Epoch: b.epoch(), Head: b.lastOnFlash(), Delivered: b.memory.delivered, Fence: b.memory.fence,
		Retained: b.disk.head + 1, Epochs: slices.Clone(b.disk.epochs),
	}
	st.Pending = st.Head - st.Delivered
	if len(b.disk.events) > 0 {
		st.Retained = b.disk.events[0].Seq
		if g := b.disk.events[0].Gap; g != nil {
			st.Retained = g.First
		}
	}
	return st, b.fail
}

func (b *box) Read(_ context.Context, after uint64, maxEvents int, maxBytes int64, payload bool) ([]queue.Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, _ := slices.BinarySearchFunc(b.disk.events, after+1, func(e queue.Event, seq uint64) int {
		return int(int64(e.Seq) - int64(seq))
	})
	var list []queue.Event
	for _, e := range b.disk.events[i:] {
		maxBytes -= e.Item.Size()
		if len(list) == maxEvents || len(list) > 0 && maxBytes < 0 || e.Seq > b.lastOnFlash() {
			break
		}
		if !payload {
			e.Item.Payload = nil
		}
		list = append(list, e)
	}
	return list, b.fail
}

func (b *box) Delivered(_ context.Context, seq, fence uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq > b.disk.head {
		return fmt.Errorf("event %d is delivered before it is produced; the last is %d", seq, b.disk.head)
	}
	b.memory.delivered, b.memory.fence = max(b.memory.delivered, seq), fence
	keep := 0
	for keep < len(b.disk.events) && b.disk.events[keep].Seq+b.retain <= b.memory.delivered {
		keep++
	}
	if keep > 0 {
		b.disk.events = slices.Clone(b.disk.events[keep:])
		b.disk.delivered, b.disk.fence = b.memory.delivered, b.memory.fence
	}
	return b.fail
}

func (b *box) delivered() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memory.delivered
}

func (b *box) head() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.disk.head
}

// eventually waits until something is so. The deadline is far away, so that only what never comes fails.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never came: %s", what)
		}
	}
}
