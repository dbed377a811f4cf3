package main

import (
	"math/rand/v2"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
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
		p.items[i].Payload = measure.Reading(rnd, i, size)
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
