package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestBenchCountsEverything(t *testing.T) {
	socket := serveAgent(t, 64<<20)
	r := command(t.Context(), socket, "", "bench", "--items", "2030", "--backlog", "1500", "--batch", "20", "--producers", "3",
		"--consumers", "2", "--partitions", "2", "--output", "json")
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	var got benchResult
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Produce.Items != 2030 || got.Complete.Items != 3530 || got.Lease.Items != 3530 {
		t.Errorf("produced %d, leased %d, completed %d; want 2030, 3530, 3530", got.Produce.Items, got.Lease.Items, got.Complete.Items)
	}
	for _, x := range []*benchRate{got.Produce, got.Lease, got.Complete} {
		if x.PerSecond <= 0 || x.P50 <= 0 || x.P99 < x.P50 || x.P999 < x.P99 {
			t.Errorf("figures that make no sense: %+v", x)
		}
	}
	if got.MemoryMost == 0 || got.CyclePerSecond <= 0 {
		t.Errorf("memory or rate missing: %+v", got)
	}
	if r := command(t.Context(), socket, "", "list"); !strings.Contains(r.stderr, "Found 0 queue(s)") {
		t.Errorf("the queue was not deleted: %s", r.stdout)
	}
}

func TestBenchOnAnExistingQueue(t *testing.T) {
	socket := newQueue(t)
	r := command(t.Context(), socket, "", "bench", "--queue", "q", "--items", "100", "--batch", "10", "--producers", "1", "--consumers", "0")
	if r.code != 0 || !strings.Contains(r.stdout, "produce") || strings.Contains(r.stdout, "complete") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	// Only a backlog, taken one by one.
	r = command(t.Context(), socket, "", "bench", "--queue", "q", "--items", "150", "--backlog", "50", "--batch", "1", "--producers", "0", "--consumers", "1")
	if r.code != 0 || strings.Contains(r.stdout, "produce  ") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := command(t.Context(), socket, "", "items", "export", "q"); r.stdout != "" {
		t.Errorf("items are left: %s", r.stdout)
	}
	if r := command(t.Context(), socket, "", "bench", "--queue", "nope", "--items", "1"); r.code != 1 {
		t.Errorf("an unknown queue: exit %d", r.code)
	}
}

func TestPayloads(t *testing.T) {
	a, b, c := newPayloadPool(7, 256, 100), newPayloadPool(7, 256, 100), newPayloadPool(8, 256, 100)
	same := 0
	for i := range a.items {
		if !bytes.Equal(a.items[i].Payload, b.items[i].Payload) {
			t.Fatal("the same seed made other payloads")
		}
		if bytes.Equal(a.items[i].Payload, c.items[i].Payload) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d payloads are the same with another seed", same)
	}
	for at := int64(0); at < 1e6; at += 9973 {
		if n := len(a.batch(at)); n != 100 {
			t.Fatalf("batch of %d at %d", n, at)
		}
	}
}
