package main

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// poolBytes bounds the payloads that are made before a run; the runs go round in them.
const poolBytes = 4 << 20

// payloadPool has payloads that are made before the measurement. It is read only after that.
type payloadPool struct {
	items []client.ProduceItem
	size  int // of a batch
}

// newPayloadPool makes payloads of about size bytes: readings as sensors send them, with fields that vary. The
// same seed makes the same payloads.
func newPayloadPool(seed uint64, size, batch int) *payloadPool {
	rnd := rand.New(rand.NewPCG(seed, uint64(size)))
	n := max(min(poolBytes/size, 1<<15), batch, 1)
	p := &payloadPool{items: make([]client.ProduceItem, n, n+batch), size: batch}
	for i := range p.items {
		p.items[i].Payload = reading(rnd, i, size)
	}
	// A batch may begin anywhere.
	p.items = append(p.items, p.items[:min(batch, n)]...)
	return p
}

// batch returns the batch that begins with the item number at, going round.
func (p *payloadPool) batch(at int64) []client.ProduceItem {
	n := int64(len(p.items) - p.size)
	begin := at % max(n, 1)
	return p.items[begin : begin+int64(p.size)]
}

// reading returns JSON of exactly size bytes, or as many of its first bytes.
func reading(rnd *rand.Rand, i, size int) []byte {
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).Add(time.Duration(i)*50*time.Millisecond + time.Duration(rnd.IntN(1e6)))
	text := fmt.Appendf(make([]byte, 0, size+64),
		`{"device":"pi-%04d","sensor":"%s","at":"%s","sequence":%d,"value":%.3f,"quality":%d,"note":"`,
		rnd.IntN(40), pick(rnd, "temperature", "humidity", "pressure", "current", "vibration"),
		at.Format(time.RFC3339Nano), i, 15+10*rnd.NormFloat64(), rnd.IntN(100))
	for len(text) < size-2 {
		text = append(text, pick(rnd, "ok", "nominal", "drift", "recalibrated", "door open", "fan on", "low light", "retry")...)
		text = fmt.Appendf(text, " %x ", rnd.Uint32N(1<<20))
	}
	if len(text) > size-2 && size > 2 {
		text = text[:size-2]
	}
	return append(text, `"}`...)[:size]
}

func pick(rnd *rand.Rand, words ...string) string { return words[rnd.IntN(len(words))] }

// histogram counts durations in steps of about 3 %, in bounded memory. It belongs to one goroutine.
type histogram struct {
	counts [64 * histogramSteps]uint32
	n      int64
}

// histogramSteps is how many steps there are from one power of two to the next.
const histogramSteps = 32

func (h *histogram) add(d time.Duration) {
	h.counts[histogramIndex(uint64(max(d, 0)))]++
	h.n++
}

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

// merge adds what others counted.
func (h *histogram) merge(others []histogram) {
	for i := range others {
		for j, n := range others[i].counts {
			h.counts[j] += n
		}
		h.n += others[i].n
	}
}

// quantile returns the duration that the part q of all did not exceed; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(q * float64(h.n))
	for i, n := range h.counts {
		if rank -= int64(n); rank < 0 {
			return histogramValue(i)
		}
	}
	return 0
}
