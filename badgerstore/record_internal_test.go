package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// someSeqs returns lists such as commits have: runs, strides, strays, doubles.
func someSeqs(r *rand.Rand) []uint64 {
	var seqs []uint64
	for range r.IntN(4) {
		seq, stride := someUint64(r), r.Uint64N(20)
		for range r.IntN(200) {
			seqs = append(seqs, seq)
			seq += stride
		}
	}
	for range r.IntN(5) {
		seqs = append(seqs, someUint64(r))
	}
	return seqs
}

func TestSeqsRoundTrip(t *testing.T) {
	r := newRand(t)
	for range 2000 {
		seqs := someSeqs(r)
		if r.IntN(2) == 0 {
			seqs = sortedSeqs(seqs)
		}
		for _, allowance := range []int{0, 1 << 20} {
			write, read := allowance, allowance
			value := appendSeqs(nil, seqs, &write)
			d := &reader{b: value}
			got := d.seqs(&read)
			if err := d.end("seqs"); err != nil {
				t.Fatalf("%v: %v", seqs, err)
			}
			if !slices.Equal(got, seqs) || read != write {
				t.Fatalf("got %v, want %v; allowance left is %d, want %d", got, seqs, read, write)
			}
		}
	}
}

func TestSeqsAllowance(t *testing.T) {
	seqs := make([]uint64, recordSeqRuns+1)
	for i := range seqs {
		seqs[i] = uint64(i) * 3
	}
	commit := &queue.Commit{Removed: seqs}
	got, err := decodeRecord(appendRecord(nil, commit, 0, 0))
	if err != nil || !slices.Equal(got.Commit.Removed, seqs) {
		t.Fatalf("%d numbers came back as %d, %v", len(seqs), len(got.Commit.Removed), err)
	}
	// One run of more than a record may stand for, and one of 2^60.
	for _, n := range []uint64{recordSeqRuns + 1, 1 << 60} {
		body := []byte{kindRecord | recordVersion, 0, 0, 0, 0, recordRemoved}
		body = binary.AppendUvarint(append(body, 1<<2|seqsRuns, 0), n)
		value := fuzzSeal(append(body, 1, 0, 0, 0, 0, 0))
		used := allocated(func() {
			if _, err := decodeRecord(value); !errors.Is(err, queue.ErrCorrupt) {
				t.Errorf("a run of %d: got %v, want an error that is ErrCorrupt", n, err)
			}
		})
		if used > 1<<20 {
			t.Errorf("a run of %d: %d bytes allocated", n, used)
		}
	}
}

func someTotals(r *rand.Rand) queue.Totals {
	totals := queue.Totals{Cursor: someUint64(r), Ready: someInt64(r), ReadyCreated: someInt64(r), Bytes: someInt64(r)}
	for _, p := range ledgerCounters(&totals.Ledger) {
		*p = someUint64(r)
	}
	return totals
}

func randomCommit(r *rand.Rand) *queue.Commit {
	c := &queue.Commit{
		At:      queue.Instant{Wall: someInt64(r), Mono: someInt64(r)},
		Removed: someSeqs(r),
		Totals:  someTotals(r),
		Sync:    r.IntN(2) == 0,
	}
	if r.IntN(2) == 0 {
		c.Added = queue.Added{First: r.Uint64N(1 << 60), Count: 1 + r.Uint32N(1e6), MinExpire: noMinExpire, MaxExpire: noMaxExpire}
		if c.Added.Ordered = r.IntN(2) == 0; r.IntN(3) > 0 {
			c.Added.MinExpire, c.Added.MaxExpire = someInt64(r), someInt64(r)
		}
	}
	for range r.IntN(4) {
		deadline, wall, attempts := someInt64(r), someInt64(r), someInt32(r)
		for _, seq := range someSeqs(r) {
			c.Leases = append(c.Leases, queue.Lease{Seq: seq, Deadline: deadline, Wall: wall, Attempts: attempts})
		}
	}
	for range r.IntN(5) {
		c.Schedules = append(c.Schedules, queue.Scheduled{Seq: someUint64(r), Due: someInt64(r), DueMono: someInt64(r),
			Attempts: someInt32(r), Size: r.Uint32()})
	}
	if r.IntN(3) == 0 {
		c.Origin = &queue.Origin{From: queue.Tag(randomBytes(r, queue.TagSize)), Seqs: someSeqs(r)}
	}
	if r.IntN(2) == 0 {
		c.Events = randomEvents(r)
		c.At.Untrusted = r.IntN(2) == 0
	}
	if r.IntN(3) == 0 {
		c.Marks = &queue.EventMarks{Delivered: someUint64(r), Fence: someUint64(r), Released: someUint64(r), Dropped: someUint64(r)}
	}
	c.Gaps = randomGaps(r)
	c.Feeds = randomFeeds(r)
	return c
}

