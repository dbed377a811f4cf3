package flashfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if flashfs.IsServer() {
		if err := flashfs.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// disk is a device with helpers that end the test when they fail.
type disk struct {
	*testing.T
	*flashfs.Device
}

// newDisk mounts a device. Where that is not possible, the test fails on the
// machines that judge changes, and is skipped elsewhere.
func newDisk(t *testing.T, model flashfs.Model) *disk {
	d, err := flashfs.Start(t.TempDir(), model)
	if errors.Is(err, flashfs.ErrWordSize) || errors.Is(err, flashfs.ErrNoFUSE) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return &disk{t, d}
}

func (d *disk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *disk) path(name string) string { return filepath.Join(d.Dir, name) }

// cut cuts the power; nothing is open.
func (d *disk) cut(pages, names flashfs.Keep) flashfs.Outcome {
	d.Helper()
	out, err := d.Cut(flashfs.Cut{Seed: 1, Pages: pages, Names: names})
	d.must(err)
	return out
}

// open opens a file, and creates it if need be.
func (d *disk) open(name string) *os.File {
	d.Helper()
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	d.must(err)
	return f
}

// write writes a file and closes it, synced if so asked.
func (d *disk) write(name, text string, sync bool) {
	d.Helper()
	f := d.open(name)
	_, err := f.WriteAt([]byte(text), 0)
	d.must(err)
	if sync {
		d.must(f.Sync())
	}
	d.must(f.Close())
}

func (d *disk) syncDir(name string) {
	d.Helper()
	f, err := os.Open(d.path(name))
	d.must(err)
	d.must(f.Sync())
	d.must(f.Close())
}

// want checks the text of a file; "-" says that it is not there.
func (d *disk) want(name, text string) {
	d.Helper()
	got, err := os.ReadFile(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		got = []byte("-")
	} else {
		d.must(err)
	}
	if string(got) != text {
		d.Errorf("%s has %.60q, want %.60q", name, got, text)
	}
}

func TestContent(t *testing.T) {
	for _, model := range flashfs.Models() {
		t.Run(string(model), func(t *testing.T) {
			d := newDisk(t, model)
			d.write("a", "synced", true)
			d.syncDir("")
			d.cut(flashfs.KeepNone, flashfs.KeepNone)
			d.want("a", "synced")
			d.write("a", "SYNCED, and more", false)
			d.cut(flashfs.KeepNone, flashfs.KeepNone)
			d.want("a", "synced")
			d.write("a", "SYNCED, and more", false)
			if out := d.cut(flashfs.KeepAll, flashfs.KeepAll); out.Pages != 1 || out.KeptPages != 1 || out.Sizes != 1 {
				t.Errorf("the cut says %+v", out)
			}
			d.want("a", "SYNCED, and more")
			d.must(os.Truncate(d.path("a"), 4))
			d.cut(flashfs.KeepNone, flashfs.KeepNone)
			d.want("a", "SYNCED, and more")
		})
	}
}

// TestMapping writes through a mapping, which the server sees only when the
// kernel writes back.
func TestMapping(t *testing.T) {
	d := newDisk(t, flashfs.Journal)
	d.write("a", string(make([]byte, 3*4096)), true)
	f := d.open("a")
	m, err := unix.Mmap(int(f.Fd()), 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	d.must(err)
	copy(m, "one")
	copy(m[4096:], "two")
	d.must(unix.Fdatasync(int(f.Fd())))
	copy(m[4096:], "TWO")
	copy(m[2*4096:], "three")
	d.must(unix.Munmap(m))
	d.must(f.Close())
	out := d.cut(flashfs.KeepNone, flashfs.KeepNone)
	if out.Pages != 2 {
		t.Errorf("%d pages were not synced, want 2", out.Pages)
	}
	got, err := os.ReadFile(d.path("a"))
	d.must(err)
	if string(got[:3]) != "one" || string(got[4096:4099]) != "two" || got[2*4096] != 0 {
		t.Errorf("after the cut there is %q, %q, %q", got[:3], got[4096:4099], got[8192:8197])
	}
}

// TestTorn looks for pages that are kept in part, by sectors.
func TestTorn(t *testing.T) {
	d := newDisk(t, flashfs.Journal)
	const pages = 400
	d.write("a", strings.Repeat("o", pages*4096), true)
	d.write("a", strings.Repeat("n", pages*4096), false)
	out := d.cut(flashfs.KeepTorn, flashfs.KeepSome)
	got, err := os.ReadFile(d.path("a"))
	d.must(err)
	torn, kept := 0, 0
	for i := range pages {
		news := 0
		for j := range 8 {
			switch sector := got[i*4096+j*512:][:512]; {
			case bytes.Count(sector, []byte("n")) == 512:
				news++
			case bytes.Count(sector, []byte("o")) != 512:
				t.Fatalf("sector %d of page %d is torn", j, i)
			}
		}
		if news > 0 {
			kept++
		}
		if news > 0 && news < 8 {
			torn++
		}
	}
	if out.Pages != pages || kept == 0 || kept == pages || torn == 0 || kept > out.KeptPages {
		t.Errorf("of %d pages %d were kept, %d in part; the cut says %+v", pages, kept, torn, out)
	}
}

// TestNames does something to a file "a", which has "old", and a file "b", and
// cuts the power such that nothing is kept that was not synced.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name                 string
		do                   func(d *disk)
		journal, log, strict string // what "a" and "b" have then
	}{
		{"nothing synced", func(d *disk) { d.write("b", "new", false) }, "old -", "old -", "old -"},
		{"file synced", func(d *disk) { d.write("b", "new", true) }, "old new", "old new", "old -"},
		{"directory synced", func(d *disk) { d.write("b", "new", false); d.syncDir("") }, "old ", "old ", "old "},
		{"both synced", func(d *disk) { d.write("b", "new", true); d.syncDir("") }, "old new", "old new", "old new"},
		{"renamed", func(d *disk) { d.must(os.Rename(d.path("a"), d.path("b"))) }, "old -", "old -", "old -"},
		{"renamed and synced", func(d *disk) { d.must(os.Rename(d.path("a"), d.path("b"))); d.syncDir("") }, "- old", "- old", "- old"},
		{"removed", func(d *disk) { d.must(os.Remove(d.path("a"))) }, "old -", "old -", "old -"},
		{"removed and synced", func(d *disk) { d.must(os.Remove(d.path("a"))); d.syncDir("") }, "- -", "- -", "- -"},
		{"removed, another file synced", func(d *disk) {
			d.must(os.Remove(d.path("a")))
			d.write("b", "new", true)
		}, "- new", "old new", "old -"},
		{"removed and made again, synced", func(d *disk) {
			d.must(os.Remove(d.path("a")))
			d.write("a", "new", true)
		}, "new -", "new -", "old -"},
		{"linked", func(d *disk) { d.must(os.Link(d.path("a"), d.path("b"))); d.syncDir("") }, "old old", "old old", "old old"},
		{"truncated", func(d *disk) { d.must(os.Truncate(d.path("a"), 0)) }, "old -", "old -", "old -"},
		{"truncated, another file synced", func(d *disk) {
			d.must(os.Truncate(d.path("a"), 0))
			d.write("b", "new", true)
		}, " new", "old new", "old -"},
		{"truncated and synced", func(d *disk) {
			d.must(os.Truncate(d.path("a"), 0))
			d.write("a", "n", true)
		}, "n -", "n -", "n -"},
		{"in a new directory", func(d *disk) {
			d.must(os.Mkdir(d.path("x"), 0o700))
			d.must(os.Rename(d.path("a"), d.path("x/a")))
			d.write("x/a", "new", true)
			d.syncDir("x")
			d.must(os.Link(d.path("x/a"), d.path("b")))
		}, "- -", "- -", "new -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, want := range []string{c.journal, c.log, c.strict} {
				d := newDisk(t, flashfs.Models()[i])
				d.write("a", "old", true)
				d.syncDir("")
				c.do(d)
				d.cut(flashfs.KeepNone, flashfs.KeepNone)
				a, b, _ := strings.Cut(want, " ")
				d.want("a", a)
				d.want("b", b)
			}
		})
	}
}

