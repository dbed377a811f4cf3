package badgerstore

import (
	"testing"
	"unsafe"

	"github.com/kapetan-io/querator-edge/queue"
)

// The blocks that partitions keep take no more memory together than their share,
// and what is let go of is counted back.
func TestKeptBlocksAreBounded(t *testing.T) {
	s := &Storage{options: Options{MemoryBudget: 8 << 20}}
	block := func() *decodedBlock {
		return &decodedBlock{first: 7, items: []queue.Item{{Payload: make([]byte, 100<<10)}, {Payload: make([]byte, 100<<10)}}}
	}
	places := make([]decodedBlock, 20)
	kept := 0
	for i := range places {
		b := block()
		at := s.keepBlock(&places[i], b)
		if !at.holds(8) {
			t.Fatal("what was to be kept cannot be used")
		}
		if at == &places[i] {
			kept++
		}
	}
	if kept != 5 {
		t.Errorf("%d blocks of 200 KiB are kept, want 5 in a MiB", kept)
	}
	if s.keepBlock(&places[0], block()); !places[0].holds(7) {
		t.Error("a block was not kept in the place of another")
	}
	for i := range places {
		s.dropBlock(&places[i])
	}
	if n := s.decoded.Load(); n != 0 {
		t.Errorf("%d bytes are counted although nothing is kept", n)
	}
	small := decodedBlock{items: make([]queue.Item, 4096)}
	if n := small.memory(); n < 4096*int64(unsafe.Sizeof(queue.Item{})) {
		t.Errorf("4096 items without payloads are taken for %d bytes", n)
	}
}

// The buffers for commits do so too, and a partition with few always has some.
func TestKeptBuffersAreBounded(t *testing.T) {
	s := &Storage{options: Options{MemoryBudget: 16 << 20}}
	parts := make([]partition, 20)
	kept := 0
	for range 3 {
		kept = 0
		for i := range parts {
			p := &parts[i]
			p.storage = s
			p.buf, p.packer.raw = make([]byte, 100<<10), make([]byte, 100<<10)
			if i%2 == 0 {
				p.buf, p.packer.raw = make([]byte, leastBuffers), nil
			}
			p.keepBuffers()
			if i%2 == 0 && p.buf == nil {
				t.Fatalf("partition %d has no buffer", i)
			}
			if p.packer.raw != nil {
				kept++
			}
		}
	}
	if n := s.buffers.Load(); n > 1<<20+10*leastBuffers || kept < 4 {
		t.Errorf("%d bytes are kept, %d times 200 KiB", n, kept)
	}
	for i := range parts {
		parts[i].dropBuffers()
	}
	if n := s.buffers.Load(); n != 0 {
		t.Errorf("%d bytes are counted although nothing is kept", n)
	}
}