// plainCommit is c as a record gives it back: what has no order sorted, and of
// the leases of one item the last.
func plainCommit(c *queue.Commit) *queue.Commit {
	p := *c
	p.Items = nil
	p.Removed = sortedSeqs(p.Removed)
	last := make(map[uint64]queue.Lease)
	for _, l := range p.Leases {
		last[l.Seq] = queue.Lease{Seq: l.Seq, Deadline: l.Deadline, Wall: l.Wall, Attempts: l.Attempts}
	}
	p.Leases = nil
	for _, l := range last {
		p.Leases = append(p.Leases, l)
	}
	slices.SortFunc(p.Leases, func(a, b queue.Lease) int { return cmp.Compare(a.Seq, b.Seq) })
	return &p
}

func TestRecordRoundTrip(t *testing.T) {
	r := newRand(t)
	for range 1000 {
		c, n, synced := randomCommit(r), someUint64(r), someUint64(r)
		leases, removed := slices.Clone(c.Leases), slices.Clone(c.Removed)
		value := appendRecord([]byte("before"), c, n, synced)[len("before"):]
		checkEqual(t, "the commit's leases after encoding", c.Leases, leases)
		checkEqual(t, "the commit's removed after encoding", c.Removed, removed)
		got, err := decodeRecord(value)
		if err != nil {
			t.Fatal(err)
		}
		if got.N != n || got.Synced != synced {
			t.Fatalf("numbers %d and %d, want %d and %d", got.N, got.Synced, n, synced)
		}
		checkEqual(t, "commit", plainCommit(&got.Commit), plainCommit(c))
	}
}

// A commit that was read back must do to a state what the commit itself did.
func TestRecordReplay(t *testing.T) {
	c := &queue.Commit{At: testAt,
		Leases:  []queue.Lease{{Seq: 7, Deadline: 9, Wall: 9, Attempts: 1}, {Seq: 3, Deadline: 5}, {Seq: 7, Deadline: 2, Wall: 2, Attempts: 2}},
		Removed: []uint64{9, 3},
		Added:   queue.Added{First: 5, Count: 6, MinExpire: 1, MaxExpire: 2, Ordered: true},
	}
	rec, err := decodeRecord(appendRecord(nil, c, 0, math.MaxUint64))
	if err != nil {
		t.Fatal(err)
	}
	want, got := queue.NewState(testTag, "b"), queue.NewState(testTag, "b")
	want.Apply(c)
	got.Apply(&rec.Commit)
	checkEqual(t, "state", got, want)
}

// typicalTotals are those of a partition that has been busy for months.
func typicalTotals() queue.Totals {
	return queue.Totals{
		Cursor: 300<<queue.SpanBits + 99_999, Ready: 1000, ReadyCreated: 1000 * (testAt.Wall/1e6 - 3_000), Bytes: 320_000,
		Ledger: queue.Ledger{Produced: 90_000_000, Completed: 89_998_000, Leases: 90_100_000},
	}
}

// typicalCommits are the three that a partition mostly sees, with the size that
// record.go promises.
func typicalCommits() map[string]struct {
	commit queue.Commit
	size   int
} {
	first := uint64(300<<queue.SpanBits + 100_000)
	expire := testAt.Wall + 86_400_000_000_000
	produce := queue.Commit{At: testAt, Totals: typicalTotals(), Sync: true,
		Added: queue.Added{First: first, Count: 1, MinExpire: expire, MaxExpire: expire, Ordered: true}}
	lease := queue.Commit{At: testAt, Totals: typicalTotals()}
	complete := queue.Commit{At: testAt, Totals: typicalTotals(), Sync: true}
	for i := range uint64(100) {
		lease.Leases = append(lease.Leases, queue.Lease{Seq: first + i, Deadline: testAt.Mono + 60e9, Wall: testAt.Wall + 60e9, Attempts: 1})
		complete.Removed = append(complete.Removed, first+8*i)
	}
	return map[string]struct {
		commit queue.Commit
		size   int
	}{"record-produce": {produce, 70}, "record-lease": {lease, 90}, "record-complete": {complete, 80}}
}

