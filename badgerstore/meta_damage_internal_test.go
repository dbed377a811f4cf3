package badgerstore

// These tests damage definitions that lie in the value log.

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

func openDefinitions(t *testing.T, dir string) *Meta {
	t.Helper()
	m, err := OpenMeta(Options{Dir: dir, Boot: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// define puts definitions of those names. One that is called large has so many partitions
// that it lies in the value log.
func define(t *testing.T, m *Meta, names ...string) {
	t.Helper()
	for _, name := range names {
		d := queue.Definition{Info: queue.Info{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour}}
		if strings.HasPrefix(name, "large") {
			d.Places = slices.Repeat([]queue.Place{{Storage: "main"}}, 256)
		}
		if err := m.Put(context.Background(), &d); err != nil {
			t.Fatal(err)
		}
	}
}

// damagedDefinitions returns a copy of the definitions, as after a kill, in which the
// first value of the value log is damaged. They are closed.
func damagedDefinitions(t *testing.T, m *Meta, from string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, metaDirName, "*", "*.vlog"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	flip(t, logs[0], logHeader+4000)
	return dir
}

// Of definitions one that is large, and so in the value log, is damaged: the others are
// there, and that something is missing is told.
func TestLargeDefinitionIsDamaged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after []string // the store is opened anew between them, if there are some after
		want          []string
	}{
		"more changes behind it": {
			[]string{"small", "large1", "third", "large2", "fifth"}, nil, []string{"fifth", "large2", "small", "third"},
		},
		"in the first change, with more behind it": {
			[]string{"small", "large1"}, []string{"third", "large2", "fifth"}, []string{"fifth", "large2", "small", "third"},
		},
		"in the only change, which writes all of them anew": {
			[]string{"small", "large1"}, []string{"third"}, []string{"small", "third"},
		},
		"it was put again since, and nobody wants the damaged one": {
			[]string{"small", "large1", "third", "large1"}, nil, []string{"large1", "small", "third"},
		},
	} {
		from := t.TempDir()
		m := openDefinitions(t, from)
		define(t, m, c.before...)
		if len(c.after) > 0 {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m = openDefinitions(t, from)
			define(t, m, c.after...)
		}
		m = openDefinitions(t, damagedDefinitions(t, m, from))
		list, err := m.Load(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range list {
			names = append(names, list[i].Name)
		}
		if !slices.Equal(names, c.want) || m.Damage() == nil {
			t.Errorf("%s: definitions %q, want %q, damage %v", name, names, c.want, m.Damage())
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
	m := openDefinitions(t, from)
	define(t, m, "large", "second")
	dir := damagedDefinitions(t, m, from)
	s, err := New(Options{Dir: dir, MinFree: -1}) // Without a storage there is no store to verify.
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
