package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

var backupSeed = flag.Uint64("backup-seed", 0, "replays a back-up test with that seed; 0 is a new one")

func newSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *backupSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -backup-seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// device is a service over a data directory.
type device struct {
	t       *testing.T
	dir     string
	meta    *badgerstore.Meta
	storage *badgerstore.Storage
	*queue.Service
}

func startDevice(t *testing.T, dir string) *device {
	t.Helper()
	return startForwarding(t, dir, nil)
}

// startForwarding starts a device with events, unless outbox is nil.
func startForwarding(t *testing.T, dir string, outbox *queue.OutboxOptions) *device {
	t.Helper()
	d := &device{t: t, dir: dir}
	var err error
	failed := func(dir string, err error) { t.Errorf("in the background, %s: %v", dir, err) }
	o := badgerstore.Options{Dir: filepath.Join(dir, "queues"), Boot: "boot", MinFree: -1, Events: badgerstore.Events{Failed: failed}}
	if d.meta, err = badgerstore.OpenMeta(o); err != nil {
		t.Fatal(err)
	}
	o.Dir, o.SegmentBytes = filepath.Join(dir, "items"), 1<<20
	if d.storage, err = badgerstore.New(o); err != nil {
		t.Fatal(err)
	}
	d.Service, err = queue.Open(t.Context(), queue.Config{Meta: d.meta, Outbox: outbox, Limits: queue.Limits{MaxListBytes: 1 << 30}, Storages: []queue.NamedStorage{{Name: "items", Storage: d.storage, Affinity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// end ends the service.
func (d *device) end() {
	d.t.Helper()
	if err := errors.Join(d.Shutdown(context.Background()), d.storage.Close(), d.meta.Close()); err != nil {
		d.t.Error(err)
	}
}

// stop ends the service and checks the store.
func (d *device) stop() {
	d.t.Helper()
	d.end()
	checkStore(d.t, filepath.Join(d.dir, "items"))
	_, err := badgerstore.Verify(d.dir, func(f badgerstore.Fault) { d.t.Errorf("verify: %+v", f) })
	if err != nil {
		d.t.Error(err)
	}
}

func (d *device) create(name, dead string, partitions int) {
	d.t.Helper()
	err := d.Create(d.t.Context(), queue.Info{Name: name, DeadQueue: dead, LeaseTimeout: time.Minute, ExpireTimeout: 24 * time.Hour,
		RequestedPartitions: partitions, Reference: "of " + name})
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) queue(name string) *queue.Queue {
	d.t.Helper()
	q, err := d.Queue(name)
	if err != nil {
		d.t.Fatal(err)
	}
	return q
}

// take takes a back-up.
func (d *device) take(since *backup.Head) (*backup.Head, []byte) {
	d.t.Helper()
	var b bytes.Buffer
	taking, err := backup.Take(d.t.Context(), d.Service, &backup.Request{Partition: -1, Since: since, Now: time.Now()})
	if err != nil {
		d.t.Fatal(err)
	}
	defer taking.Close()
	if err := taking.Copy(d.t.Context(), &b); err != nil {
		d.t.Fatal(err)
	}
	return taking.Head, b.Bytes()
}

func (d *device) put(whole []byte) (*backup.Restored, error) {
	r, err := backup.NewReader(bytes.NewReader(whole))
	if err != nil {
		return nil, err
	}
	return backup.Put(d.t.Context(), d.Service, r)
}

// merged returns the full back-up that files stand for.
func merged(t *testing.T, sel backup.Selection, files ...[]byte) []byte {
	t.Helper()
	var list []backup.File
	for i, f := range files {
		list = append(list, backup.File{Name: fmt.Sprint("file ", i), ReadSeeker: bytes.NewReader(f)})
	}
	c, err := backup.OpenChain(list, badgerstore.CheckPiece)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Write(&out, sel); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// contents returns what a device holds: for each queue and partition the items in order, without what a restore
// changes. Leases are over after it, so what is leased goes to the end, where a restore puts it, in no order.
func (d *device) contents() map[string][]string {
	d.t.Helper()
	all := make(map[string][]string)
	infos, err := d.List(d.t.Context(), "", 0)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, info := range infos {
		q := d.queue(info.Name)
		for p := range info.RequestedPartitions {
			key := fmt.Sprintf("%s/%d", info.Name, p)
			var leased []string
			for _, scheduled := range []bool{false, true} {
				list := q.List
				if scheduled {
					list = q.ListScheduled
				}
				items, err := list(d.t.Context(), &queue.ListRequest{Partition: p, Limit: 1 << 20})
				if err != nil {
					d.t.Fatal(err)
				}
				for _, it := range items {
					text := fmt.Sprintf("%q %q %q %q %d %v %v %x", it.SourceID, it.Kind, it.Encoding, it.Reference, it.Attempts,
						it.CreatedAt.UnixNano(), it.EnqueueAt.UnixNano(), it.Payload)
					if it.Attempts > 0 {
						leased = append(leased, text)
					} else {
						all[key] = append(all[key], text)
					}
				}
			}
			slices.Sort(leased)
			all[key] = append(all[key], leased...)
		}
	}
	return all
}

// audit counts everything.
func (d *device) audit() {
	d.t.Helper()
	infos, err := d.List(d.t.Context(), "", 0)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, info := range infos {
		for _, a := range d.queue(info.Name).Audit(d.t.Context()) {
			if a.Failure != nil || len(a.Differences) > 0 {
				d.t.Errorf("audit of %s/%d: %v %v", a.Queue, a.Partition, a.Failure, a.Differences)
			}
		}
	}
}

// load does n random things.
func (d *device) load(rnd *rand.Rand, n int) {
	d.t.Helper()
	names := []string{"a", "b", "dead"}
	must := func(err error) {
		d.t.Helper()
		if err != nil && !errors.Is(err, queue.ErrEmpty) {
			d.t.Fatal(err)
		}
	}
	for i := range n {
		q := d.queue(names[rnd.IntN(2)])
		switch rnd.IntN(4) {
		case 0, 1:
			items := make([]queue.Item, 1+rnd.IntN(300))
			for j := range items {
				items[j] = queue.Item{Kind: "k", Encoding: fmt.Sprint("e", rnd.IntN(3)), Payload: sizedItem(rnd.IntN(1000), rnd.IntN(1000)).Payload}
				if rnd.IntN(5) == 0 {
					items[j].SourceID = fmt.Sprintf("s-%d", rnd.Uint64())
				}
				if rnd.IntN(20) == 0 {
					items[j].EnqueueAt = time.Now().Add(time.Duration(1+rnd.IntN(5)) * time.Hour)
				}
			}
			if rnd.IntN(20) == 0 {
				items[0].Payload = sizedItem(i, 3<<20).Payload
			}
			must(q.Produce(d.t.Context(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
		default:
			r, err := q.Lease(d.t.Context(), &queue.LeaseRequest{ClientID: "c", BatchSize: 1 + rnd.IntN(100), RequestTimeout: 20 * time.Millisecond})
			must(err)
			if err == nil {
				d.settle(rnd, q, r)
			}
		}
	}
}

// settle completes, retries or keeps what was leased.
func (d *device) settle(rnd *rand.Rand, q *queue.Queue, r *queue.LeaseResult) {
	d.t.Helper()
	done := &queue.CompleteRequest{Partition: r.Partition, RequestTimeout: time.Minute}
	again := &queue.RetryRequest{Partition: r.Partition}
	for i := range r.Items {
		switch id := r.Items[i].ID.String(); rnd.IntN(6) {
		case 0:
			again.Items = append(again.Items, queue.RetryItem{ID: id, Dead: rnd.IntN(3) == 0})
		case 1:
		default:
			done.IDs = append(done.IDs, id)
		}
	}
	r.Release()
	var err error
	if len(done.IDs) > 0 {
		err = q.Complete(d.t.Context(), done)
	}
	if len(again.Items) > 0 {
		err = errors.Join(err, q.Retry(d.t.Context(), again))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// quiet waits until no item is on its way between queues.
func (d *device) quiet() {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		moving := int64(0)
		for _, name := range []string{"a", "b", "dead"} {
			s, err := d.queue(name).Stats(d.t.Context())
			if err != nil {
				d.t.Fatal(err)
			}
			for _, p := range s.Partitions {
				moving += p.Moving
			}
		}
		if moving == 0 {
			return
		}
	}
	d.t.Fatal("items are still being moved")
}

func TestBackupRoundTrip(t *testing.T) {
	t.Parallel()
	rnd := newSeed(t)
	d := startDevice(t, t.TempDir())
	d.create("dead", "", 1)
	d.create("a", "dead", 2)
	d.create("b", "dead", 1)
	var files [][]byte
	var head *backup.Head
	for round := range 3 {
		d.load(rnd, 40)
		d.quiet()
		if round == 1 {
			d.stop() // Another process goes on in segments of its own.
			d = startDevice(t, d.dir)
		}
		var b []byte
		head, b = d.take(head)
		files = append(files, b)
		want := d.contents()

		to := startDevice(t, t.TempDir())
		done, err := to.put(merged(t, backup.Selection{Partition: -1}, files...))
		if err != nil {
			t.Fatal(err)
		}
		if done.Queues != 3 || done.Partitions != 4 || done.Items != head.Items() || len(done.Notes) != 0 {
			t.Errorf("round %d: restored %+v", round, done)
		}
		if got := to.contents(); !maps.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("round %d: the restored device holds something else: %s", round, difference(got, want))
		}
		to.audit()
		to.load(rnd, 10)
		to.audit()
		to.stop()
	}
	d.stop()
}

// difference says where two contents differ first.
func difference(got, want map[string][]string) string {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		g, w := got[key], want[key]
		for i := range max(len(g), len(w)) {
			switch {
			case i >= len(g):
				return fmt.Sprintf("%s: %d items, want %d; the next is %.100s", key, len(g), len(w), w[i])
			case i >= len(w):
				return fmt.Sprintf("%s: %d items, want %d; the next is %.100s", key, len(g), len(w), g[i])
			case g[i] != w[i]:
				return fmt.Sprintf("%s: item %d is %.200s, want %.200s", key, i, g[i], w[i])
			}
		}
	}
	return fmt.Sprintf("queues %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
}
