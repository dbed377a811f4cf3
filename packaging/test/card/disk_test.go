package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// newTestDisk returns a disk of so many pages of zeroes.
func newTestDisk(t *testing.T, pages int64) *disk {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(pages * page); err != nil {
		t.Fatal(err)
	}
	d, err := newDisk(f, 7)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestCut checks that a cut takes some of what was not flushed, by whole pages, and nothing of what was.
func TestCut(t *testing.T) {
	const pages = 1000
	d := newTestDisk(t, pages)
	flushed, later := bytes.Repeat([]byte{1}, pages*page), bytes.Repeat([]byte{2}, pages*page)
	got := make([]byte, pages*page)
	steps := []error{d.write(flushed, 0, true), d.write(later, 0, false), d.read(got, 0)}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, later) {
		t.Error("what was written last is not what is read")
	}
	lost, kept, err := d.cut()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.read(got, 0); err != nil {
		t.Fatal(err)
	}
	old := 0
	for i := 0; i < len(got); i += page {
		switch p := got[i : i+page]; {
		case bytes.Equal(p, flushed[:page]):
			old++
		case !bytes.Equal(p, later[:page]):
			t.Fatalf("page %d is neither what was flushed nor what was written then", i/page)
		}
	}
	if old != lost || lost+kept != pages || lost < 100 || kept < 100 {
		t.Errorf("%d pages are as they were flushed; %d were lost and %d kept", old, lost, kept)
	}
}

// TestPartOfAPage checks that a write of some sectors leaves the others of their page as they are.
func TestPartOfAPage(t *testing.T) {
	d := newTestDisk(t, 2)
	got := make([]byte, 2*page)
	steps := []error{
		d.write(bytes.Repeat([]byte{1}, 2*page), 0, true), d.write(bytes.Repeat([]byte{2}, 2*sector), page-sector, false),
		d.read(got, 0), d.flush(),
	}
	flushed := make([]byte, 2*page)
	steps = append(steps, d.read(flushed, 0))
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{1}, 2*page)
	copy(want[page-sector:], bytes.Repeat([]byte{2}, 2*sector))
	if !bytes.Equal(got, want) || !bytes.Equal(flushed, want) {
		t.Error("other sectors have changed, or those that were written have not")
	}
}

func TestOutsideTheDisk(t *testing.T) {
	d := newTestDisk(t, 2)
	for _, off := range []int64{-sector, 1, 2 * page, 1 << 62} {
		if err := d.write(make([]byte, sector), off, false); !errors.Is(err, errRange) {
			t.Errorf("a write at %d: %v, want %v", off, err, errRange)
		}
		if err := d.read(make([]byte, sector), off); !errors.Is(err, errRange) {
			t.Errorf("a read at %d: %v, want %v", off, err, errRange)
		}
	}
}
