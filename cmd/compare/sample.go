package main

import (
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

// metric names a figure, as in the JSON.
type metric string

const (
	itemsPerSecond    metric = "items_per_second"
	payloadPerSecond  metric = "payload_mb_per_second"
	busyAnswers       metric = "busy_answers"
	memoryMost        metric = "memory_most_bytes"
	memoryStart       metric = "memory_after_start_bytes"
	memoryFilling     metric = "memory_most_while_filling_bytes"
	startSeconds      metric = "start_to_first_item_seconds"
	storedBytes       metric = "stored_bytes"
	firstRound        metric = "first_round_ms_per_queue"
	diskPerPayload    metric = "disk_bytes_per_payload_byte"
	processPerPayload metric = "process_bytes_per_payload_byte"
	syncsPerItem      metric = "syncs_per_item"
	flushesPerItem    metric = "disk_flushes_per_item"
	processorPerItem  metric = "processor_us_per_item"
)

// latencyMetric names the figure of a call, such as produce_p99_ms.
func latencyMetric(call, quantile string) metric { return metric(call + "_" + quantile + "_ms") }

var quantiles = []struct {
	name string
	part float64
}{{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}}

// sample is what one measurement gave. What is not known is not in it.
type sample map[metric]float64

// newSample makes the figures of a load.
func newSample(o *outcome, c *costs, most int64, w work, size int, m *meter) sample {
	items, whole := float64(o.completed), float64(o.completed)
	switch w {
	case produceOnly:
		items, whole = float64(o.produced), float64(o.produced)
	case both:
		whole = float64(o.produced+o.completed) / 2 // What is produced and not completed has cost half its way.
	}
	if items == 0 {
		return sample{itemsPerSecond: 0, busyAnswers: float64(o.busy)}
	}
	s := sample{itemsPerSecond: items / o.elapsed.Seconds(), busyAnswers: float64(o.busy)}
	per := func(name metric, v float64, known bool) {
		if known {
			s[name] = v / whole
		}
	}
	payload := float64(size)
	s[payloadPerSecond] = s[itemsPerSecond] * payload / 1e6
	per(diskPerPayload, float64(c.disk)/payload, m.disk != nil)
	per(flushesPerItem, float64(c.flushes), m.disk != nil)
	per(processPerPayload, float64(c.process)/payload, m.pid != 0 && c.process > 0)
	per(syncsPerItem, float64(c.syncs), m.syncs != nil)
	per(processorPerItem, float64(c.processor)/float64(time.Microsecond), m.pid != 0)
	if m.pid != 0 {
		s[memoryMost] = float64(most)
	}
	s.latencies("produce", &o.produce)
	s.latencies("lease", &o.lease)
	s.latencies("complete", &o.complete)
	return s
}

func (s sample) latencies(call string, h *measure.Histogram) {
	if h.Count() == 0 {
		return
	}
	for _, q := range quantiles {
		s[latencyMetric(call, q.name)] = float64(h.Quantile(q.part)) / float64(time.Millisecond)
	}
}

// spread is a figure over several rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func newSpread(v []float64) spread {
	s := slices.Sorted(slices.Values(v))
	return spread{(s[(len(s)-1)/2] + s[len(s)/2]) / 2, s[0], s[len(s)-1]}
}

// spreads puts the samples of several rounds together.
func spreads(samples []sample) map[metric]spread {
	values := make(map[metric][]float64)
	for _, s := range samples {
		for name, v := range s {
			values[name] = append(values[name], v)
		}
	}
	all := make(map[metric]spread, len(values))
	for name, v := range values {
		all[name] = newSpread(v)
	}
	return all
}

// blocks returns the bytes that a file takes on the disk; 0 if it is gone.
func blocks(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return 0
	}
	const unit = 512 // Whatever the file system's blocks are.
	return int64(st.Blocks) * unit
}
