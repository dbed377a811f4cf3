package badgerstore_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

var testTag = queue.Tag{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// driver does with a partition what the engine does: it changes the state and
// commits the change.
type driver struct {
	t     testing.TB
	s     *badgerstore.Storage
	o     badgerstore.Options
	key   queue.PartitionKey
	ps    queue.PartitionStore
	st    *queue.State
	at    queue.Instant
	ready []uint64 // sequence numbers, in order
	out   []uint64 // leased
	lazy  bool     // produce does not sync
}

// newDriver opens a storage with these options and a partition in it. The store
// is checked when the test ends.
func newDriver(t testing.TB, o badgerstore.Options) *driver {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Boot == "" {
		o.Boot = "boot-1"
	}
	if o.Events.Failed == nil {
		o.Events.Failed = func(dir string, err error) { t.Errorf("in the background, %s: %v", dir, err) }
	}
	d := &driver{t: t, o: o, key: queue.PartitionKey{Queue: "readings", Tag: testTag},
		at: queue.Instant{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano(), Mono: int64(time.Hour)}}
	d.open()
	t.Cleanup(func() {
		if d.s != nil {
			d.close()
		}
		checkStore(t, d.o.Dir)
	})
	return d
}

func (d *driver) open() {
	d.t.Helper()
	s, err := badgerstore.New(d.o)
	if err != nil {
		d.t.Fatal(err)
	}
	d.s = s
	d.ps, err = s.OpenPartition(d.key)
	if err != nil {
		d.t.Fatal(err)
	}
	d.st = d.ps.State()
	if got, want := d.st.Held(), int64(len(d.ready)+len(d.out)); got != want {
		d.t.Fatalf("the partition holds %d items after opening, want %d", got, want)
	}
}

func (d *driver) close() {
	d.t.Helper()
	if err := d.ps.Close(); err != nil {
		d.t.Fatalf("close partition: %v", err)
	}
	if err := d.s.Close(); err != nil {
		d.t.Fatalf("close storage: %v", err)
	}
	d.s, d.ps, d.st = nil, nil, nil
}

func (d *driver) reopen() {
	d.t.Helper()
	d.close()
	d.open()
}

// kill leaves the store as it is, as the end of the process does, and goes on
// with a copy of its directory. The tear may damage the copy before it is opened.
func (d *driver) kill(tear func(dir string)) {
	d.t.Helper()
	to := d.t.TempDir()
	badgerstore.WaitForBackground(d.s) // A copy that takes time is a state that never was.
	copyDir(d.t, d.o.Dir, to)
	if tear != nil {
		tear(to)
	}
	d.close()
	checkStore(d.t, d.o.Dir)
	d.o.Dir = to
	d.open()
}

func jsonItem(i int) queue.Item {
	return queue.Item{Encoding: "json", Kind: "reading", Payload: fmt.Appendf(nil,
		`{"device":"pi-%04d","sensor":"temperature","unit":"celsius","value":%d.%d,"at":"2026-03-01T12:00:%02d.%06dZ","status":"ok","battery":%d,"position":{"lat":52.%06d,"lon":13.%06d},"note":"the quick brown fox jumps over it all again %08d"}`,
		i%977, i%40, i%10, i%60, i*7919%1000000, i%100, i*104729%1000000, i*15485863%1000000, i)}
}

func sizedItem(i, size int) queue.Item {
	it := queue.Item{Payload: make([]byte, size)}
	x := uint64(i)*0x9e3779b97f4a7c15 + 1
	for j := range it.Payload {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		it.Payload[j] = byte(x)
	}
	return it
}

func jsonItems(from, n int) []queue.Item {
	items := make([]queue.Item, n)
	for i := range items {
		items[i] = jsonItem(from + i)
	}
	return items
}

func (d *driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// produce adds items in one synced commit and returns the first's number.
func (d *driver) produce(items []queue.Item) uint64 {
	d.t.Helper()
	first, err := d.tryProduce(items)
	d.must(err)
	return first
}

func (d *driver) tryProduce(items []queue.Item) (uint64, error) {
	var bytes int64
	for i := range items {
		bytes += items[i].Size()
	}
	first, err := d.ps.Reserve(len(items), bytes)
	if err != nil {
		return 0, err
	}
	wall := time.Unix(0, d.at.Wall).UTC()
	for i := range items {
		items[i].CreatedAt, items[i].ExpireDeadline = wall, wall.Add(24*time.Hour)
		d.ready = append(d.ready, first+uint64(i))
	}
	expire := wall.Add(24 * time.Hour).UnixNano()
	c := queue.Commit{At: d.at, Items: items, Sync: !d.lazy, Added: queue.Added{
		First: first, Count: uint32(len(items)), MinExpire: expire, MaxExpire: expire, Ordered: true}}
	d.st.Add(d.at, &c.Added)
	d.st.Totals.Ready += int64(len(items))
	d.st.Totals.Bytes += bytes
	d.st.Totals.ReadyCreated += int64(len(items)) * wall.UnixMilli()
	d.st.Totals.Ledger.Produced += uint64(len(items))
	return first, d.commit(&c)
}

func (d *driver) commit(c *queue.Commit) error {
	d.at.Wall += int64(time.Millisecond)
	d.at.Mono += int64(time.Millisecond)
	c.Totals = d.st.Totals
	return d.ps.Commit(c)
}

// lease leases the next n items.
func (d *driver) lease(n int, sync bool) []queue.Item {
	d.t.Helper()
	items, next, err := badgerstore.Flat(d.ps.Read(d.st.Totals.Cursor, n, math.MaxInt64))
	d.must(err)
	if len(items) != n {
		d.t.Fatalf("read %d items, want %d", len(items), n)
	}
	_, err = d.ps.Reserve(0, 0)
	d.must(err)
	c := queue.Commit{At: d.at, Sync: sync}
	for i := range items {
		seq := items[i].Seq()
		if seq != d.ready[i] {
			d.t.Fatalf("read item %d, want %d", seq, d.ready[i])
		}
		l := queue.Lease{Seq: seq, Deadline: d.at.Mono + int64(time.Minute), Wall: d.at.Wall + int64(time.Minute), Attempts: 1,
			Created: items[i].CreatedAt.UnixNano(), Expire: items[i].ExpireDeadline.UnixNano(), Size: uint32(items[i].Size())}
		c.Leases = append(c.Leases, l)
		d.st.SetLease(l)
		d.out = append(d.out, seq)
		d.st.Totals.ReadyCreated -= items[i].CreatedAt.UnixMilli()
	}
	d.ready = d.ready[n:]
	d.st.Totals.Ready -= int64(n)
	d.st.Totals.Ledger.Leases += uint64(n)
	d.st.SetCursor(next)
	d.must(d.commit(&c))
	return items
}

// complete completes the n items that were leased first.
func (d *driver) complete(n int) {
	d.t.Helper()
	_, err := d.ps.Reserve(0, 0)
	d.must(err)
	c := queue.Commit{At: d.at, Sync: true, Removed: d.out[:n]}
	for _, seq := range c.Removed {
		d.st.Totals.Bytes -= int64(d.st.Leases[seq].Size)
		d.st.Remove(seq)
	}
	d.st.Totals.Ledger.Completed += uint64(n)
	d.must(d.commit(&c))
	d.out = d.out[n:]
	d.must(d.ps.Maintain(false))
}

// drain leases and completes all items.
func (d *driver) drain() {
	d.t.Helper()
	for len(d.ready) > 0 {
		n := min(1000, len(d.ready))
		d.lease(n, false)
	}
	for len(d.out) > 0 {
		d.complete(min(1000, len(d.out)))
	}
}
