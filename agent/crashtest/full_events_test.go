package crashtest_test

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// TestFullDiskWithEvents has the disk full while the server is gone, and an outbox that may have more than the disk
// holds: items are leased and completed all the same. When the server comes, all their events are delivered, and
// the room that they took is there again. (Row 29 of the uplink's failure matrix.)
func TestFullDiskWithEvents(t *testing.T) {
	a := smallDisk(t, "96m")
	h := newHub(t, hubUp, 1)
	h.link.set(linkDown)
	must(t, h.forward(&crashtest.Rounds{Agent: a}))
	p := started(t, a)
	createQueue(t, p, plainQueue("q"))
	n := fillDisk(t, p, 0)
	takeItems(t, p, 0, n/2)
	p.Kill()

	p = started(t, a)
	takeItems(t, p, n/2, n)
	s, err := p.Client.Uplink(t.Context())
	must(t, err)
	if s.Pending != uint64(n) || s.Lost != 0 {
		t.Fatalf("%d events wait and %d are lost of %d items", s.Pending, s.Lost, n)
	}
	if more := fillDisk(t, p, n) - n; more > n/4 {
		t.Errorf("%d items were taken though their room is needed for events", more)
	} else {
		takeItems(t, p, n, n+more)
		n += more
	}
	h.link.set(linkUp)
	if u, err := p.Client.ControlUplink(t.Context(), "flush", flushTimeout); err != nil || u.Left != 0 {
		t.Fatalf("events are left: %+v, %v", u, err)
	}
	wantAll(t, h, uint64(n), uint64(n))
	// Delivered events make room when it is asked for.
	first := n
	deadline := time.Now().Add(waitTimeout)
	for n < first+200 {
		n = fillDisk(t, p, n)
		if time.Now().After(deadline) {
			t.Fatalf("only %d items are taken after all events were delivered", n-first)
		}
	}
	takeItems(t, p, first, n)
}
