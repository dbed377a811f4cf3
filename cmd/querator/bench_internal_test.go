package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
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
	for _, size := range []int{200, 256, 1000, 100_000} {
		payload := reading(rand.New(rand.NewPCG(1, 2)), 3, size)
		if len(payload) != size || !json.Valid(payload) {
			t.Errorf("size %d: %d bytes, JSON %v: %s", size, len(payload), json.Valid(payload), payload[:100])
		}
	}
	for _, size := range []int{2, 3, 100} {
		if n := len(reading(rand.New(rand.NewPCG(1, 2)), 3, size)); n != size {
			t.Errorf("size %d: got %d bytes", size, n)
		}
	}
	for at := int64(0); at < 1e6; at += 9973 {
		if n := len(a.batch(at)); n != 100 {
			t.Fatalf("batch of %d at %d", n, at)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.999: 99900 * time.Microsecond} {
		if got := h.quantile(q); got > want || got < want*96/100 {
			t.Errorf("quantile %g: got %s, want %s less 4 %% at most", q, got, want)
		}
	}
	for _, v := range []uint64{0, 1, 31, 32, 33, 63, 64, 1000, 1 << 40, 1<<63 - 1} {
		i := histogramIndex(v)
		low, high := histogramValue(i), histogramValue(i+1)
		if uint64(low) > v || i+1 < len(h.counts) && high > 0 && uint64(high) <= v {
			t.Errorf("%d is in the step from %d to %d", v, low, high)
		}
	}
	if new(histogram).quantile(0.5) != 0 {
		t.Error("quantile of nothing")
	}
}
