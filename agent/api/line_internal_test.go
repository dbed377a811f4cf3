package api

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/kapetan-io/querator-edge/queue"
)

// Whoever waits in vain for room is refused, also when others stood before it all
// the time, so that it was never its turn; nobody goes on without room.
func TestWhoWaitsInVainIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const large = 500 << 10
		h := New(Options{MaxInFlight: 1 << 20})
		first := newCall(h)
		if err := first.await(large); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c := newCall(h)
				if err := c.await(large); !errors.Is(err, queue.ErrOverloaded) {
					t.Errorf("error %v with %d bytes reserved, want a refusal", err, c.reserved)
				}
			})
		}
		wg.Wait()
		if n := h.budget.InFlight(); n != large {
			t.Errorf("%d bytes are in flight, want %d", n, large)
		}
		first.release()
		if err := newCall(h).await(large); err != nil {
			t.Errorf("after a release: %v", err)
		}
	})
}
