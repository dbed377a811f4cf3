package badgerstore_test

import (
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	queuetest.RunStore(t, func(t testing.TB) queuetest.Harness { return harness(t.TempDir()) })
}

func TestEngine(t *testing.T) {
	t.Parallel()
	queuetest.RunEngine(t, func(t testing.TB) queuetest.Harness { return harness(t.TempDir()) })
}

func TestWrongClock(t *testing.T) {
	queuetest.RunWrongClock(t, func(t testing.TB) queuetest.Harness { return harness(t.TempDir()) })
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	queuetest.RunOutbox(t, func(t testing.TB) queuetest.Harness { return smallHarness(t.TempDir(), 100<<10) })
}

// harness opens the stores in dir.
func harness(dir string) queuetest.Harness { return smallHarness(dir, 0) }

// smallHarness has segments of so many bytes.
func smallHarness(dir string, segment int64) queuetest.Harness {
	var s *badgerstore.Storage
	return queuetest.Harness{
		Open: func(t testing.TB, boot string) queuetest.Stores {
			o := badgerstore.Options{Dir: dir, Boot: boot, SegmentBytes: segment, Events: badgerstore.Events{
				Failed: func(dir string, err error) { t.Errorf("in the background, %s: %v", dir, err) },
			}}
			var err error
			s, err = badgerstore.New(o)
			if err != nil {
				t.Fatal(err)
			}
			m, err := badgerstore.OpenMeta(o)
			if err != nil {
				t.Fatal(err)
			}
			return queuetest.Stores{Storage: s, Meta: m}
		},
		Check: func(t testing.TB) { checkStore(t, dir) },
		Copy: func(t testing.TB) queuetest.Harness {
			to := filepath.Join(t.TempDir(), "copy")
			badgerstore.WaitForBackground(s) // A copy that takes time is a state that never was.
			copyDir(t, dir, to)
			return smallHarness(to, segment)
		},
	}
}