func TestRecordSizes(t *testing.T) {
	for name, c := range typicalCommits() {
		value := appendRecord(nil, &c.commit, 12_345, 12_344)
		t.Logf("%s: %d bytes", name, len(value))
		if len(value) >= c.size {
			t.Errorf("%s: %d bytes, must be under %d", name, len(value), c.size)
		}
	}
}

func exampleRecords() map[string][]byte {
	records := map[string][]byte{
		"record-example": appendRecord(nil, &queue.Commit{
			At: queue.Instant{Wall: 1000, Mono: 50}, Removed: []uint64{1<<queue.SpanBits + 3, 1<<queue.SpanBits + 2},
			Totals: queue.Totals{Cursor: 1<<queue.SpanBits + 4, Ledger: queue.Ledger{Completed: 2}},
		}, 5, 4),
		"record-all": appendRecord(nil, &queue.Commit{
			At:        testAt,
			Added:     queue.Added{First: 8, Count: 3, MinExpire: noMinExpire, MaxExpire: noMaxExpire, Ordered: true},
			Leases:    []queue.Lease{{Seq: 1, Deadline: math.MinInt64, Wall: 7, Attempts: 3}, {Seq: 8, Deadline: 5, Wall: 6}, {Seq: 9, Deadline: 5, Wall: 6}},
			Schedules: []queue.Scheduled{{Seq: 10, Due: testAt.Wall + 1, DueMono: 9, Attempts: 2, Size: 80}},
			Removed:   []uint64{1, 2, 3, 4, 7},
			Origin:    &queue.Origin{From: testTag, Seqs: []uint64{9, 5, 7}},
			Totals:    typicalTotals(), Sync: true,
		}, 0, math.MaxUint64),
		"record-events": appendRecord(nil, &queue.Commit{
			At: queue.Instant{Wall: 1000, Mono: 50, Untrusted: true}, Removed: []uint64{1<<queue.SpanBits + 2, 1<<queue.SpanBits + 3},
			Events: &queue.EventBatch{Epoch: 1, First: 7, Bytes: 300, Groups: []queue.EventGroup{
				{Type: queue.EventCompleted, Attempts: 1, Seqs: []uint64{1<<queue.SpanBits + 2, 1<<queue.SpanBits + 3}}}},
			Marks: &queue.EventMarks{Delivered: 5, Fence: 300, Released: 4, Dropped: 2},
			Gaps: []queue.Gap{{First: 3, Last: 4, Completed: 2, Bytes: 90, Reason: queue.GapFull,
				At: queue.Instant{Wall: 900, Mono: 40}, Boot: "b", Epoch: 2}},
			Totals: queue.Totals{Cursor: 1<<queue.SpanBits + 4, Ledger: queue.Ledger{Completed: 2}},
		}, 5, 4),
	}
	for name, c := range typicalCommits() {
		records[name] = appendRecord(nil, &c.commit, 12_345, 12_344)
	}
	return records
}

func decodeRecordOnly(value []byte) error {
	_, err := decodeRecord(value)
	return err
}

func TestRecordBroken(t *testing.T) {
	for name, value := range exampleRecords() {
		checkBroken(t, value, decodeRecordOnly)
		checkNewer(t, value, decodeRecordOnly)
		checkGolden(t, name, value)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, value := range exampleRecords() {
		f.Add(value[:len(value)-sumSize])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rec, err := decodeRecord(fuzzSeal(body))
		if err != nil {
			if !isBroken(err) {
				t.Fatalf("got %v, want an error that is ErrCorrupt or ErrFormat", err)
			}
			return
		}
		again, err := decodeRecord(appendRecord(nil, &rec.Commit, rec.N, rec.Synced))
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "commit", plainCommit(&again.Commit), plainCommit(&rec.Commit))
	})
}

func BenchmarkRecord(b *testing.B) {
	for name, c := range typicalCommits() {
		value := appendRecord(nil, &c.commit, 12_345, 12_344)
		b.Run(name+"-encode", func(b *testing.B) {
			b.ReportAllocs()
			buf := bytes.Clone(value)
			for b.Loop() {
				buf = appendRecord(buf[:0], &c.commit, 12_345, 12_344)
			}
		})
		b.Run(name+"-decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeRecord(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
