package queuetest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// RunStore runs the conformance suite. open is called for each test and returns
// a harness over an empty place.
func RunStore(t *testing.T, open func(t testing.TB) Harness) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"Empty", testEmpty},
		{"Life", testLife},
		{"Fields", testFields},
		{"ReadLimits", testReadLimits},
		{"ReserveWithoutUse", testReserveWithoutUse},
		{"SequenceRises", testSequenceRises},
		{"Leases", testLeases},
		{"LeaseWithProduce", testLeaseWithProduce},
		{"ImportedLeases", testImportedLeases},
		{"Extend", testExtend},
		{"Reboot", testReboot},
		{"Moves", testMoves},
		{"Schedules", testSchedules},
		{"Retry", testRetry},
		{"RemovedAhead", testRemovedAhead},
		{"Clear", testClear},
		{"SourceIDs", testSourceIDs},
		{"SourceIDNeighbours", testSourceIDNeighbours},
		{"Origins", testOrigins},
		{"Feeds", testFeeds},
		{"BigItem", testBigItem},
		{"BigCommit", testBigCommit},
		{"ManyCommits", testManyCommits},
		{"ManyItems", testManyItems},
		{"LongLease", testLongLease},
		{"UsageGoesBack", testUsageGoesBack},
		{"SetAside", testSetAside},
		{"Partitions", testPartitions},
		{"PartitionsAtOnce", testPartitionsAtOnce},
		{"RemovePartition", testRemovePartition},
		{"Recreate", testRecreate},
		{"Meta", testMeta},
		{"MetaUpdates", testMetaUpdates},
		{"MetaAtOnce", testMetaAtOnce},
		{"Random", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func testEmpty(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.verify()
	d.p.restart()
	if _, found, err := d.ps.FindSource("none"); found || err != nil {
		t.Fatalf("find source in an empty partition: %t, %v", found, err)
	}
	if items, err := d.ps.Get(nil); len(items) != 0 || err != nil {
		t.Fatalf("get of nothing: %v, %v", items, err)
	}
	d.commit(change{}) // A commit of nothing but totals.
	if err := d.ps.Maintain(true); err != nil {
		t.Fatal(err)
	}
	if err := d.ps.Sync(); err != nil {
		t.Fatal(err)
	}
	d.p.finish()
}

func testLife(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(items(3)...)
	d.produce(items(1)...)
	d.verify()
	a := d.lease(2, true)
	d.verify()
	d.complete(a[0])
	d.verify()
	d.p.copied()
	d.p.restart()
	d.verify()
	d.produce(items(2)...)
	b := d.lease(3, true)
	d.complete(b...)
	d.complete(a[1])
	if len(d.held) != 1 || b[0] <= a[1] {
		t.Fatalf("%d items are left, leased were %d and %d", len(d.held), a, b)
	}
	d.p.finish()
}

// testFields sees every field of an item come back as it was.
func testFields(t *testing.T, h Harness) {
	d := newDriver(t, h)
	east := time.FixedZone("east", 3*3600)
	list := []queue.Item{
		{},
		{Payload: []byte{}},
		{Payload: []byte{0}},
		{Payload: []byte("\xff\xfe\x00 not UTF-8 \x80")},
		{SourceID: "\xff\xff", Kind: "\x00", Encoding: "é", Reference: " "},
		{SourceID: strings.Repeat("s", 2000), Kind: strings.Repeat("k", 2000), Encoding: strings.Repeat("e", 2000), Reference: strings.Repeat("r", 2000)},
		{Attempts: 1, MaxAttempts: 65536},
		{Attempts: math.MaxInt32, MaxAttempts: math.MaxInt32},
		{Attempts: -1, MaxAttempts: math.MinInt32},
		{IsLeased: true},
		{LeaseDeadline: day},
		{IsLeased: true, LeaseDeadline: day, EnqueueAt: day.Add(1), CreatedAt: day.Add(2), ExpireDeadline: day.Add(3)},
		{CreatedAt: time.Unix(0, 0).UTC(), ExpireDeadline: time.Unix(0, 0).UTC()},
		{CreatedAt: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), ExpireDeadline: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		{CreatedAt: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), ExpireDeadline: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)},
		{LeaseDeadline: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), EnqueueAt: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)},
		{CreatedAt: time.Date(1677, 1, 1, 0, 0, 0, 0, time.UTC), ExpireDeadline: time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC)},
		{CreatedAt: day.In(east), ExpireDeadline: day.Add(time.Hour).In(east), LeaseDeadline: day.In(east), EnqueueAt: day.In(east)},
	}
	for i := range list {
		d.produce(list[i])
		if list[i].SourceID != "" {
			list[i].SourceID += "2"
		}
	}
	d.produce(list...)
	d.verify()
	d.p.copied()
	d.p.finish()
}

