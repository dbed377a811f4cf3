package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// storeWithItems makes a data directory with a queue of 20 items, closed.
func storeWithItems(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	meta, err := badgerstore.OpenMeta(badgerstore.Options{Dir: filepath.Join(dir, "queues"), Boot: "boot"})
	must(err)
	storage, err := badgerstore.New(badgerstore.Options{Dir: filepath.Join(dir, "partitions"), Boot: "boot"})
	must(err)
	svc, err := queue.Open(ctx, queue.Config{Meta: meta, Storages: []queue.NamedStorage{{Name: "default", Storage: storage, Affinity: 1}}})
	must(err)
	must(svc.Create(ctx, queue.Info{Name: "readings", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, RequestedPartitions: 1}))
	q, err := svc.Queue("readings")
	must(err)
	for batch := range 2 {
		var items []queue.Item
		for i := range 10 {
			noise := make([]byte, 3000)
			for j := range noise {
				noise[j] = byte((j + 7*i + batch) * (j*31 + 17) >> 3)
			}
			items = append(items, queue.Item{Kind: "k", Reference: fmt.Sprintf("%d/%d", batch, i), Payload: noise})
		}
		must(q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
	}
	must(svc.Shutdown(ctx))
	must(storage.Close())
	must(meta.Close())
	return dir
}

// runOn runs a command line without an agent.
func runOn(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, notes bytes.Buffer
	e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &notes, getenv: func(string) string { return "" }, version: "test"}
	code = e.run(context.Background(), args)
	return code, out.String(), notes.String()
}

func TestVerifyAndSalvage(t *testing.T) {
	dir := storeWithItems(t)
	code, out, notes := runOn(t, "verify", dir, "--output", "json")
	var result struct {
		Problems []problem `json:"problems"`
		Items    int       `json:"items"`
	}
	if err := json.Unmarshal([]byte(out), &result); code != exitOK || err != nil || len(result.Problems) != 0 || result.Items != 20 {
		t.Fatalf("verify of a sound store: exit code %d, %v\n%s%s", code, err, out, notes)
	}
	segment, err := filepath.Glob(filepath.Join(dir, "partitions", "readings-*", "0*"))
	if err != nil || len(segment) != 1 {
		t.Fatal(segment, err)
	}
	values, err := filepath.Glob(filepath.Join(segment[0], "*.vlog"))
	if err != nil || len(values) != 1 {
		t.Fatal(values, err)
	}
	data, err := os.ReadFile(values[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/4] ^= 1
	if err := os.WriteFile(values[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, notes = runOn(t, "verify", dir, "--output", "json")
	if err := json.Unmarshal([]byte(out), &result); code != exitFailure || err != nil || len(result.Problems) == 0 {
		t.Fatalf("verify of a damaged store: exit code %d, %v\n%s%s", code, err, out, notes)
	}
	named := false
	for _, p := range result.Problems {
		named = named || p.Queue == "readings" && p.First > 0 && p.Last == p.First+9 && strings.HasPrefix(p.Path, segment[0])
	}
	if !named {
		t.Errorf("no problem names the items that are lost:\n%s", out)
	}
	code, out, notes = runOn(t, "salvage", segment[0])
	if code != exitFailure || strings.Count(out, "\n") != 10 || !strings.Contains(out, `"reference":"1/9"`) || strings.Contains(out, `"reference":"0/`) {
		t.Errorf("salvage: exit code %d\n%.500s\n%s", code, out, notes)
	}
}

func TestVerifyRefuses(t *testing.T) {
	if code, _, notes := runOn(t, "verify", t.TempDir()); code != exitFailure || !strings.Contains(notes, "there is no store in") {
		t.Errorf("verify of an empty directory: exit code %d\n%s", code, notes)
	}
	dir := storeWithItems(t)
	s, err := badgerstore.New(badgerstore.Options{Dir: filepath.Join(dir, "partitions"), Boot: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if code, _, notes := runOn(t, "verify", dir); code != exitUnavailable || !strings.Contains(notes, "in use by process") {
		t.Errorf("verify of a directory in use: exit code %d\n%s", code, notes)
	}
}
