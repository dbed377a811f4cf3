package badgerstore_test

import (
	"os"
	"slices"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
)

// Segments that fill up by commits get larger memtables, and keep them while the load
// stays as it is.
func TestMemtableSuitsTheLoad(t *testing.T) {
	t.Parallel()
	for _, n := range []int{60, 100, 200, 400} { // What a commit may take of them depends on it.
		d := newDriver(t, badgerstore.Options{SegmentBytes: 8 << 20, MemoryBudget: 32 << 20})
		var sizes []int64
		for newest := ""; len(sizes) < 6; {
			d.produce(jsonItems(len(sizes), n))
			d.lease(n/2, false)
			d.lease(n/2, false)
			d.complete(n)
			badgerstore.WaitForBackground(d.s)
			dirs := segments(t, d.o.Dir)
			dir := dirs[len(dirs)-1]
			info, err := os.Stat(find(t, dir, "*.mem"))
			d.must(err)
			if dir != newest {
				newest = dir
				sizes = append(sizes, info.Size())
			}
		}
		if !slices.IsSorted(sizes) || sizes[2] == sizes[0] {
			t.Errorf("with %d items at a time the logs of memtables have %d bytes, one segment after the other", n, sizes)
		}
	}
}
