package queuetest

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

func (d *driver) wantNoSource(id string) {
	d.t.Helper()
	if seq, found, err := d.ps.FindSource(id); found || err != nil {
		d.t.Fatalf("find source %q: %d, %t, %v; want nothing", id, seq, found, err)
	}
}

func withSource(n int, id string) queue.Item {
	it := item(n)
	it.SourceID = id
	return it
}

func testSourceIDs(t *testing.T, h Harness) {
	d := newDriver(t, h)
	d.produce(withSource(1, "a"), item(2), withSource(3, "b"), withSource(4, ""))
	d.verify()
	d.wantNoSource("c")
	d.wantNoSource("")
	a := d.lease(1, true)
	d.verify() // A leased item is stored too.
	d.complete(a...)
	d.wantNoSource("a")
	d.p.restart()
	d.wantNoSource("a")
	d.produce(withSource(5, "a")) // It comes again.
	d.verify()
	d.p.copied()
	d.p.restart()
	d.verify()

	// An item that moves to the tail takes its source id along.
	seq, _, err := d.ps.FindSource("b")
	if err != nil {
		t.Fatal(err)
	}
	moved := d.retry(seq)
	if got, found, err := d.ps.FindSource("b"); got != moved || !found || err != nil {
		t.Fatalf("after a move b is %d, %t, %v; want %d", got, found, err, moved)
	}
	d.p.restart()
	d.verify()
	d.complete(moved)
	d.wantNoSource("b")

	// Over many spans and restarts, and gone from the middle.
	n := 100
	for range 4 {
		var list []queue.Item
		for range 200 {
			n++
			list = append(list, withSource(n, fmt.Sprint("many-", n)))
		}
		first := d.produce(list...)
		d.complete(first+7, first+100)
		d.p.restart()
	}
	d.wantNoSource("many-108")
	d.verify()
	d.p.finish()
}

// testSourceIDNeighbours looks for ids that a careless index takes for others:
// near ones, ones with the same hash, and many.
func testSourceIDNeighbours(t *testing.T, h Harness) {
	d := newDriver(t, h)
	id := "0123456789abcdef"
	twin, third := collide(id, 1), collide(id, 2)
	d.produce(withSource(1, id), withSource(2, id+"\x00"), withSource(3, id[:15]))
	d.verify()
	d.wantNoSource(twin)
	d.p.restart()
	d.wantNoSource(twin)
	d.wantNoSource(id + " ")
	first := d.produce(withSource(4, twin))
	d.verify()
	d.produce(withSource(5, third))
	d.p.restart()
	d.verify()
	d.complete(first)
	d.wantNoSource(twin)
	d.verify()

	list := make([]queue.Item, 5000)
	for i := range list {
		list[i] = withSource(10+i, fmt.Sprintf("%x", i))
	}
	d.produce(list...)
	d.verify()
	d.p.restart()
	d.verify()
	for i := 5000; i < 5500; i++ {
		d.wantNoSource(fmt.Sprintf("%x", i))
	}
	d.p.finish()
}

// collide returns another string of 16 bytes with the same 64-bit xxHash as s:
// its first half is s's plus n, its second half makes up for it.
func collide(s string, n uint64) string {
	const p1, p2, p4 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63
	const p5 = 0x27D4EB2F165667C5
	round := func(v uint64) uint64 { return bits.RotateLeft64(v*p2, 31) * p1 }
	inverse := func(odd uint64) uint64 {
		x := odd // Newton's iteration doubles the bits that are right.
		for range 6 {
			x *= 2 - odd*x
		}
		return x
	}
	unround := func(v uint64) uint64 { return bits.RotateLeft64(v*inverse(p1), -31) * inverse(p2) }
	after := func(lane uint64) uint64 { return bits.RotateLeft64((p5+16)^round(lane), 27)*p1 + p4 }

	a, b := binary.LittleEndian.Uint64([]byte(s)), binary.LittleEndian.Uint64([]byte(s[8:]))
	want := after(a) ^ round(b)
	a += n
	b = unround(want ^ after(a))
	out := binary.LittleEndian.AppendUint64(nil, a)
	return string(binary.LittleEndian.AppendUint64(out, b))
}

func testOrigins(t *testing.T, h Harness) {
	d := newDriver(t, h)
	move := func(n byte, seqs ...uint64) {
		d.commit(change{items: items(len(seqs)), origin: &queue.Origin{From: newTag(n), Seqs: seqs}})
	}
	move(1, 5, 6, 1<<40)
	move(2, 1)
	d.verify()
	d.p.copied()
	d.p.restart()
	d.verify()
	move(1, 9)
	d.produce(items(1)...)
	d.verify()
	for n := byte(3); n < 40; n++ {
		move(n, uint64(n), uint64(n)<<24)
	}
	d.p.restart()
	d.verify()
	if got := d.st.LastFrom(newTag(99)); got != nil {
		t.Fatalf("last from a stranger: %v", got)
	}
	d.p.finish()
}

// testFeeds: the marks of feeds are there after a restart and after a kill, with
// the items that came with them.
func testFeeds(t *testing.T, h Harness) {
	d := newDriver(t, h)
	take := func(name string, seq uint64, n int) {
		d.commit(change{items: items(n), feed: &queue.FeedMark{
			Feed: name, Made: 1_790_000_000_000_000_000, Seq: seq, At: 1_790_000_000_000_000_000 + int64(seq), Taken: seq, Skipped: 2, Missed: 1 << 40,
		}})
		d.verify()
	}
	take("STREAM a.b", 5, 5)
	take("STREAM a.c", 1<<63, 0) // A mark alone.
	d.p.copied()
	d.p.restart()
	take("STREAM a.b", 9, 1)
	take("STREAM a.b", 3, 1) // The owner may set it back.
	d.p.copied()
	for n := range 12 {
		take(fmt.Sprint("feed ", n), uint64(n), n%3)
	}
	d.p.restart()
	d.p.copied()
	d.p.reopen("boot-2")
	d.p.finish()
}
