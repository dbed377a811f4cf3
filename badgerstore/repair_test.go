package badgerstore_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// TestRandomDamage damages a random range of a random file: flipped, overwritten,
// zeroed or cut off there.
func TestRandomDamage(t *testing.T) {
	t.Parallel()
	seed := queuetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 12))
	n := 30
	if os.Getenv("QUERATOR_LONG") != "" {
		n = 1000
	}
	stores := []*prepared{prepare(t, false, false, false), prepare(t, true, false, false), prepare(t, true, true, false), prepare(t, true, true, true)}
	for range n {
		p := stores[r.IntN(len(stores))]
		files := p.files(t)
		rel := files[r.IntN(len(files))]
		kind, at, size, noise := r.IntN(4), r.Float64(), 1+r.IntN(1<<r.IntN(14)), r.Int()
		damage := func(path string, data []byte) error {
			from := int(at * float64(len(data)))
			end := min(len(data), from+size)
			switch kind {
			case 0:
				if from < len(data) {
					data[from] ^= 1 << (noise % 8)
				}
			case 1:
				copy(data[from:end], sizedItem(noise, size).Payload)
			case 2:
				clear(data[from:end])
			case 3:
				return os.Truncate(path, int64(from))
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err := f.WriteAt(data, 0); err != nil {
				return err
			}
			return f.Close()
		}
		round := slices.Index(roundDirs(t, p.dir), filepath.Dir(filepath.Join(p.dir, rel)))
		p.damaged(t, rel, round, damage)
		if t.Failed() {
			t.Fatalf("%s, kind %d, %d bytes at %.4f of it", rel, kind, size, at)
		}
	}
}

// files returns the files of the store, without those of the queue that is
// there to be left alone.
func (p *prepared) files(t testing.TB) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !(strings.Contains(path, "other-") || strings.Contains(path, "late-")) {
			rel, relErr := filepath.Rel(p.dir, path)
			files, err = append(files, rel), relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDamagedLastCommit damages the only commit of a store whose process was
// killed: it was acknowledged, so that it is no torn end.
func TestDamagedLastCommit(t *testing.T) {
	for _, pattern := range []string{"*.vlog", "*.mem"} {
		dir, to := t.TempDir(), t.TempDir()
		s := openSession(t, dir)
		ctx := t.Context()
		err := s.svc.Create(ctx, queue.Info{Name: "readings", LeaseTimeout: time.Hour, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.svc.Queue("readings")
		if err != nil {
			t.Fatal(err)
		}
		err = q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: sealedPayload(0, 0, 50_000)}}})
		if err != nil {
			t.Fatal(err)
		}
		copyUsed(t, dir, to)
		s.close()

		path := find(t, filepath.Join(to, "readings-000000-partition", "0*"), pattern)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(bytes.TrimRight(data, "\x00"))-100] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s = openSession(t, to)
		found := s.items("readings")
		if pattern == "*.vlog" && (len(found) != 0 || !strings.Contains(s.reported(), "quarantined 1 of readings/0")) {
			t.Errorf("a damaged value: %d items; reported:\n  %s", len(found), s.reported())
		}
		// The record is gone; the item is not.
		if pattern == "*.mem" && (len(found) != 1 || s.aside != 1) {
			t.Errorf("a damaged record: %d items; reported:\n  %s", len(found), s.reported())
		}
		s.close()
	}
}

// TestInterruptedRepair cuts the power at both moments of a repair that leave
// something behind.
func TestInterruptedRepair(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 5))
	d.reopen()
	d.kill(func(dir string) {
		segment := segments(t, dir)[0]
		d.must(os.Rename(segment, segment+".repair")) // The damaged one is in the quarantine already.
	})
	d.kill(func(dir string) {
		d.must(os.Mkdir(segments(t, dir)[0]+".repair", 0o700)) // Its copy was not whole yet.
	})
	left, err := filepath.Glob(filepath.Join(partitionDir(t, d.o.Dir), "*.repair"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	d.drain()
}

// A process that is killed while Badger turns a memtable into a table leaves a
// table that is empty, or not complete, beside the memtable. That is no damage.
func TestTableThatWasBeingWritten(t *testing.T) {
	for name, text := range map[string][]byte{"empty": nil, "half": bytes.Repeat([]byte("half a table"), 300)} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, badgerstore.Options{})
			d.produce(jsonItems(0, 100))
			d.lease(10, true)
			d.kill(func(dir string) {
				d.must(os.WriteFile(filepath.Join(segments(t, dir)[0], "000001.sst"), text, 0o600))
			})
			if got := d.ps.Damage(); len(got) > 0 {
				t.Errorf("reported as damage: %v", got)
			}
			aside, err := filepath.Glob(filepath.Join(d.o.Dir, "*", "quarantine", "*"))
			if err != nil || len(aside) > 0 {
				t.Errorf("set aside: %v, %v", aside, err)
			}
		})
	}
}
