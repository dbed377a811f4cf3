package badgerstore

// These tests damage definitions that lie in the value log.

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Of definitions one that is large, and so in the value log, is damaged: the others are
// there, and that something is missing is told.
func TestLargeDefinitionIsDamaged(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 3} { // 1: all in the first transaction
		from := t.TempDir()
		put := func(m *Meta, name string, large bool) {
			d := queue.Definition{Info: queue.Info{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour}}
			if large { // as of a queue with so many partitions
				d.Places = slices.Repeat([]queue.Place{{Storage: "main"}}, 256)
			}
			if err := m.Put(context.Background(), &d); err != nil {
				t.Fatal(err)
			}
		}
		m, err := OpenMeta(Options{Dir: from, Boot: "boot"})
		if err != nil {
			t.Fatal(err)
		}
		put(m, "small", false)
		put(m, "large", true)
		if count == 1 { // written anew with the first change after opening
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			if m, err = OpenMeta(Options{Dir: from, Boot: "boot"}); err != nil {
				t.Fatal(err)
			}
		}
		put(m, "third", false)
		put(m, "fourth", true)
		put(m, "fifth", false)
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		logs, _ := filepath.Glob(filepath.Join(dir, metaDirName, "*", "*.vlog"))
		if len(logs) != 1 {
			t.Fatal(logs)
		}
		flip(t, logs[0], logHeader+4000) // in the value of "large"
		var aside []string
		m, err = OpenMeta(Options{Dir: dir, Boot: "boot", Events: Events{SetAside: func(_, _, r string) { aside = append(aside, r) }}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := m.Load(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range list {
			names = append(names, list[i].Name)
		}
		if !slices.Equal(names, []string{"fifth", "fourth", "small", "third"}) || m.Damage() == nil {
			t.Errorf("%d: definitions %q, aside %q, damage %v", count, names, aside, m.Damage())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The damaged one is in the only transaction, or was put again since.
func TestLargeDefinitionAloneIsDamaged(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		from := t.TempDir()
		put := func(m *Meta, name string, partitions int) {
			d := queue.Definition{Info: queue.Info{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour}}
			d.Places = slices.Repeat([]queue.Place{{Storage: "main"}}, partitions)
			if err := m.Put(context.Background(), &d); err != nil {
				t.Fatal(err)
			}
		}
		m, err := OpenMeta(Options{Dir: from, Boot: "boot"})
		if err != nil {
			t.Fatal(err)
		}
		put(m, "small", 1)
		put(m, "large", 256)
		want := []string{"large", "small", "third"}
		if again {
			put(m, "third", 1)
			put(m, "large", 256) // the one before is damaged, and wanted by nobody
		} else {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			if m, err = OpenMeta(Options{Dir: from, Boot: "boot"}); err != nil {
				t.Fatal(err)
			}
			put(m, "third", 1) // writes all of them anew
			want = []string{"small", "third"}
		}
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		logs, _ := filepath.Glob(filepath.Join(dir, metaDirName, "*", "*.vlog"))
		if len(logs) != 1 {
			t.Fatal(logs)
		}
		flip(t, logs[0], logHeader+4000)
		var aside []string
		m, err = OpenMeta(Options{Dir: dir, Boot: "boot", Events: Events{SetAside: func(_, _, r string) { aside = append(aside, r) }}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := m.Load(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range list {
			names = append(names, list[i].Name)
		}
		if !slices.Equal(names, want) || m.Damage() == nil {
			t.Errorf("again %v: definitions %q, want %q, aside %q, damage %v", again, names, want, aside, m.Damage())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Verify tells of damaged definitions of a store that was not closed.
func TestVerifyOfLargeDefinitions(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	m, err := OpenMeta(Options{Dir: from, Boot: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"large", "second"} {
		d := queue.Definition{Info: queue.Info{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour}}
		if name == "large" {
			d.Places = slices.Repeat([]queue.Place{{Storage: "main"}}, 256)
		}
		if err := m.Put(context.Background(), &d); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	logs, _ := filepath.Glob(filepath.Join(dir, metaDirName, "*", "*.vlog"))
	flip(t, logs[0], logHeader+4000)
	if err := os.WriteFile(filepath.Join(dir, formatName), []byte{}, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, formatName))
	s, err := New(Options{Dir: dir, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	faults := 0
	if _, err := Verify(dir, func(f Fault) { t.Log(f.Reason); faults++ }); err != nil {
		t.Fatal(err)
	}
	if faults == 0 {
		t.Error("verify reports nothing")
	}
}
