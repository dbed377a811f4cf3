package badgerstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

func TestLock(t *testing.T) {
	o := badgerstore.Options{Dir: t.TempDir(), Boot: "boot-1"}
	s, err := badgerstore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = badgerstore.New(o)
	want := fmt.Sprintf("the directory %s is in use by process %d (", o.Dir, os.Getpid())
	if !errors.Is(err, queue.ErrLocked) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("second New: %v, want %s...", err, want)
	}
	m, err := badgerstore.OpenMeta(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.OpenMeta(o); !errors.Is(err, queue.ErrLocked) {
		t.Errorf("second OpenMeta: %v, want an error of kind ErrLocked", err)
	}
	if err := errors.Join(s.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = badgerstore.New(o); err != nil {
		t.Fatalf("New after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A process that was killed leaves its LOCK file, which locks nothing.
func TestLockOfDeadProcess(t *testing.T) {
	if os.Getenv("LOCK_DIR") != "" {
		if _, err := badgerstore.New(badgerstore.Options{Dir: os.Getenv("LOCK_DIR"), Boot: "boot-1"}); err != nil {
			t.Fatal(err)
		}
		os.Exit(0) // Without closing it.
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockOfDeadProcess$")
	cmd.Env = append(os.Environ(), "LOCK_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal(err)
	}
	s, err := badgerstore.New(badgerstore.Options{Dir: dir, Boot: "boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Whatever a queue is called, its directory is one below the storage, and no two
// queues share one.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	names := []string{
		"readings", "Readings", "../x", "..", ".", "/", "/etc/passwd", "a/b", "a%2Fb", "x\x00y", "größe", "名前", "\xff\xfe",
		strings.Repeat("a", 512), strings.Repeat("a", 511) + "b", strings.Repeat("ü", 256), strings.Repeat(".", 512),
		".hidden", "LOCK", "quarantine", "a.removed", "x-000001-partition",
	}
	s, err := badgerstore.New(badgerstore.Options{Dir: dir, Boot: "boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, no := range []int{0, 1} {
			ps, err := s.OpenPartition(queue.PartitionKey{Queue: name, Partition: no, Tag: testTag})
			if err != nil {
				t.Fatalf("open %q: %v", name, err)
			}
			if err := ps.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(entries), 2*len(names)+3; got != want {
		t.Errorf("%d names in the directory, want %d", got, want)
	}
	for _, e := range entries {
		if strings.ContainsFunc(e.Name(), func(r rune) bool { return r > '~' || r <= ' ' }) || len(e.Name()) > 255 {
			t.Errorf("directory name %q", e.Name())
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// The partition of a queue that was deleted is not the one of a new queue of
// that name.
func TestStalePartition(t *testing.T) {
	var aside []string
	d := newDriver(t, badgerstore.Options{Events: badgerstore.Events{
		SetAside: func(from, to, reason string) { aside = append(aside, to) },
	}})
	for n := range 2 {
		d.produce(jsonItems(0, 5))
		d.close()
		d.ready = nil
		d.key.Tag[0]++
		d.open()
		if len(aside) != n+1 {
			t.Fatalf("set aside: %v, want %d", aside, n+1)
		}
		if _, err := os.Stat(aside[n]); err != nil {
			t.Error(err)
		}
	}
	d.produce(jsonItems(5, 1))
	d.drain()
}

func TestRemovePartition(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.produce(jsonItems(0, 5))
	if err := d.s.RemovePartition(d.key); !errors.Is(err, queue.ErrLocked) {
		t.Errorf("remove while open: %v, want an error of kind ErrLocked", err)
	}
	d.must(d.ps.Close())
	other := d.key
	other.Tag[3]++
	d.must(d.s.RemovePartition(other))
	if len(segments(t, d.o.Dir)) != 1 {
		t.Error("removed by a key with another tag")
	}
	d.must(d.s.RemovePartition(d.key))
	d.must(d.s.RemovePartition(d.key))
	if dirs, _ := filepath.Glob(filepath.Join(d.o.Dir, "*-partition*")); len(dirs) != 0 {
		t.Errorf("left: %v", dirs)
	}
	d.ready = nil
	var err error
	d.ps, err = d.s.OpenPartition(d.key)
	d.must(err)
	d.st = d.ps.State()
	d.produce(jsonItems(0, 1))
	d.drain()
}

// Definitions survive restarts and kills, over many changes, and take little.
func TestMeta(t *testing.T) {
	o := badgerstore.Options{Dir: t.TempDir(), Boot: "boot-1"}
	ctx := context.Background()
	m, err := badgerstore.OpenMeta(o)
	if err != nil {
		t.Fatal(err)
	}
	def := queue.Definition{Info: queue.Info{Name: "q \xff", Reference: "\xfe", LeaseTimeout: time.Minute, CreatedAt: time.Unix(1, 2).UTC()},
		Places: []queue.Place{{Storage: "default", Tag: testTag}}}
	for i := range 1500 {
		def.MaxAttempts = i
		if err := m.Put(ctx, &def); err != nil {
			t.Fatal(err)
		}
	}
	gone := def
	gone.Name = "gone"
	if err := errors.Join(m.Put(ctx, &gone), m.Remove(ctx, "gone"), m.Remove(ctx, "never there")); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	copyDir(t, o.Dir, to)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{to, to, o.Dir} {
		o.Dir = dir
		if m, err = badgerstore.OpenMeta(o); err != nil {
			t.Fatal(err)
		}
		defs, err := m.Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(defs) != 1 || fmt.Sprint(defs[0]) != fmt.Sprint(def) {
			t.Errorf("loaded %v, want %v", defs, def)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		generations, err := filepath.Glob(filepath.Join(dir, "~queue-storage-partition", "0*"))
		if err != nil || len(generations) != 1 {
			t.Errorf("generations: %v, %v, want one", generations, err)
		}
	}
}
