package measure_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

func TestReading(t *testing.T) {
	for _, size := range []int{200, 256, 1000, 100_000} {
		payload := measure.Reading(rand.New(rand.NewPCG(1, 2)), 3, size)
		if len(payload) != size || !json.Valid(payload) {
			t.Errorf("size %d: %d bytes, JSON %v: %s", size, len(payload), json.Valid(payload), payload[:100])
		}
	}
	for _, size := range []int{2, 3, 100} {
		if n := len(measure.Reading(rand.New(rand.NewPCG(1, 2)), 3, size)); n != size {
			t.Errorf("size %d: got %d bytes", size, n)
		}
	}
}