// TestOrder keeps all changes up to any point: of many files, the first ones.
func TestOrder(t *testing.T) {
	for _, model := range flashfs.Models() {
		d := newDisk(t, model)
		for i := range 100 {
			d.write(fmt.Sprintf("%02d", i), "", false)
		}
		out := d.cut(flashfs.KeepNone, flashfs.KeepSome)
		entries, err := os.ReadDir(d.Dir)
		d.must(err)
		if out.Names != 100 || out.KeptNames == 0 || out.KeptNames == 100 || len(entries) != out.KeptNames {
			t.Errorf("%s: %d files are there; the cut says %+v", model, len(entries), out)
		}
		for i := range entries {
			if entries[i].Name() != fmt.Sprintf("%02d", i) {
				t.Errorf("%s: file %d of those that are there is %s", model, i, entries[i].Name())
			}
		}
	}
}

// TestStrictMove moves a directory to another one: it is on flash when both were
// synced, and not lost before.
func TestStrictMove(t *testing.T) {
	d := newDisk(t, flashfs.Strict)
	for _, dir := range []string{"x", "y", "x/s"} {
		d.must(os.Mkdir(d.path(dir), 0o700))
	}
	d.write("x/s/a", "text", true)
	for _, dir := range []string{"x/s", "x", ""} {
		d.syncDir(dir)
	}
	d.must(os.Rename(d.path("x/s"), d.path("y/s")))
	d.syncDir("y")
	d.cut(flashfs.KeepNone, flashfs.KeepNone)
	d.want("x/s/a", "text")
	d.must(os.Rename(d.path("x/s"), d.path("y/s")))
	d.syncDir("y")
	d.syncDir("x")
	d.cut(flashfs.KeepNone, flashfs.KeepNone)
	d.want("y/s/a", "text")
	d.want("x/s/a", "-")
}

