package memstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

// adder adds items of 1000 bytes to a partition and takes them away.
type adder struct {
	t  *testing.T
	ps queue.PartitionStore
}

func openAdder(t *testing.T, s *memstore.Storage, no int) *adder {
	t.Helper()
	ps, err := s.OpenPartition(queue.PartitionKey{Queue: "queue", Partition: no, Tag: queue.Tag{byte(no), 1}})
	if err != nil {
		t.Fatal(err)
	}
	return &adder{t, ps}
}

// add adds one item, leased, and returns its sequence number.
func (a *adder) add() (uint64, error) {
	a.t.Helper()
	item := queue.Item{Payload: []byte(strings.Repeat("x", 1000))}
	first, err := a.ps.Reserve(1, item.Size())
	if err != nil {
		return 0, err
	}
	st := a.ps.State()
	c := &queue.Commit{Items: []queue.Item{item}, Added: queue.Added{First: first, Count: 1, MaxExpire: -1}, Leases: []queue.Lease{{Seq: first}}}
	st.Add(c.At, &c.Added)
	st.SetLease(c.Leases[0])
	st.SetCursor(first + 1)
	c.Totals = st.Totals
	if err := a.ps.Commit(c); err != nil {
		a.t.Fatal(err)
	}
	return first, nil
}

func (a *adder) remove(seqs ...uint64) {
	a.t.Helper()
	if _, err := a.ps.Reserve(0, 0); err != nil {
		a.t.Fatalf("nothing can be removed: %v", err)
	}
	st := a.ps.State()
	for _, seq := range seqs {
		st.Remove(seq)
	}
	if err := a.ps.Commit(&queue.Commit{Removed: seqs, Totals: st.Totals}); err != nil {
		a.t.Fatal(err)
	}
}

// TestBound: all partitions share the bound; what is removed makes room at once.
func TestBound(t *testing.T) {
	s := memstore.New(memstore.Options{MaxBytes: 100_000})
	a, b := openAdder(t, s, 0), openAdder(t, s, 1)
	var seqs []uint64
	for {
		seq, err := a.add()
		if err != nil {
			if !errors.Is(err, queue.ErrFull) {
				t.Fatal(err)
			}
			break
		}
		seqs = append(seqs, seq)
	}
	if len(seqs) < 70 || len(seqs) > 100 {
		t.Fatalf("%d items of 1000 bytes fit into 100,000", len(seqs))
	}
	if _, err := b.add(); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("the other partition: %v, want %v", err, queue.ErrFull)
	}
	a.remove(seqs[3])
	seq, err := b.add()
	if err != nil {
		t.Fatalf("there is room for one: %v", err)
	}
	if _, err := a.add(); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("there is room for one only: %v", err)
	}
	b.remove(seq)
	a.remove(append(seqs[:3:3], seqs[4:]...)...)
	if used := a.ps.Usage().DiskBytes + b.ps.Usage().DiskBytes; used != 0 {
		t.Fatalf("nothing is held in %d bytes", used)
	}
	if _, err := a.ps.Reserve(1, 100_001); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("an item larger than all of it: %v", err)
	}
}

// TestReserveIsGivenBack: what is reserved and not used is free again with the
// next call, or when the partition is closed.
func TestReserveIsGivenBack(t *testing.T) {
	s := memstore.New(memstore.Options{MaxBytes: 100_000})
	a, b := openAdder(t, s, 0), openAdder(t, s, 1)
	reserve := func(a *adder, size int64, want error) {
		t.Helper()
		if _, err := a.ps.Reserve(1, size); !errors.Is(err, want) {
			t.Fatalf("reserve %d: %v, want %v", size, err, want)
		}
	}
	for range 3 {
		reserve(a, 90_000, nil)
		reserve(b, 90_000, queue.ErrFull)
		reserve(a, 1000, nil)
		reserve(b, 90_000, nil)
		reserve(b, 0, nil)
		reserve(a, 90_000, nil)
		if err := a.ps.Close(); err != nil {
			t.Fatal(err)
		}
		reserve(b, 90_000, nil)
		reserve(b, 0, nil)
		a = openAdder(t, s, 0)
	}
}

// TestSpans: a span begins every 65,536 items and after each opening, and goes
// when nothing of it is left.
func TestSpans(t *testing.T) {
	s := memstore.New(memstore.Options{MaxBytes: 200 << 20})
	a := openAdder(t, s, 0)
	first, _ := a.add()
	for range 1<<16 - 1 {
		if _, err := a.add(); err != nil {
			t.Fatal(err)
		}
	}
	next, _ := a.add()
	if queue.Span(next) != queue.Span(first)+1 {
		t.Fatalf("item 65,537 is in span %d, the first is in %d", queue.Span(next), queue.Span(first))
	}
	if err := a.ps.Close(); err != nil {
		t.Fatal(err)
	}
	a = openAdder(t, s, 0)
	last, _ := a.add()
	if queue.Span(last) != queue.Span(next)+1 {
		t.Fatalf("after opening, items go to span %d, before to %d", queue.Span(last), queue.Span(next))
	}
	if n := a.ps.Usage().Segments; n != 3 {
		t.Fatalf("%d spans, want 3", n)
	}
	a.remove(next)
	if n := a.ps.Usage().Segments; n != 2 {
		t.Fatalf("%d spans, want 2", n)
	}
}

// TestMisuse: an opened partition cannot be opened again or removed, a closed
// one refuses everything.
func TestMisuse(t *testing.T) {
	s := memstore.New(memstore.Options{})
	key := queue.PartitionKey{Queue: "queue", Tag: queue.Tag{1}}
	ps, err := s.OpenPartition(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenPartition(key); !errors.Is(err, queue.ErrLocked) {
		t.Errorf("open again: %v", err)
	}
	if err := s.RemovePartition(key); !errors.Is(err, queue.ErrLocked) {
		t.Errorf("remove an open one: %v", err)
	}
	st := ps.State()
	st.Totals.Ready = 1
	if err := ps.Commit(&queue.Commit{}); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("commit with other totals than the state's: %v", err)
	}
	if err := ps.Sync(); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("sync after a failure: %v", err)
	}
	if err := ps.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ps.Reserve(0, 0); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("reserve after close: %v", err)
	}
	if _, _, err := ps.Read(0, 1, 1); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}