func testReadLimits(t *testing.T, h Harness) {
	d := newDriver(t, h)
	first := d.produce(items(100)...)
	d.produce(items(100)...)
	size := itemSize()
	for _, c := range []struct {
		from     uint64
		maxItems int
		maxBytes int64
		least    int
		most     int
	}{
		{first, 1, math.MaxInt64, 1, 1},
		{first, 10, math.MaxInt64, 1, 10},
		{first, 1000, 0, 1, 1}, // At least one, whatever its size.
		{first, 1000, 1, 1, 1},
		{first, 1000, 10 * size, 1, 11},
		{first + 150, 1000, math.MaxInt64, 1, 50},
		{first + 199, 1000, math.MaxInt64, 1, 1},
		{first + 200, 1000, math.MaxInt64, 0, 0},
		{first + 1_000_000, 1000, math.MaxInt64, 0, 0},
		{math.MaxUint64, 1, math.MaxInt64, 0, 0},
	} {
		got := d.read(c.from, c.maxItems, c.maxBytes)
		if len(got) < c.least || len(got) > c.most {
			t.Errorf("read from %d, at most %d items and %d bytes: %d items, want %d to %d",
				c.from-first, c.maxItems, c.maxBytes, len(got), c.least, c.most)
		}
		if len(got) > 0 && got[0].Seq() != c.from {
			t.Errorf("read from %d begins at %d", c.from, got[0].Seq())
		}
	}
	d.p.finish()
}

func itemSize() int64 {
	it := item(10)
	return it.Size()
}

func testReserveWithoutUse(t *testing.T, h Harness) {
	d := newDriver(t, h)
	reserve := func(n int, size int64) {
		t.Helper()
		first, err := d.ps.Reserve(n, size)
		if err != nil || first < d.next {
			t.Fatalf("reserve: %d, %v; want at least %d", first, err, d.next)
		}
		d.verify()
	}
	reserve(1000, 1_000_000)
	reserve(0, 0)
	d.produce(items(5)...)
	reserve(10, 50_000_000) // More than a span has room for.
	reserve(10, 1000)
	a := d.lease(2, false)
	reserve(10, 1000)
	d.p.restart()
	reserve(10, 1000)
	d.p.restart()
	d.complete(a...)
	d.produce(items(5)...)

	// A commit may take less than was reserved for it.
	first, err := d.ps.Reserve(500, 5_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.produce(items(1)...); got < d.st.Next-1 || got < first-500 {
		t.Fatalf("an item got %d after %d was reserved", got, first)
	}
	d.p.finish()
}

func testSequenceRises(t *testing.T, h Harness) {
	d := newDriver(t, h)
	for range 4 {
		d.produce(items(2)...)
		d.p.restart()
		d.complete(d.lease(1, true)...)
		d.p.restart()
		d.p.restart()
	}
	// Nothing is left: the numbers that were given out stay given out.
	d.complete(d.lease(100, true)...)
	if err := d.ps.Maintain(true); err != nil {
		t.Fatal(err)
	}
	last := d.next
	d.p.restart()
	if first := d.produce(items(1)...); first < last {
		t.Fatalf("an item got %d again, %d was given out", first, last-1)
	}
	d.p.finish()
}

func testBigItem(t *testing.T, h Harness) {
	rng := newRand(1)
	d := newDriver(t, h)
	d.produce(item(1), bigItem(rng, 2, 5_000_000), item(3))
	big := item(4)
	big.Payload = slices.Repeat([]byte("much of the same, "), 300_000)
	d.produce(big)
	d.verify()
	a := d.lease(2, true)
	d.p.copied()
	d.p.restart()
	d.verify()
	b := d.retry(a[1])
	d.complete(a[0])
	d.verify()
	if got := d.read(b, 10, 100); len(got) != 1 || len(got[0].Payload) != 5_000_000 {
		t.Fatalf("the big item is not at the tail: %d items", len(got))
	}
	d.p.finish()
}

// testBigCommit is one commit that is larger than any span is meant to be, such
// as an import makes.
func testBigCommit(t *testing.T, h Harness) {
	rng := newRand(2)
	d := newDriver(t, h)
	d.produce(items(3)...)
	list := make([]queue.Item, 1000)
	for i := range list {
		list[i] = bigItem(rng, i, 60_000)
		list[i].SourceID = fmt.Sprint("big-", i)
	}
	d.produce(list...)
	d.produce(items(3)...)
	d.verify()
	d.p.restart()
	d.verify()
	a := d.lease(500, true)
	d.complete(a...)
	d.p.restart()
	if _, found, err := d.ps.FindSource("big-100"); found || err != nil {
		t.Fatalf("a completed item is found: %v", err)
	}
	d.p.finish()
}
