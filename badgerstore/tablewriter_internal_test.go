package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// tableEntry is an entry of a table in a test.
type tableEntry struct {
	key   []byte
	value y.ValueStruct
}

// randomTable returns entries as our databases have them, in order.
func randomTable(rnd *rand.Rand, count, size int) []tableEntry {
	list := make([]tableEntry, count)
	for i := range list {
		key := numberedKey("bhrx"[rnd.IntN(4)], rnd.Uint64N(1<<rnd.IntN(60)))
		if rnd.IntN(20) == 0 {
			key = fmt.Appendf(nil, "!badger!%d", rnd.IntN(1000))
		}
		e := tableEntry{key: y.KeyWithTs(key, rnd.Uint64N(1<<40))}
		if rnd.IntN(3) == 0 {
			e.value.Meta, e.value.Value = metaPointer, make([]byte, pointerSize)
			binary.NativeEndian.PutUint32(e.value.Value[4:], rnd.Uint32N(1<<20))
		} else {
			e.value.Value = make([]byte, rnd.IntN(size))
			for j := range e.value.Value {
				e.value.Value[j] = byte(rnd.Uint32())
			}
		}
		list[i] = e
	}
	slices.SortFunc(list, func(a, b tableEntry) int { return y.CompareKeys(a.key, b.key) })
	return slices.CompactFunc(list, func(a, b tableEntry) bool { return bytes.Equal(a.key, b.key) })
}

// writeTable returns the table of the entries.
func writeTable(list []tableEntry) []byte {
	size := 0
	for i := range list {
		size += len(list[i].key) + len(list[i].value.Value)
	}
	w := newTableWriter(len(list), size)
	for i := range list {
		w.add(list[i].key, &list[i].value)
	}
	return w.finish()
}

// badgerTable returns it as Badger builds it.
func badgerTable(list []tableEntry) []byte {
	o := badgerOptions("", nil)
	b := table.NewTableBuilder(table.Options{TableSize: 64 << 20, BlockSize: o.BlockSize, BloomFalsePositive: o.BloomFalsePositive,
		ChkMode: o.ChecksumVerificationMode, Compression: options.None})
	defer b.Close()
	for i := range list {
		v, pointed := list[i].value, uint32(0)
		if v.Meta&metaPointer != 0 {
			pointed = binary.NativeEndian.Uint32(v.Value[4:])
		}
		b.Add(list[i].key, v, pointed)
	}
	return b.Finish()
}

// A table is what Badger would have made of the same entries, to the byte.
func TestTableLikeBadger(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for _, size := range []int{1, 40, 300, tableBlockSize - 40, valueThreshold, 3 * valueThreshold} {
		for _, count := range []int{1, 2, 3, 50, 700} {
			list := randomTable(rnd, count, size)
			if got, want := writeTable(list), badgerTable(list); !bytes.Equal(got, want) {
				t.Fatalf("%d entries of up to %d bytes: a table of %d bytes, Badger's has %d", len(list), size, len(got), len(want))
			}
		}
	}
}

// Making a table takes what the table has, and little more: partitions that take
// turns make one each time.
func TestTableMemory(t *testing.T) {
	for _, size := range []int{40, 300, valueThreshold} {
		list := randomTable(rand.New(rand.NewPCG(1, uint64(size))), 400, size)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		data := writeTable(list)
		runtime.ReadMemStats(&after)
		// Other goroutines of the tests may allocate too, but no megabytes.
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(3*len(data)+64<<10); got > most {
			t.Errorf("a table of %d bytes took %d bytes of memory, want at most %d", len(data), got, most)
		}
	}
}
