package badgerstore_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// definitionsOf opens the definitions in dir and returns the names of the queues, and
// what was set aside.
func definitionsOf(t *testing.T, dir string) (names, aside []string, damage error) {
	t.Helper()
	m, err := badgerstore.OpenMeta(badgerstore.Options{Dir: dir, Boot: "boot-1", Events: badgerstore.Events{
		SetAside: func(from, _, reason string) { aside = append(aside, from+": "+reason) },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	list, err := m.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names, aside, m.Damage()
}

// killedDefinitions returns a copy of definitions of two queues as SIGKILL would leave
// them.
func killedDefinitions(t *testing.T) (dir, generation string) {
	t.Helper()
	from := t.TempDir()
	m, err := badgerstore.OpenMeta(badgerstore.Options{Dir: from, Boot: "boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		d := queue.Definition{Info: queue.Info{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour}}
		if err := m.Put(context.Background(), &d); err != nil {
			t.Fatal(err)
		}
	}
	dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "~queue-storage-partition", "*", "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	return dir, filepath.Dir(logs[0])
}

// tearOff takes the last bytes off the content of the log of a generation, as a power
// cut does with those that were not on flash.
func tearOff(t *testing.T, generation string, n int) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(generation, "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	content, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(content, "\x00"))
	clear(content[end-n : end])
	if err := os.WriteFile(logs[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A definition of which the end of its transaction is not there is no damage, and is
// there for good: it may have been acknowledged.
func TestTornDefinition(t *testing.T) {
	dir, generation := killedDefinitions(t)
	tearOff(t, generation, 10)
	for range 3 {
		names, aside, damage := definitionsOf(t, dir)
		if !slices.Equal(names, []string{"first", "second"}) || len(aside) > 0 || damage != nil {
			t.Errorf("definitions of %q, set aside %q, damage %v", names, aside, damage)
		}
	}
}

// A generation that took a change after it was written is not given up for an older
// one that is still there, when its beginning is damaged: what can be read of it is
// copied, and it is set aside.
func TestDamagedGeneration(t *testing.T) {
	dir, generation := killedDefinitions(t)
	older := filepath.Join(filepath.Dir(generation), "00000000000000000000")
	if err := os.CopyFS(older, os.DirFS(generation)); err != nil {
		t.Fatal(err)
	}
	only := func(dir string, end int) []byte {
		logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
		if err != nil || len(logs) != 1 {
			t.Fatal(logs, err)
		}
		content, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(content, []byte("!badger!txn"))
		if end > 0 {
			clear(content[at+end:]) // The first change is all that it has.
		} else {
			content[at] ^= 1 // The end of the first transaction.
		}
		if err := os.WriteFile(logs[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		return content
	}
	only(older, 24) // Key, version, one digit and checksum.
	only(generation, 0)
	names, aside, _ := definitionsOf(t, dir)
	if !slices.Equal(names, []string{"first", "second"}) || len(aside) != 1 {
		t.Errorf("definitions of %q, set aside %q", names, aside)
	}
}

// A generation that was being written when the power went is none, and no damage.
func TestTornGeneration(t *testing.T) {
	for _, n := range []int{5, 60, 100} {
		dir, generation := killedDefinitions(t)
		next := filepath.Join(filepath.Dir(generation), "00000000167772160000")
		if err := os.CopyFS(next, os.DirFS(generation)); err != nil {
			t.Fatal(err)
		}
		// Of the first transaction of the new one, too, the end is missing.
		logs, err := filepath.Glob(filepath.Join(next, "*.mem"))
		if err != nil || len(logs) != 1 {
			t.Fatal(logs, err)
		}
		content, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		end := bytes.Index(content, []byte("!badger!txn")) - 5
		clear(content[end:])
		if err := os.WriteFile(logs[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		tearOff(t, next, n)
		names, aside, damage := definitionsOf(t, dir)
		if !slices.Equal(names, []string{"first", "second"}) || len(aside) > 0 || damage != nil {
			t.Errorf("%d bytes are missing: definitions of %q, set aside %q, damage %v", n, names, aside, damage)
		}
	}
}
