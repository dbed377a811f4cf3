package badgerstore

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

const (
	blockOfTest = 100     // items
	sizeOfTest  = 2 << 10 // bytes of each
)

// fillBlocks commits blocks of items; of each those from leased on are leased.
func fillBlocks(t *testing.T, p *partition, blocks, leased int) (first uint64) {
	t.Helper()
	rng := newRand(t)
	for b := range blocks {
		seq, err := p.Reserve(blockOfTest, blockOfTest*sizeOfTest)
		if err != nil {
			t.Fatal(err)
		}
		if b == 0 {
			first = seq
		}
		items := make([]queue.Item, blockOfTest)
		for i := range items {
			items[i].Payload = append(fmt.Appendf(nil, "%d ", seq+uint64(i)), randomBytes(rng, sizeOfTest)...)
		}
		c := queue.Commit{Sync: true, Items: number(items, seq, testAt),
			Added: queue.Added{First: seq, Count: blockOfTest, MinExpire: noMinExpire, MaxExpire: noMaxExpire}}
		p.state.Add(c.At, &c.Added)
		for i := leased; i < blockOfTest; i++ {
			l := queue.Lease{Seq: seq + uint64(i), Deadline: int64(time.Hour), Wall: int64(time.Hour), Attempts: 1}
			c.Leases = append(c.Leases, l)
			p.state.SetLease(l)
		}
		if err := p.Commit(&c); err != nil {
			t.Fatal(err)
		}
	}
	return first
}

// checkPayloads checks that items are the ones that fillBlocks made, from seq on.
func checkPayloads(t *testing.T, items []queue.Item, seq uint64) {
	t.Helper()
	for i := range items {
		if n := seq + uint64(i); items[i].Seq() != n || !bytes.HasPrefix(items[i].Payload, fmt.Appendf(nil, "%d ", n)) {
			t.Fatalf("item %d is %d with %.20q", n, items[i].Seq(), items[i].Payload)
		}
	}
}

// heldBy returns how many bytes of the heap what read returns takes.
func heldBy(read func() any) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := read()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// Few items of a block do not hold all of it, whether they are all that is ready in it or
// all that was asked for.
func TestFewItemsDoNotHoldTheirBlock(t *testing.T) {
	const blocks = 40
	for name, test := range map[string]struct {
		leased int
		read   func(p *partition, first uint64) []queue.Chunks
		items  int
	}{
		"one is ready in each": {1, func(p *partition, first uint64) []queue.Chunks {
			chunks, _, err := p.Read(first, 1000, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			return []queue.Chunks{chunks}
		}, blocks},
		"few were asked for": {blockOfTest, func(p *partition, first uint64) (all []queue.Chunks) {
			for b := range uint64(blocks) {
				chunks, _, err := p.Read(first+b*blockOfTest, 5, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, chunks)
			}
			return all
		}, 5 * blocks},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := openForTest(t, Options{})
			first := fillBlocks(t, p, blocks, test.leased)
			var all []queue.Chunks
			held := heldBy(func() any {
				all = test.read(p, first)
				return all
			})
			n := 0
			for _, chunks := range all {
				for it := range chunks.All() {
					checkPayloads(t, []queue.Item{*it}, it.Seq())
					n++
				}
			}
			if n != test.items {
				t.Fatalf("%d items were read, want %d", n, test.items)
			}
			// The partition itself keeps a block or two.
			if most := int64(n)*(sizeOfTest+itemMemory)*2 + 3*blockOfTest*(sizeOfTest+itemMemory); held > most {
				t.Errorf("%d items of %d bytes hold %d bytes, want %d at most", n, sizeOfTest, held, most)
			}
		})
	}
}

// Who reads most of a block has it as it is, in parts if it is read in parts, and the
// partition keeps nothing of it.
func TestBlockIsHandedOver(t *testing.T) {
	s, p := openForTest(t, Options{})
	first := fillBlocks(t, p, 2, blockOfTest)
	for _, parts := range [][]int{{1000}, {blockOfTest, blockOfTest}, {50, 50, 100}, {30, 100, 30, 40}} {
		seq := first
		for _, n := range parts {
			chunks, next, err := p.Read(seq, n, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			got := uint64(0)
			for _, c := range chunks {
				checkPayloads(t, c, seq+got)
				got += uint64(len(c))
				if len(c) < cap(c) {
					t.Errorf("a chunk of %d items has room for %d, which may be somebody else's", len(c), cap(c))
				}
			}
			if want := min(uint64(n), 2*blockOfTest); got != want || next != seq+got {
				t.Fatalf("%d items were read, and %d is next, want %d and %d", got, next, want, seq+want)
			}
			seq = next
			for _, c := range chunks {
				clear(c) // They are ours.
			}
		}
		if p.block.holds(first) || p.block.holds(seq-1) || s.decoded.Load() != 0 {
			t.Errorf("read in parts of %v: a block is kept, with %d bytes", parts, s.decoded.Load())
		}
	}
	// Whoever looks at an item later finds it.
	items, err := p.Get([]uint64{first, first + 3, first + 2*blockOfTest - 1})
	if err != nil {
		t.Fatal(err)
	}
	checkPayloads(t, items[:1], first)
	checkPayloads(t, items[1:2], first+3)
	checkPayloads(t, items[2:], first+2*blockOfTest-1)
}
