package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// A back-up keeps what is completed meanwhile, until it is read, and no longer.
func TestBackupKeepsWhatItReads(t *testing.T) {
	d := startDevice(t, t.TempDir())
	d.create("a", "", 1)
	d.produce("a", 0, 400) // Four segments.
	want := d.contents()
	taking, err := backup.Take(t.Context(), d.Service, &backup.Request{Partition: -1, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Take(t.Context(), d.Service, &backup.Request{Partition: -1}); !errors.Is(err, queue.ErrOverloaded) {
		t.Errorf("a second back-up: %v", err)
	}
	if err := d.queue("a").Clear(t.Context(), &queue.ClearRequest{Ready: true}); err != nil {
		t.Fatal(err)
	}
	d.produce("a", 1000, 10)
	segments := func() int {
		s, err := d.queue("a").Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Partitions[0].Usage.Segments
	}
	if n := segments(); n < 4 {
		t.Errorf("%d segments are left while a back-up is taken", n)
	}
	var b bytes.Buffer
	if err := taking.Copy(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	taking.Close()
	d.produce("a", 2000, 10)
	if n := segments(); n > 2 {
		t.Errorf("%d segments are left after the back-up", n)
	}
	d.stop()
	to := startDevice(t, t.TempDir())
	if _, err := to.put(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if got := to.contents(); !maps.EqualFunc(got, want, slices.Equal) {
		t.Error("the restored device holds something else: " + difference(got, want))
	}
	to.stop()
}

// A value that cannot be read is left out, and the back-up says so.
func TestBackupOfDamage(t *testing.T) {
	d := filled(t)
	d.stop()
	logs, err := filepath.Glob(filepath.Join(d.dir, "items", "b-*", "0*", "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	data, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(logs[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	d = startDevice(t, d.dir)
	_, whole := d.take(nil)
	r, err := backup.NewReader(bytes.NewReader(whole))
	if err != nil || r.ReadAll(badgerstore.CheckPiece) != nil {
		t.Fatal(err)
	}
	if len(r.Lost) == 0 || !strings.Contains(r.Lost[0], "queue 'b' partition 0: ") {
		t.Errorf("what is lost: %q", r.Lost)
	}
	d.end()
	to := startDevice(t, t.TempDir())
	done, err := to.put(whole)
	if err != nil || len(done.Notes) == 0 {
		t.Fatalf("%v %+v", err, done)
	}
	// The engine gives up what is missing when it meets it, and counts it.
	to.audit()
	s, err := to.queue("b").Stats(t.Context())
	if l := s.Partitions[0].Ledger; err != nil || l.Quarantined == 0 || l.Produced != 40 || s.Partitions[0].Ready+int64(l.Quarantined) != 40 {
		t.Errorf("%v: %+v", err, l)
	}
	to.end() // Not stop: the records still tell of what is missing.
}

// When the disk gets full, a back-up that keeps what is done with is given up for it.
func TestBackupGivesWay(t *testing.T) {
	d := newDriver(t, badgerstore.Options{SegmentBytes: 1 << 20, MinFree: -1})
	for i := range 30 {
		d.produce([]queue.Item{sizedItem(i, 100_000)})
	}
	begin := func() queue.PartitionBackup {
		b, err := d.ps.(queue.BackupStore).BeginBackup(nil)
		d.must(err)
		return b
	}
	b := begin()
	if _, err := d.ps.(queue.BackupStore).BeginBackup(nil); !errors.Is(err, queue.ErrOverloaded) {
		t.Errorf("a second back-up: %v", err)
	}
	d.drain()
	d.must(d.ps.Maintain(false))
	if n := d.ps.Usage().Segments; n < 3 {
		t.Errorf("%d segments are left while a back-up is taken", n)
	}
	badgerstore.WaitForBackground(d.s)
	badgerstore.FillDisk(d.s, true)
	if _, err := d.ps.Reserve(1, 100); !errors.Is(err, queue.ErrFull) {
		t.Errorf("a commit on a full disk: %v", err)
	}
	badgerstore.FillDisk(d.s, false)
	d.must(d.ps.Maintain(false))
	if n := d.ps.Usage().Segments; n > 2 {
		t.Errorf("%d segments are left", n)
	}
	if _, err := b.Next(1 << 20); !errors.Is(err, queue.ErrFull) {
		t.Errorf("the back-up: %v", err)
	}
	b.End()
	begin().End()
}

// Items that move between queues all the time are in each back-up once.
func TestBackupWhileItemsMove(t *testing.T) {
	d := startDevice(t, t.TempDir())
	d.create("dead", "", 1)
	d.create("a", "", 1)
	d.create("b", "", 1)
	var want []string
	for i := range 20 {
		items := make([]queue.Item, 100)
		for j := range items {
			items[j].Payload = fmt.Appendf(nil, "%04d", i*len(items)+j)
			want = append(want, string(items[j].Payload))
		}
		if err := d.queue("a").Produce(t.Context(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var moving sync.WaitGroup
	for _, way := range [][2]string{{"a", "b"}, {"b", "a"}} {
		from := d.queue(way[0])
		moving.Go(func() {
			for ctx.Err() == nil {
				if _, err := from.Redrive(ctx, &queue.RedriveRequest{To: way[1], Limit: 500}); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		_, whole := d.take(nil)
		to := startDevice(t, t.TempDir())
		if _, err := to.put(whole); err != nil {
			t.Fatal(err)
		}
		to.quiet()
		var got []string
		for _, name := range []string{"a", "b"} {
			items, err := to.queue(name).List(t.Context(), &queue.ListRequest{Limit: 10_000})
			if err != nil {
				t.Fatal(err)
			}
			for i := range items {
				got = append(got, string(items[i].Payload))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d items, %d different ones, want %d", len(got), len(slices.Compact(got)), len(want))
		}
		to.audit()
		to.stop()
	}
	cancel()
	moving.Wait()
	d.stop()
}

// A partition whose newest segment has no commit yet is in a back-up, too.
func TestBackupOfEmptySegment(t *testing.T) {
	d := newDriver(t, badgerstore.Options{MinFree: -1})
	if _, err := d.ps.Reserve(0, 0); err != nil {
		t.Fatal(err)
	}
	b, err := d.ps.(queue.BackupStore).BeginBackup(nil)
	d.must(err)
	piece, err := b.Next(1 << 20)
	if err != nil || len(piece.Data) == 0 || len(b.Head().Marks) != 1 {
		t.Errorf("the first piece is %+v, %v; marks %v", piece, err, b.Head().Marks)
	}
	marks := b.Head().Marks
	b.End()
	b, err = d.ps.(queue.BackupStore).BeginBackup(marks)
	d.must(err)
	if piece, err := b.Next(1 << 20); err == nil {
		t.Errorf("the next one has it again: %+v", piece)
	}
	b.End()
}
