package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

const (
	goldenDir      = "testdata/store-v1"
	goldenEventDir = "testdata/store-v2" // the same with events
)

// writeGolden makes the store that every later version has to open: two
// segments, values in the log and in the table, leased, scheduled and completed
// items.
func writeGolden(t *testing.T, goldenDir string, outbox *queue.OutboxOptions) {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		s := openForwarding(t, dir, outbox)
		ctx := context.Background()
		if round == 0 {
			must(s.svc.Create(ctx, queue.Info{Name: "readings", Reference: "golden", LeaseTimeout: time.Hour,
				ExpireTimeout: 200 * 365 * 24 * time.Hour, RequestedPartitions: 1}))
		}
		q, err := s.svc.Queue("readings")
		must(err)
		var items []queue.Item
		for i := range 5 {
			it := queue.Item{Kind: "k", SourceID: fmt.Sprintf("s-%d-%d", round, i), Payload: sealedPayload(round, i, 50)}
			if i == 4 {
				it.EnqueueAt = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			items = append(items, it)
		}
		must(q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
		must(q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{{Payload: sealedPayload(round, 5, 9000)}}}))
		r, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: 2, RequestTimeout: time.Minute})
		must(err)
		must(q.Complete(ctx, &queue.CompleteRequest{RequestTimeout: time.Minute, IDs: []string{r.Items[0].ID.String()}}))
		s.close()
	}
	must(os.RemoveAll(goldenDir))
	must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "DISCARD" || d.Name() == "LOCK" || d.Name() == "BALLAST" {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(goldenDir, rel)
		return errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, data, 0o644))
	}))
}

// TestGoldenStore opens a store that the first version wrote.
func TestGoldenStore(t *testing.T) {
	if flag.Lookup("golden").Value.String() == "true" {
		writeGolden(t, goldenDir, nil)
	}
	dir := t.TempDir()
	copyDir(t, goldenDir, dir)
	s := openSession(t, dir)
	defer s.close()
	found := s.items("readings")
	// Of each round six items, of which the first two rounds' leases took 0/0 to
	// 0/3; 0/0 and 0/2 were completed.
	want := "0/1 0/3 0/4 0/5 1/0 1/1 1/2 1/3 1/4 1/5"
	for name := range strings.SplitSeq(want, " ") {
		if !found[name] {
			t.Errorf("item %s is not there", name)
		}
	}
	if len(found) != 10 {
		t.Errorf("%d items, want 10: %v", len(found), found)
	}
	q, err := s.svc.Queue("readings")
	if err != nil {
		t.Fatal(err)
	}
	if info := q.Info(); info.Reference != "golden" || info.LeaseTimeout != time.Hour {
		t.Errorf("the definition is %+v", info)
	}
	ctx := context.Background()
	again := queue.Item{SourceID: "s-1-3", Payload: sealedPayload(9, 9, 10)}
	if err := q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: []queue.Item{again}}); err != nil {
		t.Fatal(err)
	}
	stats, err := q.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if l := stats.Partitions[0].Ledger; l.Produced != 12 || l.Completed != 2 || l.In()-l.Out() != 10 {
		t.Errorf("the ledger is %+v", l)
	}
	for _, a := range q.Audit(ctx) {
		if a.Failure != nil || len(a.Differences) > 0 {
			t.Errorf("audit: %v %v", a.Failure, a.Differences)
		}
	}
	if s.reported() != "" {
		t.Errorf("reported: %s", s.reported())
	}
}

// TestNewerStore refuses a store of a later version, and leaves it as it is.
func TestNewerStore(t *testing.T) {
	dir := t.TempDir()
	copyDir(t, goldenDir, dir)
	for _, d := range []string{dir, filepath.Join(dir, "~queue-storage-partition")} {
		// CRC-32C of "9".
		if err := os.WriteFile(filepath.Join(d, "FORMAT"), []byte("9 1a2cc12c\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := badgerstore.Options{Dir: dir, Boot: "boot-1"}
	if _, err := badgerstore.New(o); !errors.Is(err, queue.ErrFormat) {
		t.Errorf("New: %v, want an error of kind ErrFormat", err)
	}
	if _, err := badgerstore.OpenMeta(o); !errors.Is(err, queue.ErrFormat) {
		t.Errorf("OpenMeta: %v, want an error of kind ErrFormat", err)
	}
	// A damaged one says nothing.
	for _, d := range []string{dir, filepath.Join(dir, "~queue-storage-partition")} {
		if err := os.WriteFile(filepath.Join(d, "FORMAT"), []byte("10 00000000\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openSession(t, dir)
	s.close()
	text, err := os.ReadFile(filepath.Join(dir, "FORMAT"))
	if err != nil || !bytes.HasPrefix(text, []byte("1 ")) {
		t.Errorf("FORMAT is %q, %v", text, err)
	}
}
