// Package measure has what the measuring programs share: histograms of latencies, payloads like those of sensors, and
// what the kernel says of a process and of a disk. Nothing of it is part of the agent.
package measure

import (
	"math/bits"
	"time"
)

// Histogram counts durations in steps of about 3 %, in bounded memory (8 KiB). It belongs to one goroutine. Its zero
// value is empty.
type Histogram struct {
	counts [64 * histogramSteps]uint32
	n      int64
}

// histogramSteps is how many steps there are from one power of two to the next.
const histogramSteps = 32

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[histogramIndex(uint64(max(d, 0)))]++
	h.n++
}

// Count returns how many durations were added.
func (h *Histogram) Count() int64 { return h.n }

func histogramIndex(v uint64) int {
	if v < histogramSteps {
		return int(v)
	}
	shift := bits.Len64(v) - 6 // v>>shift is 32 to 63.
	return (shift+1)*histogramSteps + int(v>>shift) - histogramSteps
}

// histogramValue is the least value of a step.
func histogramValue(i int) time.Duration {
	if i < histogramSteps {
		return time.Duration(i)
	}
	shift := i/histogramSteps - 1
	return time.Duration(uint64(histogramSteps+i%histogramSteps) << shift)
}

// Merge adds what others counted.
func (h *Histogram) Merge(others []Histogram) {
	for i := range others {
		for j, n := range others[i].counts {
			h.counts[j] += n
		}
		h.n += others[i].n
	}
}

// Quantile returns the duration that the part q of all did not exceed; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q * float64(h.n))
	for i, n := range h.counts {
		if rank -= int64(n); rank < 0 {
			return histogramValue(i)
		}
	}
	return 0
}
