package badgerstore_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// filled returns a device with items in the queues a (two partitions) and b.
func filled(t *testing.T) *device {
	t.Helper()
	d := startDevice(t, t.TempDir())
	d.create("dead", "", 1)
	d.create("a", "dead", 2)
	d.create("b", "", 1)
	d.produce("a", 0, 60)
	d.produce("b", 60, 40)
	return d
}

// produce adds items in commits of ten.
func (d *device) produce(name string, from, n int) {
	d.t.Helper()
	for i := 0; i < n; i += 10 {
		items := jsonItems(from+i, 10)
		items[0].Payload = sizedItem(from+i, 100_000).Payload
		items[1].SourceID = fmt.Sprint("source-", from+i)
		err := d.queue(name).Produce(d.t.Context(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items})
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// files returns the names of everything in the directory of the items, but for segments and what is in them.
func (d *device) files() []string {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.dir, "items"))
	if err != nil {
		d.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A back-up that is damaged or cut anywhere is refused, and nothing of it is there.
func TestDamagedBackupRestoresNothing(t *testing.T) {
	t.Parallel()
	d := filled(t)
	_, whole := d.take(nil)
	d.stop()
	to := startDevice(t, t.TempDir())
	to.create("mine", "", 1)
	to.produce("mine", 0, 10)
	want, files := to.contents(), to.files()
	for i := 1; i < 20; i++ {
		at := len(whole) * i / 20
		bad := slices.Clone(whole)
		bad[at] ^= 4
		for name, b := range map[string][]byte{"cut": whole[:at], "flipped": bad} {
			if _, err := to.put(b); !errors.Is(err, queue.ErrCorrupt) && !errors.Is(err, queue.ErrFormat) {
				t.Fatalf("%s at %d of %d: %v", name, at, len(whole), err)
			}
			if got := to.contents(); !maps.EqualFunc(got, want, slices.Equal) || !slices.Equal(to.files(), files) {
				t.Fatalf("%s at %d of %d: something is left: %v", name, at, len(whole), to.files())
			}
		}
	}
	if _, err := to.put(whole); err != nil {
		t.Fatal(err)
	}
	to.audit()
	to.stop()
}

// What is sound as a stream, but not as a store, is refused too.
func TestImpossibleBackupRestoresNothing(t *testing.T) {
	d := filled(t)
	_, whole := d.take(nil)
	d.stop()
	to := startDevice(t, t.TempDir())
	files := to.files()
	for name, change := range map[string]func(h *backup.Head, part int, p *queue.BackupPiece){
		"a value is damaged":      func(_ *backup.Head, _ int, p *queue.BackupPiece) { flip(p.Data, len(p.Data)/2) },
		"an entry is too long":    func(_ *backup.Head, _ int, p *queue.BackupPiece) { flip(p.Data, 0) },
		"another span":            func(_ *backup.Head, _ int, p *queue.BackupPiece) { p.Span += 5 },
		"a span out of bounds":    func(_ *backup.Head, _ int, p *queue.BackupPiece) { p.Span = 1 << 50 },
		"a name that cannot be":   func(h *backup.Head, _ int, _ *queue.BackupPiece) { h.Queues[0].Name = []byte("../x y") },
		"too many partitions":     func(h *backup.Head, _ int, _ *queue.BackupPiece) { h.Queues[0].Storages = make([][]byte, 1000) },
		"a lease timeout below 0": func(h *backup.Head, _ int, _ *queue.BackupPiece) { h.Queues[0].LeaseTimeout = -1 },
		"a queue twice":           func(h *backup.Head, _ int, _ *queue.BackupPiece) { h.Queues[0].Name = []byte("b") },
	} {
		if _, err := to.put(changed(t, whole, change)); err == nil {
			t.Errorf("%s: restored", name)
		} else if !errors.Is(err, queue.ErrCorrupt) && !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if infos, err := to.List(t.Context(), "", 0); err != nil || len(infos) > 0 || !slices.Equal(to.files(), files) {
			t.Fatalf("%s: something is left: %v %v", name, infos, to.files())
		}
	}
	to.stop()
}

func flip(b []byte, at int) {
	if len(b) > 0 {
		b[at] ^= 0x40
	}
}

// changed returns a back-up in which the head and every piece were changed, with checksums that are right.
func changed(t *testing.T, whole []byte, change func(h *backup.Head, part int, p *queue.BackupPiece)) []byte {
	t.Helper()
	r, err := backup.NewReader(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	change(r.Head, 0, &queue.BackupPiece{})
	var out bytes.Buffer
	w, err := backup.NewWriter(&out, r.Head)
	for err == nil {
		part, p, end := r.Next()
		if errors.Is(end, io.EOF) {
			err = w.Close()
			break
		}
		if err = end; err == nil {
			piece := *p
			piece.Data = bytes.Clone(p.Data)
			change(&backup.Head{Queues: make([]backup.QueueHead, 1)}, part, &piece)
			err = w.Write(part, &piece)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A single partition is restored beside others that are in use, and a queue that was used is refused.
func TestRestoreOfOnePartition(t *testing.T) {
	d := filled(t)
	before := d.contents()
	_, whole := d.take(nil)
	d.stop()
	part := func(n int, as string) []byte {
		return merged(t, backup.Selection{Queue: "a", Partition: n, As: as}, whole)
	}
	to := startDevice(t, t.TempDir())
	for _, n := range []int{1, 0} { // The first makes the queue.
		done, err := to.put(part(n, ""))
		if err != nil || done.Partitions != 1 || len(done.Notes) != 1 {
			t.Fatalf("partition %d: %v %+v", n, err, done)
		}
	}
	got := to.contents()
	for _, key := range []string{"a/0", "a/1"} {
		if len(before[key]) == 0 || !slices.Equal(got[key], before[key]) {
			t.Errorf("%s has %d items, want %d", key, len(got[key]), len(before[key]))
		}
	}
	if _, err := to.put(part(1, "")); !errors.Is(err, queue.ErrDuplicate) || !strings.Contains(err.Error(), "partition '1' of queue 'a' already exists") {
		t.Errorf("a partition that was used: %v", err)
	}
	if _, err := to.put(merged(t, backup.Selection{Queue: "a", Partition: -1}, whole)); !errors.Is(err, queue.ErrDuplicate) {
		t.Errorf("a queue that was used: %v", err)
	}
	if _, err := to.put(part(1, "other")); err != nil {
		t.Errorf("under another name: %v", err)
	}
	if n := len(to.contents()["other/1"]); n != len(before["a/1"]) {
		t.Errorf("the other queue has %d items, want %d", n, len(before["a/1"]))
	}
	to.audit()
	to.stop()
	to = startDevice(t, to.dir)
	if again := to.contents(); !slices.Equal(again["a/0"], before["a/0"]) || !slices.Equal(again["other/1"], before["a/1"]) {
		t.Error("after a restart the items are others")
	}
	to.stop()
}

// Items of a restored queue have other ids, source ids are still known, and a queue that was never used gives way.
func TestRestoredItemsAreNew(t *testing.T) {
	d := filled(t)
	old, err := d.queue("b").List(t.Context(), &queue.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, whole := d.take(nil)
	d.stop()
	to := startDevice(t, t.TempDir())
	to.create("b", "", 3) // As a configuration does.
	if _, err := to.put(whole); err != nil {
		t.Fatal(err)
	}
	b := to.queue("b")
	if info := b.Info(); info.RequestedPartitions != 1 || info.Reference != "of b" {
		t.Errorf("the definition is %+v", info)
	}
	items, err := b.List(t.Context(), &queue.ListRequest{})
	if err != nil || len(items) != len(old) {
		t.Fatal(err, len(items))
	}
	if items[0].ID == old[0].ID || items[0].Seq() != old[0].Seq() {
		t.Errorf("id %s was %s", items[0].ID, old[0].ID)
	}
	twice := []queue.Item{{SourceID: "source-60", Payload: []byte("again")}}
	if err := b.Produce(t.Context(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: twice}); err != nil {
		t.Fatal(err)
	}
	if again, err := b.List(t.Context(), &queue.ListRequest{}); err != nil || len(again) != len(old) {
		t.Errorf("an item with a source id that is stored was added: %d items, %v", len(again), err)
	}
	to.stop()
}

// An interrupted restore leaves nothing, at whatever point it was.
func TestInterruptedRestoreIsGone(t *testing.T) {
	d := filled(t)
	_, whole := d.take(nil)
	d.stop()
	to := startDevice(t, t.TempDir())
	r, err := backup.NewReader(&failingReader{data: whole, at: len(whole) - 100, then: func() {
		badgerstore.WaitForBackground(to.storage)
		copyDir(t, to.dir, to.dir+".killed")
	}})
	if err == nil {
		_, err = backup.Put(t.Context(), to.Service, r)
	}
	if err == nil {
		t.Fatal("restored without its end")
	}
	to.stop()
	killed := startDevice(t, to.dir+".killed")
	if infos, err := killed.List(t.Context(), "", 0); err != nil || len(infos) > 0 || slices.ContainsFunc(killed.files(), isRestore) {
		t.Errorf("something is left: %v %v", infos, killed.files())
	}
	if _, err := killed.put(whole); err != nil {
		t.Errorf("it cannot be restored again: %v", err)
	}
	killed.audit()
	killed.stop()

	// Between the two writes of the definition.
	marked := startDevice(t, t.TempDir())
	marked.create("a", "", 1)
	marked.produce("a", 0, 10)
	defs, err := marked.meta.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defs[0].Restoring = true
	if err := marked.meta.Put(t.Context(), &defs[0]); err != nil {
		t.Fatal(err)
	}
	marked.stop()
	marked = startDevice(t, marked.dir)
	if infos, err := marked.List(t.Context(), "", 0); err != nil || len(infos) > 0 || slices.ContainsFunc(marked.files(), func(n string) bool { return strings.Contains(n, "a-0") }) {
		t.Errorf("a queue that was being restored is there: %v %v", infos, marked.files())
	}
	marked.stop()
}

func isRestore(name string) bool { return strings.HasSuffix(name, ".restore") }

// failingReader calls then when it comes to a place, and ends there.
type failingReader struct {
	data []byte
	at   int
	off  int
	then func()
	end  error // nil is io.ErrUnexpectedEOF
}

func (r *failingReader) Read(p []byte) (int, error) {
	if r.off == r.at {
		if r.then != nil {
			r.then()
			r.then = nil
		}
		return 0, cmp.Or(r.end, io.ErrUnexpectedEOF)
	}
	n := copy(p, r.data[r.off:r.at])
	r.off += n
	return n, nil
}

// A restore that finds no room leaves nothing, wherever it is.
func TestRestoreOnAFullDisk(t *testing.T) {
	d := filled(t)
	_, whole := d.take(nil)
	d.stop()
	to := startDevice(t, t.TempDir())
	for _, at := range []int{0, len(whole) / 3, len(whole) - 10} {
		r, err := backup.NewReader(io.MultiReader(
			&failingReader{data: whole, at: at, end: io.EOF, then: func() { badgerstore.FillDisk(to.storage, true) }}, bytes.NewReader(whole[at:])))
		if err == nil {
			_, err = backup.Put(t.Context(), to.Service, r)
		}
		if !errors.Is(err, queue.ErrFull) {
			t.Errorf("full at byte %d: %v", at, err)
		}
		badgerstore.FillDisk(to.storage, false)
		if infos, err := to.List(t.Context(), "", 0); err != nil || len(infos) > 0 || slices.ContainsFunc(to.files(), func(n string) bool { return strings.Contains(n, "partition") }) {
			t.Errorf("full at byte %d: something is left: %v %v", at, infos, to.files())
		}
	}
	if _, err := to.put(whole); err != nil {
		t.Error(err)
	}
	to.audit()
	to.stop()
}

// Pieces of nothing but small values, of many commits, are written in transactions that are not too large.
func TestRestoreOfSmallCommits(t *testing.T) {
	d := newDriver(t, badgerstore.Options{})
	d.lazy = true
	for i := range 5000 {
		d.produce([]queue.Item{sizedItem(i, 1+i%500)})
	}
	b, err := d.ps.(queue.BackupStore).BeginBackup(nil)
	d.must(err)
	key := queue.PartitionKey{Queue: "other", Tag: queue.Tag{5}}
	r, err := d.s.RestorePartition(key, b.Head(), map[queue.Tag]queue.Tag{testTag: key.Tag})
	d.must(err)
	for {
		piece, err := b.Next(256 << 10)
		if errors.Is(err, io.EOF) {
			break
		}
		d.must(err)
		if piece != nil {
			d.must(r.Write(piece))
		}
	}
	b.End()
	d.must(r.Finish())
	d.must(r.Install())
	ps, err := d.s.OpenPartition(key)
	d.must(err)
	if held := ps.State().Held(); held != 5000 {
		t.Errorf("%d items are held", held)
	}
	items, _, err := badgerstore.Flat(ps.Read(0, 5000, 1<<30))
	d.must(err)
	for i := range items {
		if len(items) != 5000 || string(items[i].Payload) != string(sizedItem(i, 1+i%500).Payload) {
			t.Fatalf("item %d of %d is another", i, len(items))
		}
	}
	d.must(ps.Close())
}

func FuzzCheckPiece(f *testing.F) {
	entry := func(key, value string) []byte {
		b := append(binary.AppendUvarint(nil, uint64(len(key))), key...)
		return append(binary.AppendUvarint(b, uint64(len(value))), value...)
	}
	f.Add(uint64(1), entry("h", "\x41\x01\x01q\x01tttttttttttt\x02\x01b\xd0\x0f\xf9\xf4\xfc\xa6"))
	f.Add(uint64(1), entry("b\x00\x00\x00\x00\x01\x00\x00\x05", "\x11\x00\x01\x85\x80\x80\x08\x07\x05\xd0\x0f\x64\x01\x00\x00\x01\x74\x00\x05hello\x59\x5b\xf5\x2e"))
	f.Add(uint64(0), []byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, span uint64, data []byte) {
		err := badgerstore.CheckPiece(&queue.BackupPiece{Span: span, Data: data})
		if err != nil && !errors.Is(err, queue.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
