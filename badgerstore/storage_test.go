package badgerstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

func TestStore(t *testing.T) {
	queuetest.RunStore(t, func(t testing.TB) queuetest.Harness { return harness(t.TempDir()) })
}

// harness opens the stores in dir.
func harness(dir string) queuetest.Harness {
	return queuetest.Harness{
		Open: func(t testing.TB, boot string) queuetest.Stores {
			o := badgerstore.Options{Dir: dir, Boot: boot, Events: badgerstore.Events{
				Failed: func(dir string, err error) { t.Errorf("in the background, %s: %v", dir, err) },
			}}
			s, err := badgerstore.New(o)
			if err != nil {
				t.Fatal(err)
			}
			m, err := badgerstore.OpenMeta(o)
			if err != nil {
				t.Fatal(err)
			}
			return queuetest.Stores{Storage: s, Meta: m}
		},
		Copy: func(t testing.TB) queuetest.Harness {
			to := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			return harness(to)
		},
	}
}
