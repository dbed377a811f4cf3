package badgerstore_test

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// TestRandomDamage damages a random range of a random file: flipped, overwritten,
// zeroed or cut off there.
func TestRandomDamage(t *testing.T) {
	seed := queuetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 12))
	n := 30
	if os.Getenv("QUERATOR_LONG") != "" {
		n = 1000
	}
	stores := []*prepared{prepare(t, false), prepare(t, true)}
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
		if err == nil && d.Type().IsRegular() && !strings.Contains(path, "other-") {
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
