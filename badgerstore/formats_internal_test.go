package badgerstore

// The tests of the stored formats are in the package, since the formats are
// nobody's business but the store's.

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the random tests; 0 takes a new one, which is printed")
	goldenFlag = flag.Bool("golden", false, "write testdata/formats-v1 anew")
)

var testTag = queue.Tag{'t', 't', 't', 't', 't', 't', 't', 't', 't', 't', 't', 't'}

// newRand returns a random source with a seed that is printed on failure.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -run '^%s$' -seed=%d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// someInt64 returns numbers of all sizes, and the extremes.
func someInt64(r *rand.Rand) int64 {
	switch r.IntN(8) {
	case 0:
		return 0
	case 1:
		return math.MaxInt64
	case 2:
		return math.MinInt64
	}
	return int64(r.Uint64()) >> r.IntN(64)
}

func someUint64(r *rand.Rand) uint64 { return uint64(someInt64(r)) }

func someInt32(r *rand.Rand) int32 { return int32(someInt64(r) >> 32) }

// someTime returns times of the years 1 to 9999, and the zero time.
func someTime(r *rand.Rand) time.Time {
	switch r.IntN(6) {
	case 0:
		return time.Time{}
	case 1:
		return time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	case 2:
		return time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	case 3:
		return time.Unix(momentMin+r.Int64N(momentMax-momentMin), r.Int64N(second)).UTC()
	}
	return time.Unix(1_790_000_000+r.Int64N(1e6), r.Int64N(second)).UTC()
}

func checkEqual(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// checkBroken checks that decode finds out about every single flipped bit and
// every cut of value, says so in one of the two ways, and takes value itself.
func checkBroken(t *testing.T, value []byte, decode func([]byte) error) {
	t.Helper()
	if err := decode(value); err != nil {
		t.Fatalf("the value itself: %v", err)
	}
	for bit := range len(value) * 8 {
		broken := bytes.Clone(value)
		broken[bit/8] ^= 1 << (bit % 8)
		if err := decode(broken); !isBroken(err) {
			t.Fatalf("bit %d flipped: got %v, want an error that is ErrCorrupt or ErrFormat", bit, err)
		}
	}
	for n := range len(value) {
		if err := decode(bytes.Clone(value[:n])); !isBroken(err) {
			t.Fatalf("cut to %d bytes: got %v, want an error that is ErrCorrupt or ErrFormat", n, err)
		}
	}
}

func isBroken(err error) bool {
	return errors.Is(err, queue.ErrCorrupt) || errors.Is(err, queue.ErrFormat)
}

// checkNewer checks that decode knows a later version for what it is.
func checkNewer(t *testing.T, value []byte, decode func([]byte) error) {
	t.Helper()
	if err := decode(reseal(value, func(b []byte) { b[0] |= 0x0f })); !errors.Is(err, queue.ErrFormat) {
		t.Fatalf("version 15: got %v, want an error that is ErrFormat", err)
	}
	if err := decode(reseal(value, func(b []byte) { b[0] = 0xf1 })); !errors.Is(err, queue.ErrCorrupt) {
		t.Fatalf("another kind: got %v, want an error that is ErrCorrupt", err)
	}
}

// reseal changes a copy of value and makes its checksum right again.
func reseal(value []byte, change func(b []byte)) []byte {
	b := bytes.Clone(value[:len(value)-sumSize])
	change(b)
	return appendSum(b, 0)
}

// allocated returns how many bytes run allocates.
func allocated(run func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 { // Others may allocate meanwhile, such as a database that is left to the end.
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// fuzzSeal puts a right checksum at the end of what a fuzzer made up, so that
// it gets beyond the first check.
func fuzzSeal(body []byte) []byte { return appendSum(bytes.Clone(body), 0) }

// golden returns the bytes that the first version wrote, which every later
// version has to read. With -golden they become value first.
func golden(t *testing.T, name string, value []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "formats-v1", name+".hex")
	if *goldenFlag {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var text []byte
		for line := range slices.Chunk(value, 16) {
			text = fmt.Appendf(text, "% x\n", line)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// checkGolden checks that value is written as the first version did.
func checkGolden(t *testing.T, name string, value []byte) {
	t.Helper()
	if want := golden(t, name, value); !bytes.Equal(value, want) {
		t.Fatalf("%s:\n got % x\nwant % x", name, value, want)
	}
}
