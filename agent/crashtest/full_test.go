package crashtest_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// smallDisk makes a small file system and an agent whose data is on it.
func smallDisk(t *testing.T, size string) *crashtest.Agent {
	a := newAgent(t)
	if err := os.Mkdir(a.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", a.Dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a file system cannot be mounted here, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(a.Dir, 0); err != nil {
			t.Error(err)
		}
	})
	return a
}

func createQueue(t *testing.T, p *crashtest.Process, info client.QueueInfo) {
	t.Helper()
	if err := p.Client.CreateQueue(t.Context(), info); err != nil {
		t.Fatal(err)
	}
}

func plainQueue(name string) client.QueueInfo {
	return client.QueueInfo{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, Partitions: 1}
}

const fullPayload = 50 << 10

// fillDisk produces until it is refused, and returns how many items there are.
func fillDisk(t *testing.T, p *crashtest.Process, from int) int {
	t.Helper()
	payload := make([]byte, fullPayload)
	rand.Read(payload)
	for n := from; ; n++ {
		binary.BigEndian.PutUint64(payload, uint64(n))
		err := p.Client.Produce(t.Context(), "q", client.ProduceItem{Payload: bytes.Clone(payload)})
		if err == nil {
			continue
		}
		var e *client.Error
		if !errors.As(err, &e) || e.Code != 454 || !errors.Is(err, client.ErrFull) {
			t.Fatalf("produce %d was refused with %v, want 454 and ErrFull", n, err)
		}
		return n
	}
}

// takeItems leases and completes all items from first to last but one, in their
// order.
func takeItems(t *testing.T, p *crashtest.Process, first, last int) {
	t.Helper()
	for n := first; n < last; {
		items, err := p.Client.Lease(t.Context(), "q", client.LeaseOptions{BatchSize: min(10, last-n), Wait: 5 * time.Second})
		if err != nil {
			t.Fatalf("lease of item %d of %d: %v", n, last, err)
		}
		var ids []string
		for _, it := range items {
			if got := int(binary.BigEndian.Uint64(it.Payload)); got != n || len(it.Payload) != fullPayload {
				t.Fatalf("leased item %d of %d bytes, want %d", got, len(it.Payload), n)
			}
			n++
			ids = append(ids, it.ID)
		}
		if err := p.Client.Complete(t.Context(), "q", items[0].Partition, ids...); err != nil {
			t.Fatalf("complete up to item %d of %d: %v", n, last, err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	a := smallDisk(t, "96m")
	p := started(t, a)
	createQueue(t, p, plainQueue("q"))
	n := fillDisk(t, p, 0)
	t.Logf("%d items of %d bytes fit", n, fullPayload)
	if n < 200 {
		t.Errorf("only %d items of %d bytes were taken on 96 MiB", n, fullPayload)
	}
	takeItems(t, p, 0, n/4)
	p.Kill()

	p = started(t, a)
	takeItems(t, p, n/4, n/2)
	more := fillDisk(t, p, n) - n
	if more < n/4 {
		t.Errorf("after %d items were completed only %d were taken", n/2, more)
	}
	takeItems(t, p, n/2, n+more)
	// The last segment goes only when the next one has begun.
	if again := fillDisk(t, p, n+more) - n - more; again < n*3/4 {
		t.Errorf("when all items were completed only %d were taken, %d at first", again, n)
	}
}

// TestLapsedOnFullDisk has all that a full disk holds leased by consumers that die.
// Copies of it take the place of what they had, since nothing else gives room back.
func TestLapsedOnFullDisk(t *testing.T) {
	a := smallDisk(t, "96m")
	p := started(t, a)
	info := plainQueue("q")
	info.LeaseTimeout = 8 * time.Second
	createQueue(t, p, info)
	n := fillDisk(t, p, 0)
	lease := func(wait time.Duration) []client.Item {
		items, err := p.Client.Lease(t.Context(), "q", client.LeaseOptions{BatchSize: 10, Wait: wait})
		if err != nil && !errors.Is(err, client.ErrEmpty) {
			t.Fatal(err)
		}
		return items
	}
	leased := 0
	for items := lease(time.Second); len(items) > 0; items = lease(100 * time.Millisecond) {
		leased += len(items)
	}
	if leased != n {
		t.Fatalf("%d items were leased of %d", leased, n)
	}
	back := map[uint64]bool{}
	for late := time.Now().Add(2 * waitTimeout); len(back) < n && time.Now().Before(late); {
		items := lease(10 * time.Second)
		ids := make([]string, len(items))
		for i, it := range items {
			ids[i] = it.ID
			back[binary.BigEndian.Uint64(it.Payload)] = true
		}
		if len(ids) > 0 {
			must(t, p.Client.Complete(t.Context(), "q", items[0].Partition, ids...))
		}
	}
	if len(back) < n {
		t.Errorf("%d of %d items came back\n%s", len(back), n, p.Stderr())
	}
	wantClean(t, p, 0)
}

// TestDiskFilledByOthers leaves not one byte to the agent.
func TestDiskFilledByOthers(t *testing.T) {
	a := smallDisk(t, "96m")
	p := started(t, a)
	createQueue(t, p, plainQueue("q"))
	payload := make([]byte, fullPayload)
	const n = 400 // More than one segment.
	for i := range n {
		binary.BigEndian.PutUint64(payload, uint64(i))
		rand.Read(payload[8:])
		if err := p.Client.Produce(t.Context(), "q", client.ProduceItem{Payload: bytes.Clone(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(a.Dir, "other")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if got := fillDisk(t, p, n); got != n {
		t.Errorf("%d items were taken on a full disk", got-n)
	}
	takeItems(t, p, 0, n/4)
	p.Kill()
	p = started(t, a)
	takeItems(t, p, n/4, n/2)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	takeItems(t, p, n/2, n)
	if got := fillDisk(t, p, n); got == n {
		t.Error("nothing is taken although there is room again")
	}
}
