package badgerstore_test

import (
	"os"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
)

// checkStore fails the test unless the storage in dir, which is closed, is
// sound.
func checkStore(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return
	}
	if err := badgerstore.Check(dir); err != nil {
		t.Errorf("check %s: %v", dir, err)
	}
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
