package queuetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// testManyCommits writes so many small commits that a store has to begin new
// spans for their records, and so many bytes that it has to for the items.
func testManyCommits(t *testing.T, h Harness) {
	rng := newRand(3)
	d := newDriver(t, h)
	for n := range amount(2000, 2000, 8000) {
		d.commit(change{items: []queue.Item{bigItem(rng, n, rng.IntN(32_000))}, lazy: n%100 != 0})
		if n%3 == 2 {
			a := d.lease(1, false)
			d.commit(change{removed: a, lazy: true})
		}
	}
	t.Logf("%d items over spans %d to %d", len(d.held), queue.Span(d.st.Totals.Cursor), queue.Span(d.st.Next-1))
	d.p.copied()
	d.p.restart()
	d.verify()
	for len(d.held) > 100 {
		d.commit(change{removed: d.lease(100, false), lazy: true})
	}
	d.p.finish()
}

// testManyItems writes more items than a span takes.
func testManyItems(t *testing.T, h Harness) {
	d := newDriver(t, h)
	list := items(5000)
	for range amount(30, 30, 120) {
		d.commit(change{items: list, lazy: true})
	}
	t.Logf("%d items over spans %d to %d", len(d.held), queue.Span(d.st.Totals.Cursor), queue.Span(d.st.Next-1))
	d.p.restart()
	a := d.lease(70_000, true)
	d.commit(change{removed: a, lazy: true})
	b := d.lease(60_000, false)
	d.p.restart()
	d.commit(change{removed: b[:59_000], lazy: true})
	d.verify()
	d.commit(change{cursor: d.st.Next - 2000})
	d.p.finish()
}

// testLongLease holds one item of an old span while all that came with it and
// much of what comes after it goes.
func testLongLease(t *testing.T, h Harness) {
	rng := newRand(4)
	d := newDriver(t, h)
	round := func() {
		for n := range 30 {
			var list []queue.Item
			for range 20 {
				list = append(list, bigItem(rng, n, 10_000))
			}
			d.commit(change{items: list, lazy: true})
		}
	}
	round()
	a := d.lease(1, true)
	d.complete(d.lease(10_000, true)...)
	for range 3 {
		round()
		d.complete(d.lease(10_000, true)...)
		d.verify()
		d.p.restart()
		d.verify()
	}
	d.retry(a...)
	d.p.finish()
}

func testUsageGoesBack(t *testing.T, h Harness) {
	rng := newRand(5)
	d := newDriver(t, h)
	idle := func() queue.Usage {
		t.Helper()
		if err := d.ps.Maintain(true); err != nil {
			t.Fatalf("maintain: %v", err)
		}
		return d.ps.Usage()
	}
	const payload = 60 << 20
	for round := range 2 {
		for n := range payload / 100_000 {
			d.commit(change{items: []queue.Item{bigItem(rng, n, 100_000)}, lazy: true})
		}
		full := d.ps.Usage()
		if full.DiskBytes < payload*9/10 {
			t.Errorf("%d bytes of noise occupy %d", payload, full.DiskBytes)
		}
		a := d.lease(1<<20, true)
		if round == 1 {
			d.p.restart()
		}
		d.complete(a...)
		eventually(t, fmt.Sprintf("usage goes back from %d bytes", full.DiskBytes), func() bool {
			return idle().DiskBytes < 1<<20
		})
		d.verify()
	}
	d.p.restart()
	eventually(t, "usage is low after a restart", func() bool { return idle().DiskBytes < 1<<20 })
	d.produce(items(10)...)
	d.p.finish()
}

// testSetAside sets spans aside of which nothing is damaged, one that takes items
// and one that does not: everything can still be read and written.
func testSetAside(t *testing.T, h Harness) {
	d := newDriver(t, h)
	first := d.produce(items(10)...)
	d.lease(2, true)
	aside := func(seq uint64) {
		t.Helper()
		if damage := d.ps.Damage(); len(damage) > 0 {
			t.Fatalf("damage of a sound partition: %v", damage)
		}
		if _, err := d.ps.SetAside(queue.Span(seq), "for a test"); err != nil {
			t.Fatalf("set aside: %v", err)
		}
		d.verify()
	}
	aside(first)
	d.produce(items(3)...)
	d.p.copied()
	d.p.restart()
	aside(first)
	aside(first)
	second := d.produce(items(3)...)
	aside(second)
	d.complete(d.lease(20, true)...)
	d.p.finish()
}

