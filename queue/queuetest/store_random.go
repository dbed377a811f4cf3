package queuetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// testRandom does random things to two partitions, opens them again at random
// points, and compares them with their models.
func testRandom(t *testing.T, h Harness) {
	rng := newRand(Seed(t))
	p := newPlace(t, h)
	drivers := []*randomDriver{
		{driver: p.partition("queue", 0, newTag(1)), rng: rng},
		{driver: p.partition("queue", 1, newTag(2)), rng: rng},
	}
	for step := range amount(500, 1200, 12_000) {
		drivers[rng.IntN(2)].step()
		switch rng.IntN(200) {
		case 0:
			p.restart()
		case 1:
			p.reopen(fmt.Sprint("boot-", step))
		case 2:
			p.copied()
		case 3, 4, 5:
			for _, d := range p.drivers {
				d.verify()
			}
		}
	}
	p.finish()
}

type randomDriver struct {
	*driver
	rng *rand.Rand
	n   int
}

// pick returns up to n items that pass, at random.
func (d *randomDriver) pick(n int, pass func(*heldItem) bool) []uint64 {
	seqs := d.seqs(pass)
	d.rng.Shuffle(len(seqs), func(i, j int) { seqs[i], seqs[j] = seqs[j], seqs[i] })
	return seqs[:min(n, len(seqs))]
}

func (d *randomDriver) few() int { return 1 + d.rng.IntN(1+d.rng.IntN(60)) }

func (d *randomDriver) step() {
	d.at.Wall += d.rng.Int64N(int64(time.Second))
	d.at.Mono += d.rng.Int64N(int64(time.Second))
	leased := func(it *heldItem) bool { return it.lease != nil }
	scheduled := func(it *heldItem) bool { return it.sched != nil }
	any := func(*heldItem) bool { return true }
	ch := change{lazy: d.rng.IntN(4) > 0}
	switch d.rng.IntN(20) {
	case 0, 1, 2, 3:
		d.add(&ch, d.few())
	case 4, 5, 6, 7:
		d.lease(d.few(), !ch.lazy)
		return
	case 8, 9, 10, 11: // complete
		ch.removed = d.pick(2*d.few(), leased)
	case 12: // delete by id
		ch.removed = d.pick(d.few(), any)
	case 13: // extend, and leases out of order
		for _, seq := range d.pick(d.few(), any) {
			l := d.leaseOf(seq, &d.held[seq].item, time.Duration(d.rng.Int64N(int64(time.Hour))))
			if old := d.held[seq].lease; old != nil {
				l.Attempts = old.Attempts
			}
			ch.leases = append(ch.leases, l)
		}
	case 14: // retry, lapse
		d.move(&ch, d.pick(d.few(), leased))
	case 15: // retry later
		for _, seq := range d.pick(d.few(), leased) {
			delay := d.rng.Int64N(int64(time.Hour))
			ch.schedules = append(ch.schedules, d.scheduleOf(seq, &d.held[seq].item, d.now().Add(time.Duration(delay)), d.at.Mono+delay))
		}
	case 16: // due
		d.move(&ch, d.pick(d.few(), scheduled))
	case 17: // clear
		if d.rng.IntN(20) == 0 {
			ch.cursor = d.st.Next
			if d.rng.IntN(2) == 0 {
				ch.removed = d.seqs(func(it *heldItem) bool { return !it.isReady() })
			}
		}
	case 18: // many things in one commit
		d.move(&ch, d.pick(d.few(), leased))
		for _, seq := range d.pick(d.few(), any) {
			if !slices.Contains(ch.removed, seq) {
				ch.removed = append(ch.removed, seq)
			}
		}
		d.add(&ch, d.few())
	case 19:
		d.quiet()
		return
	}
	d.commit(ch)
}

// add adds new items to the change, some leased or scheduled.
func (d *randomDriver) add(ch *change, n int) {
	kind := d.rng.IntN(8)
	for range n {
		d.n++
		it := anyItem(d.rng, d.n)
		i := len(ch.items)
		switch {
		case kind == 0 && d.rng.IntN(2) == 0:
			it.LeaseDeadline = d.now().Add(time.Duration(d.rng.Int64N(int64(time.Minute))))
			ch.leaseNew = append(ch.leaseNew, i)
		case kind == 1 && d.rng.IntN(2) == 0:
			it.EnqueueAt = d.now().Add(time.Duration(d.rng.Int64N(int64(time.Hour))))
			ch.schedNew = append(ch.schedNew, i)
		}
		ch.items = append(ch.items, it)
	}
	if kind == 2 && ch.moved == 0 {
		ch.origin = &queue.Origin{From: newTag(byte(d.rng.IntN(5))), Seqs: []uint64{uint64(d.n), d.rng.Uint64()}}
	}
}

// move gives items new places at the tail.
func (d *randomDriver) move(ch *change, seqs []uint64) {
	d.t.Helper()
	items, err := d.ps.Get(seqs)
	if err != nil {
		d.t.Fatalf("get %v: %v", seqs, err)
	}
	for i := range items {
		d.verifyItem(&items[i])
		items[i].Attempts++
	}
	ch.items, ch.removed, ch.moved = append(ch.items, items...), append(ch.removed, seqs...), ch.moved+len(seqs)
}

// quiet does what changes nothing.
func (d *randomDriver) quiet() {
	d.t.Helper()
	var err error
	switch d.rng.IntN(5) {
	case 0:
		err = d.ps.Maintain(d.rng.IntN(2) == 0)
	case 4:
		err = d.ps.Yield()
	case 1:
		err = d.ps.Sync()
	case 2:
		_, err = d.ps.Reserve(d.few(), d.rng.Int64N(1_000_000))
	case 3:
		d.read(d.totals.Cursor+d.rng.Uint64N(d.st.Next-d.totals.Cursor+10), d.few(), d.rng.Int64N(100_000))
	}
	if err != nil {
		d.t.Fatalf("%s: %v", d.key, err)
	}
}
