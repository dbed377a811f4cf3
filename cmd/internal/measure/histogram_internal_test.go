package measure

import (
	"testing"
	"time"
)

// It looks at the steps themselves.
func TestHistogram(t *testing.T) {
	var h Histogram
	for i := 1; i <= 100_000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.999: 99900 * time.Microsecond} {
		if got := h.Quantile(q); got > want || got < want*96/100 {
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
	if new(Histogram).Quantile(0.5) != 0 {
		t.Error("quantile of nothing")
	}
}
