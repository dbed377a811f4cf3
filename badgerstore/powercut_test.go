package badgerstore_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// A power cut keeps any of the pages that were written and not synced. Whatever
// they are, the partition opens, has all that was on flash, and is sound.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	seed := queuetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 11))
	for range 15 {
		cutOnce(t, r)
	}
}

func cutOnce(t *testing.T, r *rand.Rand) {
	d := newDriver(t, badgerstore.Options{})
	again := r.IntN(2) == 0
	if again { // A value log that was used before, with items that are gone.
		for i := range 1 + r.IntN(8) {
			d.produce([]queue.Item{sizedItem(i, 1+r.IntN(40_000))})
			d.produce(jsonItems(i*50, 1+r.IntN(200)))
		}
		d.drain()
		d.reopen()
		var logs []string
		for _, dir := range segments(t, d.o.Dir) {
			found, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
			d.must(err)
			logs = append(logs, found...)
		}
		d.must(badgerstore.UseAgain(d.s, d.key.Queue, nil, logs...))
	}
	for i := range r.IntN(4) {
		d.produce(jsonItems(i*50, 1+r.IntN(200)))
		d.lease(1+r.IntN(len(d.ready)), r.IntN(2) == 0)
		d.complete(r.IntN(len(d.out) + 1))
	}
	d.produce(jsonItems(0, 50)) // Synced, and all before it.
	synced := append(append([]uint64(nil), d.out...), d.ready...)
	base, now := t.TempDir(), t.TempDir()
	badgerstore.WaitForBackground(d.s)
	copyDir(t, d.o.Dir, base)
	for range 1 + r.IntN(6) {
		if r.IntN(2) == 0 || len(d.ready) == 0 {
			d.lazy = true
			d.produce([]queue.Item{sizedItem(r.IntN(1000), 1+r.IntN(40_000))})
			d.lazy = false
		} else {
			d.lease(r.IntN(min(20, len(d.ready)))+1, false)
		}
	}
	badgerstore.WaitForBackground(d.s)
	copyDir(t, d.o.Dir, now)
	dirs := segments(t, base)
	if g, ok := badgerstore.StampOf(find(t, dirs[len(dirs)-1], "*.vlog")); !ok || again != (g > 0) {
		t.Fatalf("the value log has the stamp %d, %t", g, ok)
	}
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		path := find(t, dirs[len(dirs)-1], pattern)
		rel, err := filepath.Rel(base, path)
		d.must(err)
		mixPages(t, r, path, filepath.Join(now, rel))
	}
	o := d.o
	o.Dir = base
	o.Events.SetAside = func(from, _, reason string) { t.Errorf("a power cut is no damage: %s was set aside: %s", from, reason) }
	s, err := badgerstore.New(o)
	d.must(err)
	ps, err := s.OpenPartition(d.key)
	if err != nil {
		t.Fatalf("open after a power cut: %v", err)
	}
	for _, seq := range synced {
		if !ps.State().IsAlive(seq) {
			t.Fatalf("item %d was on flash, and is gone", seq)
		}
	}
	if held, most := ps.State().Held(), int64(len(d.ready)+len(d.out)); held > most {
		t.Errorf("%d items are held, %d were there", held, most)
	}
	if _, err := ps.Get(synced); err != nil {
		t.Errorf("what was on flash: %v", err)
	}
	d.must(ps.Close())
	d.must(s.Close())
	checkStore(t, base)
	d.close()
	d.o.Dir = base
}

// mixPages puts some of the pages of the file at newer into the one at path.
func mixPages(t *testing.T, r *rand.Rand, path, newer string) {
	t.Helper()
	to, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.ReadFile(newer)
	if err != nil {
		t.Fatal(err)
	}
	if len(from) != len(to) {
		t.Fatalf("%s has %d bytes, and had %d", newer, len(from), len(to))
	}
	const page = 4096
	for off := 0; off < len(to); off += page {
		if r.IntN(2) == 0 {
			copy(to[off:min(off+page, len(to))], from[off:])
		}
	}
	if err := os.WriteFile(path, to, 0o600); err != nil {
		t.Fatal(err)
	}
}

// On a file system that puts the name of a new file on flash only with its
// directory, the table that a database is closed to may be named and not be there.
// The memtable is, and nothing is damaged.
func TestTableWithoutName(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 50))
	want := append([]uint64(nil), d.ready...)
	base := t.TempDir()
	badgerstore.WaitForBackground(d.s)
	copyDir(t, d.o.Dir, base)
	closed := segments(t, d.o.Dir)[0]
	rel, err := filepath.Rel(d.o.Dir, closed)
	d.must(err)
	d.close()
	manifest, err := os.ReadFile(filepath.Join(closed, "MANIFEST"))
	d.must(err)
	d.must(os.WriteFile(filepath.Join(base, rel, "MANIFEST"), manifest, 0o600))

	o := d.o
	o.Dir = base
	o.Events.SetAside = func(from, _, reason string) { t.Errorf("%s was set aside: %s", from, reason) }
	s, err := badgerstore.New(o)
	d.must(err)
	ps, err := s.OpenPartition(d.key)
	d.must(err)
	if found := ps.Damage(); len(found) > 0 {
		t.Errorf("damage: %v", found[0])
	}
	if items, err := ps.Get(want); err != nil || len(items) != 50 {
		t.Errorf("%d items are there: %v", len(items), err)
	}
	d.must(ps.Close())
	d.must(s.Close())
	checkStore(t, base)
}
