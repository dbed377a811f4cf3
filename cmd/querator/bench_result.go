package main

import (
	"fmt"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

// benchTimes are the latencies by producer and by consumer.
type benchTimes struct{ produce, lease, complete []measure.Histogram }

func newBenchTimes(producers, consumers int) *benchTimes {
	return &benchTimes{make([]measure.Histogram, producers), make([]measure.Histogram, consumers), make([]measure.Histogram, consumers)}
}

// benchResult is what bench prints.
type benchResult struct {
	Producers   int     `json:"producers"`
	Consumers   int     `json:"consumers"`
	Batch       int     `json:"batch"`
	PayloadSize int     `json:"payload_size"`
	Backlog     int64   `json:"backlog"`
	Partitions  int     `json:"partitions"`
	Seed        uint64  `json:"seed"`
	Seconds     float64 `json:"seconds"`

	Produce  *benchRate `json:"produce,omitempty"`
	Lease    *benchRate `json:"lease,omitempty"`
	Complete *benchRate `json:"complete,omitempty"`
	// CyclePerSecond is how many items went through produce, lease and complete each second.
	CyclePerSecond float64 `json:"cycle_items_per_second,omitempty"`
	Busy           int64   `json:"busy_answers"`

	// Anonymous memory of the agent, in bytes.
	MemoryBefore int64 `json:"memory_before_bytes"`
	MemoryMost   int64 `json:"memory_most_bytes"`
	MemoryAfter  int64 `json:"memory_after_bytes"`
	// What was written for each byte of the payloads that were produced: by the store's count, and by the
	// kernel's count for the process if it can be seen.
	StorePerPayload  *float64 `json:"store_bytes_per_payload_byte,omitempty"`
	KernelPerPayload *float64 `json:"kernel_bytes_per_payload_byte,omitempty"`
	SyncsPerItem     *float64 `json:"syncs_per_item,omitempty"`
	DiskAfter        int64    `json:"disk_after_bytes"`
}

// benchRate is the rate and the latencies of one call.
type benchRate struct {
	Items     int64   `json:"items"`
	PerSecond float64 `json:"items_per_second"`
	Calls     int64   `json:"calls"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
}

// result puts the figures together. producing is how long the producers ran.
func (b *bench) result(times *benchTimes, producing, elapsed time.Duration, before, after agentCosts, most int64) *benchResult {
	r := &benchResult{
		Producers: b.producers, Consumers: b.consumers, Batch: b.batch, PayloadSize: b.payloadSize,
		Backlog: b.backlog, Partitions: b.partitions, Seed: b.seed, Seconds: elapsed.Seconds(), Busy: b.busy.Load(),
		MemoryBefore: before.anon, MemoryAfter: after.anon, MemoryMost: max(most, before.anon, after.anon),
		DiskAfter: after.disk,
	}
	if b.producers > 0 {
		r.Produce = rateOf(b.produced.Load(), producing, times.produce)
		payload := float64(b.produced.Load()) * float64(b.payloadSize)
		if payload > 0 {
			r.StorePerPayload = ratio(float64(after.store-before.store), payload)
			r.SyncsPerItem = ratio(float64(after.syncs-before.syncs), float64(b.produced.Load()))
			if before.kernel >= 0 && after.kernel >= 0 {
				r.KernelPerPayload = ratio(float64(after.kernel-before.kernel), payload)
			}
		}
	}
	if b.consumers > 0 {
		r.Lease = rateOf(b.leased.Load(), elapsed, times.lease)
		r.Complete = rateOf(b.completed.Load(), elapsed, times.complete)
	}
	if b.producers > 0 && b.consumers > 0 {
		r.CyclePerSecond = float64(min(b.completed.Load(), b.produced.Load())) / elapsed.Seconds()
	}
	return r
}

func ratio(a, b float64) *float64 {
	v := a / b
	return &v
}

func rateOf(items int64, took time.Duration, times []measure.Histogram) *benchRate {
	var all measure.Histogram
	all.Merge(times)
	ms := func(q float64) float64 { return float64(all.Quantile(q)) / float64(time.Millisecond) }
	return &benchRate{
		Items: items, PerSecond: float64(items) / took.Seconds(), Calls: all.Count(),
		P50: ms(0.5), P99: ms(0.99), P999: ms(0.999),
	}
}

// table prints the figures for people.
func (r *benchResult) table(t *columns) {
	t.row(fmt.Sprintf("%d producers, %d consumers, batch %d, payload %d bytes, backlog %d, %.1f s, seed %d",
		r.Producers, r.Consumers, r.Batch, r.PayloadSize, r.Backlog, r.Seconds, r.Seed))
	t.gap()
	t.row("", "ITEMS", "ITEMS/S", "CALLS", "P50", "P99", "P99.9")
	for _, row := range []struct {
		name string
		rate *benchRate
	}{{"produce", r.Produce}, {"lease", r.Lease}, {"complete", r.Complete}} {
		if x := row.rate; x != nil {
			t.row(row.name, x.Items, fmt.Sprintf("%.0f", x.PerSecond), x.Calls, msText(x.P50), msText(x.P99), msText(x.P999))
		}
	}
	if r.CyclePerSecond > 0 {
		t.row("whole cycle", "", fmt.Sprintf("%.0f", r.CyclePerSecond))
	}
	t.gap()
	t.row("agent memory", fmt.Sprintf("%s anonymous before, %s at most, %s after",
		bytesText(r.MemoryBefore), bytesText(r.MemoryMost), bytesText(r.MemoryAfter)))
	if r.StorePerPayload != nil {
		text := fmt.Sprintf("%.2f bytes a payload byte by the store's count", *r.StorePerPayload)
		if r.KernelPerPayload != nil {
			text += fmt.Sprintf(", %.2f by the kernel's", *r.KernelPerPayload)
		}
		t.row("written", text)
		t.row("syncs", fmt.Sprintf("%.4f an item", *r.SyncsPerItem))
	}
	t.row("disk after", bytesText(r.DiskAfter))
	if r.Busy > 0 {
		t.row("busy", fmt.Sprintf("the agent answered 'try again' %d times", r.Busy))
	}
}

func msText(ms float64) string {
	return durationText(time.Duration(ms * float64(time.Millisecond)))
}