// TestFailedSync: what a sync that failed was to put on flash, no later one does.
func TestFailedSync(t *testing.T) {
	d := newDisk(t, flashfs.Journal)
	d.write("a", "old", true)
	d.must(d.SetRules(&flashfs.Rule{Calls: []string{flashfs.CallFsync}, Error: syscall.EIO, Times: 1}))
	f := d.open("a")
	_, err := f.WriteAt([]byte("new"), 0)
	d.must(err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the sync returned %v, want EIO", err)
	}
	d.must(f.Sync())
	d.must(f.Close())
	state, err := d.Look()
	d.must(err)
	if state.Faults != 1 || state.Unsynced.Pages != 1 {
		t.Errorf("the device says %+v", state)
	}
	d.cut(flashfs.KeepNone, flashfs.KeepNone)
	d.want("a", "old")
}

// TestRules makes calls fail below one directory only.
func TestRules(t *testing.T) {
	d := newDisk(t, flashfs.Journal)
	d.must(os.Mkdir(d.path("x"), 0o700))
	d.write("x/a", "old", true)
	d.must(d.SetRules(&flashfs.Rule{Calls: flashfs.Changes(), Under: "/x", Error: syscall.EROFS, Skip: 1}))
	d.must(os.Mkdir(d.path("x/skipped"), 0o700))
	for name, err := range map[string]error{
		"create":   os.WriteFile(d.path("x/b"), nil, 0o600),
		"mkdir":    os.Mkdir(d.path("x/c"), 0o700),
		"rename":   os.Rename(d.path("x/a"), d.path("x/d")),
		"remove":   os.Remove(d.path("x/a")),
		"truncate": os.Truncate(d.path("x/a"), 0),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
	f := d.open("x/a")
	if _, err := f.WriteAt([]byte("new"), 0); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write: %v, want EROFS", err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 4096); !errors.Is(err, syscall.EROFS) {
		t.Errorf("fallocate: %v, want EROFS", err)
	}
	d.must(f.Close())
	d.write("b", "elsewhere", true)
	d.must(d.SetRules())
	d.want("x/a", "old")
	d.write("x/a", "new", true)
}

