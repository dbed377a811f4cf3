package queuetest

import (
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

func testLeases(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(items(20)...)
	a := d.lease(5, true)
	b := d.lease(5, false) // Close syncs it.
	d.p.copied()           // The end of the process leaves it too.
	d.p.restart()
	d.verify()
	c := d.lease(5, false)
	if err := d.ps.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := d.ps.Sync(); err != nil { // Nothing is left to sync.
		t.Fatal(err)
	}
	d.p.restart()
	d.verify()
	d.complete(a[1], c[4], b[2])
	d.p.restart()
	d.verify()
	d.complete(slices.Concat(a[:1], a[2:], b[:2], b[3:], c[:4])...)
	if len(d.held) != 5 {
		t.Fatalf("%d items are left, want 5", len(d.held))
	}
	d.p.finish()
}

func testLeaseWithProduce(t *testing.T, h Harness) {
	d := newDriver(t, h)
	list := items(6)
	for i := range list {
		list[i].LeaseDeadline, list[i].EnqueueAt = d.now().Add(time.Minute), d.now().Add(time.Hour)
	}
	first := d.commit(change{items: list, leaseNew: []int{0, 1}, schedNew: []int{4}})
	d.verify()
	d.commit(change{cursor: first + 2})
	d.p.restart()
	d.verify()
	// All at once: items, a lease of an old one, an old one gone.
	d.commit(change{
		items: items(3), leaseNew: []int{2},
		leases:  []queue.Lease{d.leaseOf(first+2, &d.held[first+2].item, time.Minute)},
		removed: []uint64{first}, cursor: first + 3,
	})
	d.p.finish()
}

func testImportedLeases(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(items(3)...)
	list := items(10)
	var leased []int
	for i := range list {
		if i%3 == 0 {
			list[i].IsLeased, list[i].LeaseDeadline = true, d.now().Add(time.Duration(i+1)*time.Second)
			leased = append(leased, i)
		}
	}
	first := d.commit(change{items: list, leaseNew: leased})
	d.verify()
	d.p.restart()
	d.verify()
	a := d.lease(5, true) // The cursor passes the first of them.
	if a[4] != first+2 {
		t.Fatalf("leased up to %d, want %d", a[4], first+2)
	}
	d.p.restart()
	d.verify()
	d.complete(first, first+6) // One below the cursor and one above it.
	d.p.restart()
	d.verify()
	d.retry(first+9, first+3)
	d.complete(a...)
	d.p.finish()
}

func testExtend(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(items(100)...)
	a := d.lease(100, false)
	for round := range 5 {
		ch := change{lazy: true}
		for i, seq := range a {
			if i%5 == round {
				l := *d.held[seq].lease
				l.Deadline += int64(time.Hour) * int64(round)
				l.Wall += int64(time.Hour)*int64(round) + 1
				ch.leases = append(ch.leases, l)
			}
		}
		d.commit(ch)
		if round == 2 {
			d.p.restart()
		}
	}
	d.verify()
	d.p.finish()
}

// testReboot: a reboot ends leases and delays, and a restart after it keeps the
// leases that began since.
func testReboot(t *testing.T, h Harness) {
	d := newDriver(t, h)
	first := d.produce(items(10)...)
	a := d.lease(3, true)
	d.commit(change{schedules: []queue.Scheduled{d.scheduleOf(a[2], &d.held[a[2]].item, day.Add(time.Hour), d.at.Mono+77)}})
	d.p.reopen("boot-2")
	d.verify()
	d.p.restart() // Nothing was committed in boot-2.
	d.verify()
	if got := d.st.Leases[a[0]].Deadline; got != queue.LeaseLapsed {
		t.Fatalf("after a reboot a lease lasts until %d", got)
	}
	d.at.Mono = int64(5 * time.Second)
	d.lease(2, true)
	d.verify()
	d.p.restart() // A restart in boot-2: its leases hold.
	d.verify()
	if got := d.st.Leases[first+3].Deadline; got < int64(time.Minute) {
		t.Fatalf("after a restart a lease lasts until %d", got)
	}
	d.produce(items(2)...)
	d.p.reopen("boot-3")
	d.verify()
	d.p.reopen("boot-1") // A name may come again; it is not the same boot.
	d.p.finish()
}

// testMoves: the marks of items on their way to another partition hold over
// everything.
func testMoves(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(items(10)...)
	a := d.lease(4, true)
	var ch change
	for i, how := range []int64{queue.LeaseDying, queue.LeaseMoving, queue.LeaseReturning} {
		l := *d.held[a[i]].lease
		l.Deadline, l.Wall = how, -1<<63+int64(i) // A part of a tag.
		ch.leases = append(ch.leases, l)
	}
	d.commit(ch)
	d.verify()
	d.p.copied()
	d.p.restart()
	d.verify()
	d.p.reopen("boot-2")
	d.verify()
	d.complete(a[0], a[1])
	d.retry(a[2])
	d.p.finish()
}

func testSchedules(t *testing.T, h Harness) {
	d := newDriver(t, h)
	list := items(10)
	var all []int
	for i := range list {
		list[i].EnqueueAt = day.Add(time.Duration(10-i) * time.Hour)
		all = append(all, i)
	}
	first := d.commit(change{items: list, schedNew: all})
	d.produce(items(5)...)
	d.verify()
	d.p.restart()
	d.verify()

	// Some become due: they go to the tail.
	d.retry(first+9, first+8)
	d.verify()
	// A lease is given back for later: it keeps its number.
	a := d.lease(3, true)
	var ch change
	for _, seq := range a[:2] {
		s := d.scheduleOf(seq, &d.held[seq].item, d.now().Add(time.Minute), d.at.Mono+int64(time.Minute))
		s.Attempts++
		ch.schedules = append(ch.schedules, s)
	}
	d.commit(ch)
	d.p.copied()
	d.p.restart()
	d.verify()
	// Scheduled again, at another time.
	d.commit(change{schedules: []queue.Scheduled{d.scheduleOf(a[0], &d.held[a[0]].item, day, 0)}})
	d.p.restart()
	d.verify()
	d.retry(a[0], a[1], first+1)
	d.complete(first, first+2)
	d.verify()
	// A scheduled item is leased where it is.
	d.commit(change{leases: []queue.Lease{d.leaseOf(first+3, &d.held[first+3].item, time.Minute)}})
	d.p.finish()
}

func testRetry(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(items(10)...)
	for range 30 {
		a := d.lease(4, false)
		d.retry(a[1], a[3])
		d.retry(a[0])
		d.retry(a[2])
	}
	if len(d.held) != 10 {
		t.Fatalf("%d items, want 10", len(d.held))
	}
	d.verify()
	d.p.copied()
	d.p.finish()
}

// testRemovedAhead: items go that the cursor has not reached.
func testRemovedAhead(t *testing.T, h Harness) {
	d := newDriver(t, h)
	first := d.produce(items(200)...)
	d.complete(first+1, first+63, first+64, first+65, first+199)
	d.verify()
	d.p.restart()
	d.verify()
	d.complete(first) // The cursor's own.
	a := d.lease(3, true)
	if want := []uint64{first + 2, first + 3, first + 4}; !slices.Equal(a, want) {
		t.Fatalf("leased %v, want %v", a, want)
	}
	d.verify()
	second := d.produce(items(10)...)
	d.complete(second+5, first+100)
	d.p.restart()
	d.verify()
	d.lease(190, true)
	d.verify()
	d.p.restart()
	d.verify()
	d.lease(100, true)
	d.p.finish()
}

func testClear(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.commit(change{cursor: d.st.Next}) // Of nothing.
	list := items(20)
	list[3].EnqueueAt, list[4].EnqueueAt = day, day
	list[15].SourceID = "cleared"
	d.produce(items(3)...)
	a := d.lease(3, true)
	d.commit(change{items: list, schedNew: []int{3, 4}})
	d.commit(change{cursor: d.st.Next})
	if d.totals.Ready != 0 || len(d.held) != 5 {
		t.Fatalf("%d ready of %d", d.totals.Ready, len(d.held))
	}
	if _, found, err := d.ps.FindSource("cleared"); found || err != nil {
		t.Fatalf("a cleared item is found: %v", err)
	}
	d.verify()
	d.p.copied()
	d.p.restart()
	d.verify()
	d.produce(items(5)...) // The source id may come again.
	d.produce(list[15])
	d.complete(a...)
	d.verify()
	d.commit(change{cursor: d.st.Next, removed: d.seqs(func(it *heldItem) bool { return !it.isReady() })})
	if len(d.held) != 0 {
		t.Fatalf("%d items are left", len(d.held))
	}
	d.p.restart()
	d.produce(items(5)...)
	d.p.finish()
}