// testPartitions keeps partitions apart whatever their queues are called.
func testPartitions(t *testing.T, h Harness) {
	p := newPlace(t, h)
	names := []string{
		"a", "A", "a/b", "a%2Fb", "a-000000-partition", "../x", "..", ".", "/", "é", "e\u0301", "\x01", "\xff", "con", "a.removed",
		strings.Repeat("n", 512), strings.Repeat("n", 511) + "m", strings.Repeat("/", 512), "queue-storage-partition", "LOCK", "quarantine",
	}
	for i, name := range names {
		for no := range 2 {
			d := p.partition(name, no, newTag(byte(2*i+no)))
			d.produce(withSource(i, name), item(no))
		}
	}
	p.partition("many", 123_456, newTag(200)).produce(item(1))
	for _, d := range p.drivers {
		d.verify()
	}
	p.restart()
	for i, d := range p.drivers {
		d.verify()
		d.complete(d.lease(1, true)...)
		if i%2 == 0 {
			d.produce(items(i)...)
		}
	}
	p.finish()
}

// testPartitionsAtOnce uses partitions of one storage from several goroutines.
func testPartitionsAtOnce(t *testing.T, h Harness) {
	p := newPlace(t, h)
	t.Run("group", func(t *testing.T) {
		for no := range 4 {
			d := p.partition("queue", no, newTag(byte(no)))
			t.Run(fmt.Sprint(no), func(t *testing.T) {
				t.Parallel()
				defer func() { d.t = p.t }()
				d.t = t
				rng := newRand(uint64(no))
				for n := range 200 {
					d.commit(change{items: []queue.Item{bigItem(rng, n, 20_000)}, lazy: n%20 != 0})
					if n%5 == 4 {
						d.commit(change{removed: d.lease(4, false), lazy: true})
					}
				}
				d.verify()
			})
		}
	})
	p.finish()
}

func testRemovePartition(t *testing.T, h Harness) {
	p := newPlace(t, h)
	stay := p.partition("stay", 0, newTag(1))
	stay.produce(items(3)...)
	other := p.partition("go", 1, newTag(2))
	other.produce(items(3)...)
	rng := newRand(6)
	d := p.partition("go", 0, newTag(3))
	for n := range 300 {
		d.commit(change{items: []queue.Item{withSource(n, fmt.Sprint(n)), bigItem(rng, n, 100_000)}, lazy: true})
	}
	d.lease(10, true)
	key := d.key
	remove := func() {
		t.Helper()
		if err := p.stores.Storage.RemovePartition(key); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	d.close()
	p.drivers = p.drivers[:2]
	remove()
	remove() // It is not there, which is no error.
	p.restart()
	remove()
	stay.verify()
	other.verify()

	d = p.partition("go", 0, key.Tag)
	d.verify()
	d.wantNoSource("5")
	d.produce(items(2)...)
	p.finish()
}

// testRecreate opens a partition that a deleted queue of the same name left:
// nothing of it comes back.
func testRecreate(t *testing.T, h Harness) {
	p := newPlace(t, h)
	d := p.partition("queue", 0, newTag(1))
	d.produce(withSource(1, "a"), item(2))
	d.lease(1, true)
	d.close()
	p.drivers = nil
	again := p.partition("queue", 0, newTag(2))
	again.verify()
	again.wantNoSource("a")
	again.produce(withSource(1, "a"))
	p.restart()
	again.verify()

	again.close()
	if err := p.stores.Storage.RemovePartition(again.key); err != nil {
		t.Fatal(err)
	}
	p.drivers = nil
	p.partition("queue", 0, newTag(3)).produce(items(2)...)
	p.finish()
}