// TestFreeze: whoever is in a call when the cut comes gets no answer, and what it
// synced is not on flash.
func TestFreeze(t *testing.T) {
	d := newDisk(t, flashfs.Journal)
	d.write("a", "old", true)
	f := d.open("a")
	_, err := f.WriteAt([]byte("new"), 0)
	d.must(err)
	d.must(d.Freeze())
	answer := make(chan error, 1)
	go func() { answer <- f.Sync() }()
	if _, err := d.Look(); err != nil { // The server itself goes on.
		t.Error(err)
	}
	select {
	case err := <-answer:
		t.Fatalf("the sync was answered: %v", err)
	default:
	}
	d.must(d.Die())
	if err := <-answer; err == nil {
		t.Error("a sync succeeded after the cut")
	}
	d.must(f.Close())
	d.cut(flashfs.KeepNone, flashfs.KeepNone)
	d.want("a", "old")
}

// TestCalls uses what the program uses of a file system beside.
func TestCalls(t *testing.T) {
	d := newDisk(t, flashfs.Strict)
	f := d.open("a")
	defer f.Close()
	d.must(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	g := d.open("a")
	defer g.Close()
	if err := unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a second lock: %v", err)
	}
	d.must(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20))
	var st unix.Stat_t
	d.must(unix.Fstat(int(f.Fd()), &st))
	if st.Size != 0 || st.Blocks != 1<<20/512 {
		t.Errorf("after reserving 1 MiB the file has %d bytes in %d blocks", st.Size, st.Blocks)
	}
	_, err := f.WriteAt(bytes.Repeat([]byte("x"), 10000), 0)
	d.must(err)
	d.must(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, 100, 9800))
	got, err := os.ReadFile(d.path("a"))
	d.must(err)
	if len(got) != 10000 || bytes.Count(got, []byte("x")) != 200 || got[99] != 'x' || got[100] != 0 {
		t.Errorf("after punching a hole: %d bytes, %d of them left", len(got), bytes.Count(got, []byte("x")))
	}
	d.must(os.Truncate(d.path("a"), 1<<20))
	_, err = f.WriteAt([]byte("y"), 1<<19)
	d.must(err)
	if at, err := f.Seek(1<<14, unix.SEEK_DATA); at != 1<<19 || err != nil {
		t.Errorf("the next data is at %d: %v", at, err)
	}
	if _, err := f.Seek(1<<19+4096, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		t.Errorf("behind all data: %v, want ENXIO", err)
	}
	if _, err := os.OpenFile(d.path("a"), os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file was created twice: %v", err)
	}
	d.must(os.WriteFile(d.path("a"), []byte("short"), 0o600))
	d.want("a", "short")
}

// TestDump writes what the cut has left to another file system.
func TestDump(t *testing.T) {
	d := newDisk(t, flashfs.Journal)
	d.must(os.Mkdir(d.path("x"), 0o700))
	d.write("x/a", "text", true)
	d.cut(flashfs.KeepNone, flashfs.KeepNone)
	d.write("x/a", "TEXT", true)
	to := t.TempDir()
	d.must(d.Dump(to))
	if got, err := os.ReadFile(filepath.Join(to, "x/a")); err != nil || string(got) != "text" {
		t.Errorf("the image has %q: %v", got, err)
	}
}
