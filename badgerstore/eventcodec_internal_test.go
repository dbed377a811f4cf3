package badgerstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

func randomEvents(r *rand.Rand) *queue.EventBatch {
	b := &queue.EventBatch{Epoch: r.Uint64(), First: 1 + r.Uint64N(1<<50), Bytes: someInt64(r)}
	for range 1 + r.IntN(4) {
		seqs := append(someSeqs(r), someUint64(r))
		b.Groups = append(b.Groups, queue.EventGroup{Type: queue.EventType(r.IntN(eventTypes)), Attempts: someInt32(r), Seqs: seqs})
	}
	return b
}

func randomGaps(r *rand.Rand) []queue.Gap {
	var gaps []queue.Gap
	for range r.IntN(3) {
		first := 1 + r.Uint64N(1<<40)
		gaps = append(gaps, queue.Gap{
			First: first, Last: first + r.Uint64N(1000), Completed: someUint64(r), Dead: someUint64(r), Expired: someUint64(r),
			Dropped: someUint64(r), Bytes: someInt64(r), Reason: queue.GapFull, Boot: "boot", Epoch: r.Uint64(),
			At: queue.Instant{Wall: someInt64(r), Mono: someInt64(r), Untrusted: r.IntN(2) == 0},
		})
	}
	return gaps
}

func randomBook(r *rand.Rand) *queue.EventBook {
	b := &queue.EventBook{
		Delivered: someUint64(r), Fence: someUint64(r), Released: someUint64(r), Dropped: someUint64(r),
		Base: someInt64(r), Last: someInt64(r), Gaps: randomGaps(r),
	}
	first := uint64(0)
	for range r.IntN(5) {
		first += 1 + r.Uint64N(1000)
		b.Epochs = append(b.Epochs, queue.EpochStart{Epoch: r.Uint64(), First: first})
	}
	first = 1
	for range r.IntN(10) {
		first += r.Uint64N(1 << 40)
		run := queue.EventRun{
			First: first, Span: r.Uint64N(maxSpan), Pos: someUint64(r), Spans: sortedSeqs(someSeqs(r)), Bytes: int64(r.Uint32()),
			At:    queue.Instant{Wall: someInt64(r), Mono: someInt64(r), Untrusted: r.IntN(2) == 0},
			Since: someInt64(r), Until: someInt64(r),
		}
		for i := range run.Count {
			run.Count[i] = 1 + r.Uint32N(1000)
		}
		b.Runs = append(b.Runs, run)
		first = run.Last() + 1
	}
	b.Head = first
	return b
}

// TestEventsExample: the example of the prose is what is written.
func TestEventsExample(t *testing.T) {
	allowance := recordSeqRuns
	got := appendEvents(nil, &queue.EventBatch{Epoch: 1, First: 7, Bytes: 300, Groups: []queue.EventGroup{
		{Type: queue.EventCompleted, Attempts: 1, Seqs: []uint64{1<<queue.SpanBits + 2, 1<<queue.SpanBits + 3}}}}, &allowance)
	want := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0x07, 0xd8, 0x04, 0x01, 0x00, 0x02, 0x09, 0x82, 0x80, 0x80, 0x08, 0x01}
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

// TestEventsSize: the events of a complete of 100 items that lie 8 apart.
func TestEventsSize(t *testing.T) {
	b := &queue.EventBatch{Epoch: 1 << 60, First: 1_000_000, Bytes: 32_000, Groups: []queue.EventGroup{{Attempts: 1}}}
	for i := range uint64(100) {
		b.Groups[0].Seqs = append(b.Groups[0].Seqs, 1<<queue.SpanBits+8*i)
	}
	allowance := recordSeqRuns
	if n := len(appendEvents(nil, b, &allowance)); n > 25 {
		t.Errorf("%d bytes, must be 25 at most", n)
	}
}
